"""The workers of one session: starting them, preparing them side by side, measuring one after the other."""

from __future__ import annotations

import contextlib
import queue
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..results.metrics import PREPARED_BESIDE
from ..results.run import LOADED, Run, run_of
from ..worker.clock import RealTime
from ..worker.lock import WAIT_SECONDS
from ..workloads.workload import Workload
from .capacity import fitting, gpu_share, memory_share, side_by_side
from .interpreter import HERE, Interpreter, archive, user_modules
from .plan import OnProgress, Plan, Request
from .process import Launch
from .temporary import made, removed
from .watcher import Watcher
from .worker import Worker, WorkerError, kill

_START = "import sys;sys.path[:1]=[one for one in sys.path[:1] if one];exec(eval(sys.stdin.readline()))"
"""What execnet starts an interpreter with, less the working folder on its import path: `pytest` has not that either, and
whoever may write there would run code in every worker."""


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
        wait_seconds: seconds that another measurement on the machine is waited for.
        session: id that every run carries.
        calls: how a worker finds the functions that set its framework up.
    """

    def __init__(
        self,
        *,
        host: str = "",
        timeout: float = 1200.0,
        wait_seconds: float = WAIT_SECONDS,
        session: str = "",
        calls: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        import execnet

        self.timeout = timeout
        self.session = session
        self.wait_seconds = wait_seconds
        self._calls = calls
        self.local = not host or host.startswith("popen")
        self.host = host
        try:
            self.folder = made()
        except OSError as error:
            raise _unwritable(tempfile.gettempdir(), error) from None
        self._group = execnet.Group()
        self._archives: dict[Path, tuple[str, bytes]] = {}
        self._fitting: dict[str, int] = {}
        self._workers: list[Worker] = []
        self._started = 0
        self._watcher = Watcher()

    def start(self, interpreter: Interpreter = HERE) -> Worker:
        """A fresh worker of an interpreter; `wait` takes its hello, so that several import their code at once.

        Raises:
            WorkerError: when the interpreter or host cannot be reached.
        """
        self._started += 1
        launch = Launch(
            self._group,
            self._spec(interpreter),
            self.local,
            not self.host and not interpreter.python,
            self.folder,
            self._archive(interpreter.package),
            self.timeout,
            self.wait_seconds,
            self._watcher,
        )
        worker = Worker(launch, f"worker-{self._started}.log", interpreter, self._forget)
        self._workers.append(worker)
        return worker

    def _forget(self, worker: Worker) -> None:
        with contextlib.suppress(ValueError):
            self._workers.remove(worker)

    def _spec(self, interpreter: Interpreter) -> str:
        """How execnet reaches an interpreter."""
        return self.host or f"popen//python={shlex.join([interpreter.python or sys.executable, '-u', '-c', _START])}"

    def _archive(self, package: Path) -> tuple[str, bytes]:
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
        return self._one("facts")[1]

    def probe(self, backend: Mapping[str, Any] | str, device: str, interpreter: Interpreter = HERE) -> Probe:
        """Ask a fresh worker what `backend` sees, and why not `device`.

        Raises:
            WorkerError: when it cannot be imported, or the worker dies.
        """
        worker, found = self._one("look", interpreter, backend=backend, device=device)
        clash = worker.clash() if found["missing"] else None  # with which JAX goes on without a GPU
        return Probe(**{**found, "missing": f"{found['missing']}; {clash}"} if clash else found)

    def _one(self, what: str, interpreter: Interpreter = HERE, **arguments: Any) -> tuple[Worker, Mapping[str, Any]]:
        """A worker that has ended, and what it answered."""
        worker = self.start(interpreter)
        try:
            worker.ask(what, **arguments)
            self.wait([worker])
            return worker, worker.results[what]
        finally:
            worker.kill()

    def building(self, request: Request) -> Worker:
        """A worker that is asked to build a workload.

        Raises:
            WorkerError: when it cannot be reached.
        """
        workload, backend, interpreter = request
        worker = self.start(interpreter)
        worker.ask(
            "prepare",
            backend=backend,
            source=dict(workload.source),
            name=workload.name,
            device=workload.device,
            axes=dict(workload.axes),
            seed=workload.seed,
            calls=[interpreter.source(source) for source in self._calls],
            # a reference's files are elsewhere by intent, and another machine's too
            modules=user_modules(sys.modules) if self.local and interpreter == HERE else {},
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
        self,
        workload: Workload,
        backend: Mapping[str, Any] | str,
        plan: Plan,
        count: int,
        progress: OnProgress,
        *,
        look: bool = False,
        rate: bool = False,
    ) -> Iterator[Run]:
        """`count` fresh runs: prepared side by side, unless the plan forbids it, and measured one after the other.

        On a GPU the first is alone, and tells how many its memory holds: where it is short, frameworks choose other
        algorithms, with less workspace, and runs of the same code differ.

        Args:
            workload: what to train.
            backend: how a worker finds it.
            plan: of each run.
            count: of runs.
            progress: called with what is going on.
            look: whether the first run is asked what it had loaded, once all is measured.
            rate: whether it then measures how fast its device multiplies.

        Raises:
            WorkerError: when one of them breaks; the rest are ended.
        """
        left = count
        while left:
            most = self._fitting.get(workload.id, side_by_side() if workload.device == "cpu" else 1)
            side = 1 if plan.alone else min(left, most)
            workers = self.prepared([Request(workload, backend)] * side, plan, progress)
            try:
                for worker in workers:
                    worker.pause()  # who waits costs the one that measures nothing, so runs side by side are as a run alone
                for worker in workers:
                    worker.resume()
                    worker.ask(
                        "measure",
                        batches=plan.batches,
                        least_blocks=plan.least_blocks,
                        least_seconds=plan.least_seconds,
                    )
                    worker.ask("finish")
                    for what in LOADED if look else ():
                        worker.ask(what)
                    if rate:
                        worker.ask("product")
                    look = rate = False
                    self.wait([worker], progress, plan.timeout)
                    worker.kill()
                    worker.results["measure"].setdefault("conditions", {})[PREPARED_BESIDE] = side - 1.0
                    run = run_of(worker.results, self.session)
                    if workload.device == "cpu":
                        self._fitting[workload.id] = fitting(memory_share(run.peak_memory_bytes) if self.local else 0.0)
                    elif side == 1:
                        self._fitting[workload.id] = fitting(self._taken(run))
                    yield run
            finally:
                kill(workers)
            left -= side

    def pairs_together(self, workload: Workload, pair: Sequence[Run]) -> int:
        """Pairs of workers that prepare at once, as far as CPUs and the memory of its device go.

        Args:
            workload: that both sides train.
            pair: one that was measured alone, ours and theirs.
        """
        if workload.device == "cpu":
            peaks = [run.peak_memory_bytes or 0 for run in pair]
            taken = memory_share(sum(peaks)) if self.local else 0.0
        else:
            taken = max(self._taken(run) for run in pair)
        return max(1, min(side_by_side() // 2, fitting(taken)))

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
            worker.last_message = RealTime.monotonic()  # silence counts from when somebody listens
        reported = RealTime.monotonic()
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
            if not answered and RealTime.monotonic() - reported > 1.0:
                reported = RealTime.monotonic()
                for which, worker in enumerate(waiting):
                    worker.check_silence(timeout or self.timeout)
                    progress(*worker.progress, which)  # a long phase says nothing, but its seconds go on

    def close(self) -> None:
        """End all workers and remove their logs."""
        kill(self._workers)
        self._workers.clear()
        self._watcher.end()
        removed(self.folder)


def _unwritable(folder: object, error: OSError) -> WorkerError:
    return WorkerError("worker", f"{folder}: cannot be written: {error.strerror}; free space, or set TMPDIR to another")
