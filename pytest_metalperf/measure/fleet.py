"""Starting and driving workers: fresh processes, here or elsewhere, that speak the protocol of `worker/serve.py`."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..doctor.symptoms import diagnosis
from ..results.fingerprint import WorkError, fingerprint
from ..results.metrics import PREPARED_BESIDE
from ..results.run import Run, run_of
from ..settings import Settings
from ..workloads.workload import Workload
from .forecast import fitting, gpu_share, side_by_side
from .parcel import BOOTSTRAP, HERE, Place, archive, import_path

START_SECONDS = 120.0
TAIL_LINES = 12
_END = object()
_OF_THE_ENVIRONMENT = ("backend", "device", "worker")
_OUR_FRAMES = (".zip/pytest_metalperf/", 'File "<string>"', 'File "<remote exec>"')  # of a native crash's traceback

OnProgress = Callable[[str, int, int, int], None]
"""Told of progress: phase, i, n, and which of the workers that run side by side."""


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
class Plan:
    """How much one run measures."""

    batches: int
    warmup: int
    least_blocks: int = 10
    least_seconds: float = 1.0
    timeout: float | None = field(default=None, repr=False, compare=False)  # of silence; None is the session's
    sustained: bool = False  # minutes, which tell nothing of what a run of batches takes
    alone: bool = False  # prepare no two workers side by side, since the time of the first batch is gated


def plan_of(settings: Settings) -> Plan:
    """What these settings ask of one run."""
    if settings.metal == "smoke":
        return Plan(1, 0, least_blocks=1, least_seconds=0.0, timeout=settings.timeout)
    alone = any(name == "first_batch" for name, _ in settings.metrics)
    return Plan(settings.batches, settings.warmup, timeout=settings.timeout, alone=alone)


class Request(NamedTuple):
    """One worker that is wanted: what it trains, how it finds the backend, where its code comes from."""

    workload: Workload
    backend: Mapping[str, Any] | str
    place: Place = HERE


@dataclass(frozen=True)
class Probe:
    """What a backend can see where the workers run."""

    devices: Mapping[str, str]
    versions: Mapping[str, str]
    missing: str


class Fleet:
    """The workers of one session.

    Args:
        host: an execnet spec, or empty for this machine and this interpreter.
        timeout: seconds of silence after which a worker is killed.
        session: id that every run carries.
    """

    def __init__(self, *, host: str = "", timeout: float = 1200.0, session: str = "") -> None:
        import execnet

        self.timeout = timeout
        self.session = session
        self.local = not host or host.startswith("popen")
        self.host = host
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="pytest-metalperf-"))
        except OSError as error:
            raise _unwritable(tempfile.gettempdir(), error) from None
        self._group = execnet.Group()
        self._archives: dict[Path, tuple[str, bytes]] = {}
        self._fitting: dict[str, int] = {}
        self._workers: list[Worker] = []
        self._started = 0

    def start(self, place: Place = HERE) -> Worker:
        """A fresh worker at `place`; `wait` hears its hello, so that several import their code at once.

        Raises:
            WorkerError: when the interpreter or host cannot be reached.
        """
        self._started += 1
        worker = Worker(self, f"worker-{self._started}.log", place)
        self._workers.append(worker)
        return worker

    def spec(self, place: Place) -> str:
        """How execnet reaches an interpreter."""
        return self.host or f"popen//python={shlex.quote(place.python or sys.executable)}"

    def archive(self, package: Path) -> tuple[str, bytes]:
        """The name and the bytes of a package's zip; where workers are local it lies in our folder."""
        if package not in self._archives:
            name, data = f"worker-{len(self._archives)}.zip", archive(package)
            try:
                (self.folder / name).write_bytes(data)
            except OSError as error:
                raise _unwritable(self.folder, error) from None
            self._archives[package] = name, data
        return self._archives[package]

    def facts(self) -> Mapping[str, Any]:
        """What machine the workers run on.

        Raises:
            WorkerError: when it cannot be reached.
        """
        return self._one("facts")

    def probe(self, backend: Mapping[str, Any] | str, device: str, place: Place = HERE) -> Probe:
        """Ask a fresh worker what `backend` sees, and why not `device`.

        Raises:
            WorkerError: when it cannot be imported, or the worker dies.
        """
        return Probe(**self._one("look", place, backend=backend, device=device))

    def _one(self, what: str, place: Place = HERE, **arguments: Any) -> Mapping[str, Any]:
        worker = self.start(place)
        try:
            worker.ask(what, **arguments)
            self.wait([worker])
            return worker.results[what]
        finally:
            worker.kill()

    def building(self, request: Request) -> Worker:
        """A worker that is asked to build a workload.

        Raises:
            WorkerError: when it cannot be reached.
        """
        workload, backend, place = request
        worker = self.start(place)
        worker.ask(
            "prepare",
            backend=backend,
            source=dict(workload.source),
            name=workload.name,
            device=workload.device,
            axes=dict(workload.axes),
            seed=workload.seed,
        )
        return worker

    def prepared(
        self,
        requests: Sequence[Request],
        plan: Plan,
        progress: OnProgress,
        built: Callable[[Sequence[Worker]], None] | None = None,
    ) -> list[Worker]:
        """Workers that have built, traced and warmed up these workloads side by side; the caller kills them.

        `built` looks at them when they have their models and have trained nothing yet.

        Raises:
            WorkerError: for the first that breaks; the others are ended.
        """
        workers: list[Worker] = []
        try:
            for request in requests:
                workers.append(self.building(request))  # noqa: PERF401 - where one fails, those before it are ended
            if built is not None:
                self.wait(workers, progress, plan.timeout)
                built(workers)
            for worker in workers:
                worker.ask("first_batch")
                worker.ask("warm_up", batches=plan.warmup)
            self.wait(workers, progress, plan.timeout)
        except BaseException:
            kill(workers)
            raise
        return workers

    def run(
        self, workload: Workload, backend: Mapping[str, Any] | str, plan: Plan, count: int, progress: OnProgress
    ) -> Iterator[Run]:
        """`count` fresh runs: prepared side by side, unless the plan forbids it, and measured one after the other.

        On a GPU the first is alone, and tells how many its memory holds: where it is short, frameworks choose other
        algorithms, with less workspace, and runs of the same code differ.

        Raises:
            WorkerError: when one of them breaks; the rest are ended.
        """
        left = count
        while left:
            most = side_by_side() if workload.device == "cpu" else self._fitting.get(workload.id, 1)
            side = 1 if plan.alone else min(left, most)
            workers = self.prepared([Request(workload, backend)] * side, plan, progress)
            try:
                for worker in workers:
                    worker.ask(
                        "measure",
                        batches=plan.batches,
                        least_blocks=plan.least_blocks,
                        least_seconds=plan.least_seconds,
                    )
                    worker.ask("finish")
                    self.wait([worker], progress, plan.timeout)
                    worker.kill()
                    worker.results["measure"].setdefault("conditions", {})[PREPARED_BESIDE] = side - 1.0
                    run = run_of(worker.results, self.session)
                    if side == 1:
                        self._fitting[workload.id] = fitting(self._taken(run))
                    yield run
            finally:
                kill(workers)
            left -= side

    def _taken(self, run: Run) -> float:
        """The share of its GPU's memory that a run alone took; a Mac's is the machine's own."""
        import psutil

        common = psutil.virtual_memory().total if self.local and sys.platform == "darwin" else None
        return gpu_share(run.conditions.get("gpu_memory_free"), run.peak_memory_bytes, common)

    def wait(
        self,
        workers: Sequence[Worker],
        progress: OnProgress = lambda phase, i, n, which: None,
        timeout: float | None = None,
    ) -> None:
        """Until every worker has answered all it was asked.

        Raises:
            WorkerError: for the first that reports an error, dies, or stays silent past the timeout.
        """
        for worker in workers:
            worker.last_message = time.monotonic()  # silence counts from when somebody listens
        said = time.monotonic()
        while waiting := [worker for worker in workers if worker.asked]:
            answered = False
            for which, worker in enumerate(waiting):
                with contextlib.suppress(queue.Empty):
                    message = worker.inbox.get(timeout=0.1)  # we share the machine with what we measure: sleep
                    answered = True
                    if isinstance(message, dict) and "progress" in message:
                        worker.progress = message["progress"], message["i"], message["n"]
                        progress(*worker.progress, which)
                    else:
                        worker.take(message)
            if not answered and time.monotonic() - said > 1.0:
                said = time.monotonic()
                for which, worker in enumerate(waiting):
                    worker.check_silence(timeout or self.timeout)
                    progress(*worker.progress, which)  # a long phase says nothing, but its seconds go on

    def close(self) -> None:
        """End all workers and remove their logs."""
        kill(self._workers)
        self._workers.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _unwritable(folder: object, error: OSError) -> WorkerError:
    return WorkerError("worker", f"{folder}: cannot be written: {error.strerror}; free space, or set TMPDIR to another")


