"""`python -m pytest_metalperf calibrate`: measure this machine's noise, and say what the gate can see through it.

Sessions of fresh runs are measured as the plugin measures them; `simulation` makes of their figures the gate's
verdicts on these very runs, each session judged against the others, unchanged (A/A) and made slower by 5, 10 and 20 %;
its rates in simulated sessions with the noise that it learns from them; what it costs to see twice the tolerance.
Verdicts are the gate's, on figures alone: conditions, for which a session may say `inconclusive` instead, are left out.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from ..judge.evidence import rule_of
from ..measure.capacity import side_by_side
from ..measure.forecast import Took, guess
from ..measure.plan import plan_of
from ..measure.worker import WorkerError
from ..report import words
from ..report.terminal import Live
from ..results.measurement import Measurement
from ..results.peak import peak_of
from ..results.quantities import amounts
from ..results.run import Run
from ..session import MetalSession, open_session
from ..settings import QUICK, Settings, complete, options
from ..worker.lock import machine_lock
from ..worker.problems import Problem, first_line
from ..worker.sources import load
from ..workloads.workload import Workload, WorkloadError
from .report import report, table
from .simulation import Measured, days

PEAK = ("workload", "a large product", "of peak")
CHEAPEST = ("resnet50v2-head", "style-transfer")

# what is asked

_PASSED = ("size", "batches", "warmup", "runs", "tolerance", "max_runs", "timeout")  # options of pytest's, by field
_WHAT = "Run A/A sessions on this machine, and say how small a slowdown the gate can see through their noise."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # one sentence: the usage is --help's
        self.exit(2, f"calibrate: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m pytest_metalperf calibrate", description=_WHAT)
    either = "a reference model or path/to/file.py::builder, with axes where wanted: 'resnet50v2[batch_size=16]'"
    parser.add_argument(
        "workloads", nargs="*", default=CHEAPEST, metavar="WORKLOAD", help=f"{either} ({' '.join(CHEAPEST)})"
    )
    parser.add_argument("--device", default="cpu", help="cpu, gpu, gpu:1, … (cpu)")
    parser.add_argument("--backend", default="tensorflow", help="a name or path/to/file.py::Class (tensorflow)")
    own = {option.name: option for option in options()}
    for name, like, default, text in (
        ("sessions", "runs", 4, "A/A sessions; each is judged against the others, and three make their noise known"),
        ("runs", "runs", 5, "fresh runs of each workload in a session"),
        ("pause", "timeout", 0.0, "seconds between sessions"),
        *((same, same, None, own[same].metadata["help"]) for same in ("batches", "warmup", "tolerance", "max_runs")),
        ("size", "size", "quick", own["size"].metadata["help"]),
        ("timeout", "timeout", None, own["timeout"].metadata["help"]),
    ):
        shown = QUICK.get(like, own[like].default) if default is None else default
        where, parse = f"--{name.replace('_', '-')}", _cli_type(own[like].metadata["parse"])
        parser.add_argument(where, type=parse, default=default, metavar="VALUE", help=f"{text} ({shown})")
    return parser


def _cli_type(parse: Callable[[object], Any]) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:  # of any other exception than this argparse tells no reason
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def function_at(builder: str) -> Callable[..., Any]:
    """The function or class at `path/to/file.py::name`. Its file is imported, as pytest imports a file of tests.

    Raises:
        WorkloadError: for a file or a name that is not there.
        WorkerError: with the user's own traceback, for a file that breaks.
    """
    file, _, name = builder.partition("::")
    path = Path(file).resolve()
    if not path.is_file():
        raise WorkloadError(f"{builder}: there is no file {file}; a builder is named path/to/file.py::builder")
    root, module = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, module = root.parent, f"{root.name}.{module}"
    whole = {"kind": "import", "module": module, "file": str(path), "root": str(root), "name": "__dict__"}
    try:
        contents: Any = load(whole)
    except Problem as problem:
        why = first_line(problem.__cause__ or problem)
        raise WorkerError("builder", f"{file} cannot be imported: {why}", problem.traceback) from None
    if not callable(contents.get(name)):
        theirs = sorted(k for k, v in contents.items() if callable(v) and getattr(v, "__module__", None) == module)
        raise WorkloadError(f"{builder}: {file} has no function {name!r}; it has {', '.join(theirs) or 'none at all'}")
    return contents[name]  # type: ignore[no-any-return]


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """`resnet50v2[batch_size=16,precision=mixed_float16]` -> its name or builder, and its axes.

    Raises:
        WorkloadError: for axes that are not written so.
    """
    builder, _, inside = text.removesuffix("]").partition("[") if text.endswith("]") else (text, "", "")
    axes: dict[str, Any] = {}
    for part in filter(None, inside.split(",")):
        if not (found := re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", part)):
            raise WorkloadError(f"{text}: {part!r} is no axis; write {builder}[batch_size=64,precision=mixed_float16]")
        axes[found[1]] = found[2]
        with contextlib.suppress(ValueError, SyntaxError):  # what is no number or truth value is text
            axes[found[1]] = ast.literal_eval(found[2])
    return builder, axes


def workloads_of(session: MetalSession, asked: Sequence[str], device: str, backend: str) -> list[Workload]:
    """What is to be trained, each once.

    Raises:
        WorkloadError: for what is not there.
        WorkerError: for a file or a backend that breaks.
    """
    found = {}
    for builder, axes in map(parsed, asked):
        model = function_at(builder) if "::" in builder or builder.endswith(".py") else builder
        if isinstance(model, str) and model not in session.models:
            known = ", ".join(sorted(session.models))
            raise WorkloadError(
                f"unknown model {builder!r}: there are {known}; your own is named path/to/file.py::builder"
            )
        one = session.workload(model, name=None, device=device, backend=backend, axes=axes, settings=session.settings)
        found[one.id] = one
        if missing := session.missing_device(one.device, backend):
            raise WorkloadError(f"--device {device}: {missing}")
    return list(found.values())


# what is measured

Session = Mapping[str, list[Run]]
"""The runs of every workload in one session, by id."""


def measure(session: MetalSession, workloads: Sequence[Workload], title: str) -> Session:
    """Fresh runs of one workload after the other; the session is closed.

    Raises:
        WorkerError: when one breaks.
    """
    found = {}
    with contextlib.closing(session):
        for one in workloads:
            since = time.monotonic()
            runs = session.runs(one, plan_of(session.settings), session.settings.runs)
            middle = words.seconds(statistics.geometric_mean(run.estimate.seconds for run in runs))
            _print(f"{title}: {one.label} {middle} s/batch, took {words.duration(time.monotonic() - since)}")
            found[one.id] = runs
    return found


def gathered(workloads: Sequence[Workload], sessions: Sequence[Session], warmup: int) -> list[Measured]:
    """The figures of complete sessions. Seconds are the workers' own: waiting for other measurements is left out."""
    found = []
    for one in workloads:
        runs = [run for session in sessions for run in session[one.id]]
        steps = (warmup * run.estimate.seconds for run in runs)
        prepare = (run.prepare_seconds + run.first_batch_seconds + warm for run, warm in zip(runs, steps, strict=True))
        measuring = (sum(run.samples) * run.batches_per_block for run in runs)
        took = Took(one.id, statistics.median(prepare), statistics.median(measuring))
        found.append(Measured(one.label, [[run.estimate.seconds for run in s[one.id]] for s in sessions], took))
    return found


