"""One worker: what is asked of a fresh process, what it answers, and how it ends."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..doctor.symptoms import CLASHES, Symptom, diagnosis
from ..results.fingerprint import FingerprintError, fingerprint
from ..worker.clock import RealTime
from ..worker.problems import readable
from .interpreter import Interpreter
from .process import Launch, NotText, Process

TAIL_LINES = 12
LOG_BYTES = 100_000
_END = object()
_OF_THE_ENVIRONMENT = ("backend", "device", "worker")
_OUR_FRAMES = (".zip/pytest_metalperf/", 'File "<string>"', 'File "<remote exec>"')  # of a native crash's traceback


class WorkerError(Exception):
    """A measurement broke: not slower, but broken.

    Attributes:
        kind: `builder`, `training`, `memory`, `device`, `backend`, `parity`, `reference` or `worker`.
        details: the user's own traceback, or the end of the worker's log.
    """

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details


class Worker:
    """One fresh process and the channel to it; `ended` is called once, when it is killed."""

    def __init__(
        self, launch: Launch, log: str, interpreter: Interpreter, ended: Callable[[Worker], None] = lambda worker: None
    ) -> None:
        self.interpreter = interpreter
        self.log = launch.folder / log
        self._local = launch.local
        self._ended = ended
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.asked: list[str] = ["hello"]
        self.results: dict[str, dict[str, Any]] = {}
        self.progress = ("start", 0, 0)
        self.last_message = RealTime.monotonic()
        self._gone = False
        try:
            self._process = Process(launch, log, interpreter)
        except NotText as error:
            self._gone = True
            ended(self)
            raise WorkerError("worker", str(error)) from None
        except Exception as error:  # execnet raises what its transport raises
            self._gone = True
            ended(self)
            raise WorkerError(
                "worker",
                f"no worker could be started at {launch.spec}: {type(error).__name__}:"
                f" {str(error).strip() or 'it ended at once'}",
            ) from None
        self._process.listen(self._put, _END)

    def _put(self, message: Any) -> None:
        self.last_message = RealTime.monotonic()
        self.inbox.put(message)

    def ask(self, what: str, **arguments: Any) -> None:
        """Queue a request; `Fleet.wait` collects its answer into `results[what]`.

        Raises:
            WorkerError: for a name that cannot be told.
        """
        self.asked.append(what)
        try:
            with contextlib.suppress(OSError):  # a dead worker is told by its end marker, with its phase and signal
                self._process.send({"do": what, **arguments})
        except NotText as error:
            raise WorkerError("worker", str(error)) from None

    def take(self, message: Any) -> None:
        """Take an answer, an error or the end."""
        if message is _END:
            raise self._died()
        if "error" in message:
            error = message["error"]
            raise self._error(error["kind"], error["message"], error["traceback"])
        self.asked.remove(message["done"])
        try:
            fingerprint(message["result"].get("work"))
        except FingerprintError as error:
            raise self._error("backend", str(error), "") from None
        self.results[message["done"]] = message["result"]

    def check_silence(self, timeout: float) -> None:
        """Raise when the process is gone, or no message came for `timeout` seconds."""
        if self._process.has_ended() and self.inbox.empty():
            raise self._died()
        silent = RealTime.monotonic() - self.last_message
        if silent > timeout:
            details = self.tail()
            self.kill()
            raise self._error(
                "worker",
                f"the worker said nothing for {timeout:g} s in its phase '{self.progress[0]}' and was killed;"
                " if that is its honest time, raise --metal-timeout",
                details,
            )

    def pause(self) -> None:
        """Stop a local worker, so that it costs the other nothing."""
        self._process.signal("SIGSTOP")

    def resume(self) -> None:
        """Let a stopped worker go on."""
        self._process.signal("SIGCONT")

    def _died(self) -> WorkerError:
        """Why the channel ended: an error of our bootstrap, or the end of the process."""
        if failed := self._process.failed():
            return self._error("worker", "a worker could not run its own code", failed)
        end = self._end()
        return self._error("worker", f"the worker {end} in its phase '{self.progress[0]}'", self.tail())

    def _error(self, kind: str, message: str, details: str) -> WorkerError:
        """An error that says which of two sides it happened on and, for a known symptom, why and what to do."""
        message = f"with {self.interpreter.name}: {message}" if self.interpreter.name else message
        told = f"{message}\n{details}"
        if kind in _OF_THE_ENVIRONMENT:
            known = diagnosis(f"{told}\n{self._logged()}")
        else:  # of the user's own mistakes the log says nothing, but why a step of theirs failed
            known = diagnosis(told) or (self.clash() if kind == "training" else None)
        return WorkerError(kind, f"{message}\n  known     {known}" if known else message, details)

    def clash(self) -> Symptom | None:
        """What its log says of CUDA libraries that do not fit each other."""
        return diagnosis(self._logged(), CLASHES)

    def _end(self) -> str:
        code = self._process.exit_code()
        if code is None:
            return "ended"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = " (what the system does when memory runs out: try a smaller batch)" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"

    def _logged(self) -> str:
        """The beginning and the end of the worker's log, where it can be read."""
        if not self._local:
            return ""
        try:
            with self.log.open("rb") as log:
                beginning, size = log.read(LOG_BYTES), log.seek(0, os.SEEK_END)
                log.seek(max(len(beginning), size - LOG_BYTES))
                return (beginning + log.read()).decode(errors="replace")
        except OSError:
            return ""

    def tail(self) -> str:
        """The end of the worker's log."""
        lines = self._logged().strip().splitlines()
        theirs = [line for line in lines if not any(mark in line for mark in _OUR_FRAMES)]
        return readable("\n".join(theirs[-TAIL_LINES:]))

    def kill(self) -> None:
        """End the process and its children now; measuring is over, or it hangs."""
        if self._gone:
            return
        self._gone = True
        self._process.end()
        self._ended(self)


def kill(workers: Sequence[Worker]) -> None:
    """End all of them."""
    for worker in list(workers):
        worker.kill()