class Worker:
    """One fresh process and the channel to it."""

    def __init__(self, fleet: Fleet, log: str, place: Place) -> None:
        self.fleet = fleet
        self.place = place
        self.log = fleet.folder / log
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.asked: list[str] = ["hello"]
        self.results: dict[str, dict[str, Any]] = {}
        self.progress = ("start", 0, 0)
        self.last_message = time.monotonic()
        self.pid: int | None = None
        self._gone = False
        self._gateway: Any = None
        spec, (name, data) = fleet.spec(place), fleet.archive(place.package)
        try:
            with _deadline(min(START_SECONDS, fleet.timeout)):
                self._gateway = fleet._group.makegateway(f"{spec}//execmodel=main_thread_only")
            self._channel = self._gateway.remote_exec(BOOTSTRAP)
            self.pid = self._channel.receive(timeout=START_SECONDS)
            self._channel.send(
                {
                    "folder": str(fleet.folder) if fleet.local else None,
                    "zip": name,
                    "archive": b"" if fleet.local else data,
                    "log": log,
                    "parent": os.getpid() if fleet.local else None,
                    "path": import_path() if fleet.local else [],
                    "moved": place.moved,
                }
            )
        except Exception as error:  # execnet raises what its transport raises
            self.kill()
            raise WorkerError(
                "worker",
                f"no worker could be started at {spec}: {type(error).__name__}: {str(error).strip() or 'it ended at once'}",
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
        if self.fleet.local and self.pid is not None and hasattr(signal, name):
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
        message = f"with {self.place.name}: {message}" if self.place.name else message
        log = self._said() if kind in _OF_THE_ENVIRONMENT else ""  # of the user's own mistakes it says nothing
        known = diagnosis(f"{message}\n{details}\n{log}")
        return WorkerError(kind, f"{message}\n  known     {known}" if known else message, details)

    def _end(self) -> str:
        import psutil

        if not self.fleet.local or self.pid is None:
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
            return self.log.read_text(errors="replace") if self.fleet.local else ""
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
        if self.fleet.local and self.pid is not None:
            import psutil

            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).wait(timeout=10)
        with contextlib.suppress(ValueError):
            self.fleet._workers.remove(self)


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