def peaks(workloads: Sequence[Workload], sessions: Sequence[Session]) -> list[str]:
    """What each workload reaches of the rate of a large product here; nothing where FLOP or rate are unknown."""
    rows = []
    for one in workloads:
        runs = [run for session in sessions for run in session[one.id]]
        whole = Measurement(one, runs, peak=peak_of(runs))
        if whole.share_of_peak is not None and whole.peak_flop_per_second is not None:
            (rate,) = amounts([whole.peak_flop_per_second], "FLOP/s")
            rows.append((one.label, f"{rate} in {whole.peak.arithmetic}", words.of_peak(whole.share_of_peak)))
    if not rows:
        return []
    return ["Peak: the rate of a large product here, and how much of it training reaches", *table(PEAK, rows), ""]


def announcement(workloads: Sequence[Workload], settings: Settings, sessions: int, pause: float) -> str:
    """`calibrate: 2 workloads on cpu, 3 sessions of 5 runs, about 3.5 min (a guess)`, said before anything is measured."""
    known = []
    for one in workloads:
        if (
            one.source["kind"] == "reference" and one.device == "cpu"
        ):  # of others nothing is known before the first session
            rough = guess(one.name, one.id, dict(one.axes), settings.batches, None)  # type: ignore[arg-type]
            known += [rough.recorded(settings.runs)] if rough else []
    seconds, unknown = sessions * sum(known) + pause * (sessions - 1), len(workloads) - len(known)
    parts = [f"about {words.duration(seconds)} (a guess)"] if seconds else []
    parts += [f"{unknown} of them not timed here before"] if unknown else []
    head = f"calibrate: {words.plural(len(workloads), 'workload')} on {workloads[0].device}"
    return ", ".join([head, days(sessions, settings.runs), *parts])


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _live() -> Callable[[Any], None]:
    """The live line of a pytest session, without pytest's terminal."""
    if not sys.stderr.isatty():
        return lambda progress: None
    terminal = SimpleNamespace(
        ensure_newline=lambda: None, write=lambda text, flush: print(text, end="", file=sys.stderr, flush=True)
    )
    return Live(terminal, None)  # type: ignore[arg-type]


