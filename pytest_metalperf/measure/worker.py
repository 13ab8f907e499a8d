"""One worker: a fresh process that speaks the protocol of `worker/serve.py`, and how it ends."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..doctor.symptoms import diagnosis
from ..results.fingerprint import WorkError, fingerprint
from .interpreter import BOOTSTRAP, Interpreter, import_path

START_SECONDS = 120.0
TAIL_LINES = 12
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


@dataclass(frozen=True)
class Launch:
    """What a fresh process is started with.

    Attributes:
        group: execnet's, which makes gateways.
        spec: how execnet reaches the interpreter.
        local: whether that is on this machine.
        folder: where local workers find their code and leave their logs.
        archive: the name and the bytes of the zip of their code.
        timeout: seconds of silence after which a worker is killed.
    """

    group: Any
    spec: str
    local: bool
    folder: Path
    archive: tuple[str, bytes]
    timeout: float


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
        self.last_message = time.monotonic()
        self.pid: int | None = None
        self._gone = False
        self._gateway: Any = None
        name, data = launch.archive
        try:
            with _deadline(min(START_SECONDS, launch.timeout)):
                self._gateway = launch.group.makegateway(f"{launch.spec}//execmodel=main_thread_only")
            self._channel = self._gateway.remote_exec(BOOTSTRAP)
            self.pid = self._channel.receive(timeout=START_SECONDS)
            self._channel.send(
                {
                    "folder": str(launch.folder) if launch.local else None,
                    "zip": name,
                    "archive": b"" if launch.local else data,
                    "log": log,
                    "parent": os.getpid() if launch.local else None,
                    "path": import_path() if launch.local else [],
                    "moved": interpreter.moved,
                }
            )
        except Exception as error:  # execnet raises what its transport raises
            self.kill()
            raise WorkerError(
                "worker",
                f"no worker could be started at {launch.spec}: {type(error).__name__}:"
                f" {str(error).strip() or 'it ended at once'}",
            ) from None
        self._channel.setcallback(self._put, endmarker=_END)

    def _put(self, message: Any) -> None:
        self.last_message = time.monotonic()
        self.inbox.put(message)

    def ask(self, what: str, **arguments: Any) -> None:
        """Queue a request; `Fleet.wait` collects its answer into `results[what]`."""
        self.asked.append(what)
        with contextlib.suppress(OSError):  # a dead worker is told by its end marker, with its phase and signal
            self._channel.send({"do": what, **arguments})

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
        except WorkError as error:
            raise self._error("backend", str(error), "") from None
        self.results[message["done"]] = message["result"]

    def check_silence(self, timeout: float) -> None:
        """Raise when no message came for `timeout` seconds."""
        silent = time.monotonic() - self.last_message
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
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let a stopped worker go on."""
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        if self._local and self.pid is not None and hasattr(signal, name):
            number = getattr(signal, name)
            with contextlib.suppress(OSError):
                os.kill(self.pid, number)  # also while it has no group of its own yet
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def _died(self) -> WorkerError:
        """Why the channel ended: an error of our bootstrap, or the end of the process."""
        with contextlib.suppress(Exception):
            try:
                self._channel.waitclose(timeout=1)
            except self._channel.RemoteError as error:
                return self._error("worker", "a worker could not run its own code", str(error))
        end = self._end()
        return self._error("worker", f"the worker {end} in its phase '{self.progress[0]}'", self.tail())

    def _error(self, kind: str, message: str, details: str) -> WorkerError:
        """An error that says which of two sides it happened on and, for a known symptom, why and what to do."""
        message = f"with {self.interpreter.name}: {message}" if self.interpreter.name else message
        log = self._said() if kind in _OF_THE_ENVIRONMENT else ""  # of the user's own mistakes it says nothing
        known = diagnosis(f"{message}\n{details}\n{log}")
        return WorkerError(kind, f"{message}\n  known     {known}" if known else message, details)

    def _end(self) -> str:
        import psutil

        if not self._local or self.pid is None:
            return "ended"
        try:
            code = psutil.Process(self.pid).wait(timeout=5)
        except psutil.Error:
            code = None
        if code is None:
            return "ended"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = " (what the system does when memory runs out: try a smaller batch)" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"

    def _said(self) -> str:
        """The worker's log, where it can be read."""
        try:
            return self.log.read_text(errors="replace") if self._local else ""
        except OSError:
            return ""

    def tail(self) -> str:
        """The end of the worker's log."""
        lines = self._said().strip().splitlines()
        theirs = [line for line in lines if not any(mark in line for mark in _OUR_FRAMES)]
        return "\n".join(theirs[-TAIL_LINES:])

    def kill(self) -> None:
        """End the process and its children now; measuring is over, or it hangs."""
        if self._gone:
            return
        self._gone = True
        self._signal("SIGKILL")
        if self._gateway is not None:
            with contextlib.suppress(Exception):
                self._gateway.exit()
        if self._local and self.pid is not None:
            import psutil

            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).wait(timeout=10)
        self._ended(self)


def kill(workers: Sequence[Worker]) -> None:
    """End all of them."""
    for worker in list(workers):
        worker.kill()


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End children that are still starting after `seconds`: execnet's makegateway waits for ever."""
    import psutil

    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}

    def end() -> None:
        with contextlib.suppress(psutil.Error):
            for child in me.children(recursive=True):
                if child.pid not in before:
                    child.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
