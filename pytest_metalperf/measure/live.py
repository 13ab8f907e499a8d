"""`metal_live`: a first look in the pytest process, fresh runs from child processes that run the same test alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from ..results.metrics import PREPARED_BESIDE
from ..results.run import Run, run_of
from ..settings import Settings
from ..worker.backends import Backend, variables
from ..worker.clock import RealTime
from ..worker.lazy import fence_of
from ..worker.lock import WAITING
from ..worker.log import check_log, recorded_stderr
from ..worker.loop import Trainable
from ..worker.machine import keep_awake, system_versions
from ..worker.observers import observer, unobserved
from ..worker.problems import Problem
from ..worker.process import die_with_parent
from ..worker.serve import Job
from ..workloads.workload import Workload
from .plan import Plan, Progress
from .temporary import made, removed
from .waits import Waits
from .watcher import Watcher
from .worker import WorkerError

CHILD = "PYTEST_METALPERF_LIVE"  # tells a child what to measure and where to leave it


@dataclass(frozen=True)
class Child:
    """What a parent asked of this process: one workload of one test, by its label, its run left in a file.

    Its id may differ here, since a model that another test has built shows its device there and not here.
    """

    label: str
    result: Path

    @staticmethod
    def of_environment() -> Child | None:
        """The parent's wish, if this process is a child; it ends with its parent from here on."""
        text = os.environ.get(CHILD)
        if not text:
            return None
        try:
            wish = json.loads(text)
            parent, child = int(wish["parent"]), Child(str(wish["label"]), Path(wish["result"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            pytest.fail(f"{CHILD} is for child processes of metal_live, and is set here: unset it", pytrace=False)
        die_with_parent(parent)
        return child

    def serve(self, runs: LiveWorkload, waits: Waits) -> NoReturn:
        """Measure, leave the run where the parent finds it, and end: nothing else of this session is wanted.

        Beside it stands what was waited for. A step that fails leaves its problem instead.
        """
        try:
            answer: dict[str, Any] = {"run": asdict(runs.first_look())}
        except WorkerError as error:
            answer = {"error": [error.kind, error.message, error.details]}
        answer["waited"] = [int(waits.lock), [*waits.whom]]
        partial = self.result.with_suffix(".partial")
        partial.write_text(json.dumps(answer))
        partial.replace(self.result)
        pytest.exit("measured for the parent session", returncode=0)


@dataclass(frozen=True)
class LiveRuns:
    """How one test is run alone in a fresh process.

    Attributes:
        arguments: pytest's arguments for it, without the test.
        target: the test, as an argument.
        cwd: where pytest was started.
        apart: arguments that give it files of its own, with {} for a folder that is removed afterwards.
        child: what a parent wants of this process, if it is a child itself.
    """

    arguments: Callable[[], Sequence[str]]
    target: Sequence[str]
    cwd: Path
    apart: Sequence[str]
    child: Child | None


@dataclass(frozen=True)
class LiveWorkload:
    """Runs of one step: the first look here, fresh ones in children.

    Attributes:
        how: its test is run alone.
        workload: what the step trains.
        step: trains once.
        plan: how much one run measures.
        settings: of the test.
        runs: those that the session has so far; they grow.
        session: its id.
        on_progress: hears how far measuring is.
    """

    how: LiveRuns
    workload: Workload
    step: Callable[[], Any]
    plan: Plan
    settings: Settings
    runs: list[Run]
    session: str
    on_progress: Callable[[Progress | None], None]

    def first_look(self) -> Run:
        """Train here and now.

        Raises:
            WorkerError: when the step fails.
        """
        try:
            return here(self.step, self.workload, self.plan, self.session, self.on_progress, self.settings.wait)
        except Problem as problem:
            raise WorkerError(problem.kind, problem.message, problem.traceback) from None
        finally:
            self.on_progress(None)

    def fresh(self, count: int) -> list[Run]:
        """At least `count` runs, each from a child process.

        Raises:
            WorkerError: when a child does not bring one back.
        """
        if self.settings.metal == "smoke" and (self.how.child is not None or not observer()):
            return [self.first_look()]
        while len(self.runs) < count:
            self.on_progress(Progress(self.workload.label, "live", "child process", run=len(self.runs) + 1, runs=count))
            try:
                self.runs.append(self._child())
            finally:
                self.on_progress(None)
        return list(self.runs)

    def _child(self) -> Run:
        folder = made()
        try:
            result, log = folder / "run.json", folder / "log"
            limit = self.settings.timeout + self.settings.wait + (self.settings.sustained or 0.0)
            wish = {"label": self.workload.label, "result": str(result), "parent": os.getpid()}
            command = [sys.executable, "-m", "pytest", *self.how.target, *self.how.arguments()]
            command += [argument.format(folder) for argument in self.how.apart]
            command += [f"--metal={'smoke' if self.settings.metal == 'smoke' else 'on'}"]
            with log.open("wb") as output, Watcher() as watcher:
                environment = {**unobserved(os.environ), **watcher.variables(), CHILD: json.dumps(wish)}
                environment.pop("PYTEST_ADDOPTS", None)  # what it says is among the arguments
                code = _ended(command, self.how.cwd, output, environment, limit)
            if code is None:
                raise WorkerError(
                    "worker",
                    f"a child process that runs this test alone did not end within {limit:g} s"
                    " and was killed; if that is its honest time, raise --metal-timeout",
                    _tail(log),
                )
            if not result.exists():
                raise WorkerError(
                    "worker",
                    f"a child process that runs this test alone (exit code {code}) did not get to"
                    f" metal_live(…, name={self.workload.name!r}): does the test depend on others having run before it?",
                    _tail(log),
                )
            answer = json.loads(result.read_text())
            self._waited(*answer["waited"])
        finally:
            removed(folder)
        if "error" in answer:
            raise WorkerError(*answer["error"])
        plain = answer["run"]
        conditions = {**plain["conditions"], PREPARED_BESIDE: 0.0}
        return Run(**{**plain, "samples": tuple(plain["samples"]), "session": self.session, "conditions": conditions})

    def _waited(self, seconds: int, whom: Sequence[str]) -> None:
        """What a child waited for is this session's wait."""
        for one in (whom or [""]) if seconds else []:
            phase = f"{WAITING} ({one})" if one else WAITING
            self.on_progress(Progress(self.workload.label, "live", phase, seconds))


def here(
    step: Callable[[], Any],
    workload: Workload,
    plan: Plan,
    session: str,
    on_progress: Callable[[Progress | None], None],
    wait_seconds: float,
) -> Run:
    """Measure `step` in this process, by the same code that measures in a worker; `wait_seconds` at most for the machine.

    Raises:
        Problem: when the step fails, returns nothing to wait for, or diverges.
    """

    def progress(message: dict[str, Any]) -> None:
        on_progress(Progress(workload.label, "live", message["progress"], message["i"], message["n"]))

    keep_awake()
    job = Job(progress)
    job.stoppable, job.wait_seconds = True, wait_seconds
    job.name, job.device, job.backend = workload.name, workload.device, _Here()
    batch_size = workload.axes.get("batch_size")
    job.trainable = Trainable(step, fence_of(step), examples=batch_size if isinstance(batch_size, int) else None)
    with recorded_stderr() as written:
        answers = {
            "prepare": {
                "import_seconds": 0.0,
                "build_seconds": 0.0,
                "examples": job.trainable.examples,
                "parameters": None,
                "versions": {**_Here().versions(), **system_versions(workload.device), **variables()},
            },
            "first_batch": job.first_batch(),
            "warm_up": job.warm_up(plan.warmup),
            "measure": job.measure(plan.batches, plan.least_blocks, plan.least_seconds),
            "finish": job.finish(),
        }
        job.forks.check(workload.name)
    job.forks.close()
    check_log("".join(written).splitlines(), workload.name)
    return run_of(answers, session)


class _Here(Backend):
    """Whatever framework the user's objects belong to."""

    def versions(self) -> dict[str, str]:
        found = {"python": sys.version.split()[0]}
        for name in ("tensorflow", "keras", "torch", "jax", "mlx.core", "numpy"):
            version = getattr(sys.modules.get(name), "__version__", None)  # only what is imported already
            if isinstance(version, str):
                found[name.removesuffix(".core")] = version
        return found

    def devices(self) -> dict[str, str]:
        return {}

    def set_up(self, device: str, precision: str, seed: int) -> None:
        """Nothing: the objects are where they are."""

    def trainable(self, built: Any, name: str, axes: Any) -> Trainable:
        raise NotImplementedError


def _ended(
    command: Sequence[str], cwd: Path, output: IO[bytes], environment: Mapping[str, str], limit: float
) -> int | None:
    """How a child process ended, within so many seconds by our own clock: None is not, and it was killed."""
    until = RealTime.monotonic() + limit
    with subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
    ) as child:
        try:
            while child.poll() is None:
                if RealTime.monotonic() > until:
                    return None
                RealTime.sleep(0.05)
            return child.returncode
        finally:
            child.kill()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-25:])