def main(arguments: Sequence[str]) -> int:
    """Measure, and print what was found; 0, 1 for what breaks, 2 for what cannot be asked, 130 for Ctrl-C.

    What breaks or interrupts loses its session alone: complete ones are reported all the same.
    """
    asked = _parser().parse_args(arguments)
    settings = complete({name: vars(asked)[name] for name in _PASSED if vars(asked)[name] is not None})
    workloads: list[Workload] = []
    sessions: list[Session] = []
    code, live = 0, _live()
    try:
        added = [{(found := function_at(asked.backend)).__name__: found}] if "::" in asked.backend else []

        def opened() -> MetalSession:  # of its own, as one invocation of pytest is
            session = open_session(settings, Path.cwd(), (), added, ())
            session.show = live
            return session

        with contextlib.closing(opened()) as session:
            workloads = workloads_of(session, asked.workloads, asked.device, asked.backend.rpartition("::")[2])
            machine = session.facts.id
        _print(announcement(workloads, settings, asked.sessions, asked.pause))
        since = time.monotonic()
        for number in range(1, asked.sessions + 1):
            sessions.append(measure(opened(), workloads, f"session {number} of {asked.sessions}"))
            if left := asked.sessions - number:
                each = (time.monotonic() - since + asked.pause) / number
                _print(f"about {words.duration(left * each)} left")
                time.sleep(asked.pause)
    except WorkloadError as error:
        _print(f"calibrate: {error}")
        code = 2
    except WorkerError as error:
        _print(f"calibrate: {words.broken(error.message, error.details)}")
        code = 1
    except KeyboardInterrupt:
        _print(f"calibrate: interrupted after {words.plural(len(sessions), 'complete session')}")
        code = 130
    if sessions:
        _print("judging and simulating")
        with contextlib.ExitStack() as stack:
            try:  # nobody's measurement is disturbed by it
                stack.enter_context(machine_lock(exclusive=False, waiting=lambda seconds: None))
            except Problem as problem:  # hours of measuring are not lost by it
                _print(f"calibrate: {problem.message}")
            text = report(gathered(workloads, sessions, settings.warmup), rule_of(settings), side_by_side())
        used = words.versions(run.versions for session in sessions for runs in session.values() for run in runs)
        plan = f"size {settings.size}, --metal-batches {settings.batches} --metal-warmup {settings.warmup}"
        head = [f"{machine} with {used}", f"{days(len(sessions), settings.runs)} of each workload; {plan}", ""]
        print("\n".join([*head, *peaks(workloads, sessions), text]))
    return code
