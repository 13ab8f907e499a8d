"""`python -m pytest_metalperf doctor`: what is wrong with this environment, and the fix.

What can be read without importing a framework is checked at once, by `checks`; what each backend really sees and does is
found out meanwhile in child processes that may crash or hang (`worker/checkup.py`). Nothing of the user's is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..worker.lock import machine_lock
from ..worker.machine import Watch, machine_facts, slug
from ..worker.machine.macos import metal_family
from ..worker.observers import unobserved
from ..worker.problems import Problem
from . import checks
from .checks import Finding
from .environment import FRAMEWORKS, Environment, environment

SECONDS = 27.0
KILL_SECONDS = 2.0
WAIT_SECONDS = 5.0  # for a measurement on this machine to end: one may take minutes
LOOK_SECONDS = 0.5  # at the machine's load, before anything of ours runs

_CHILD = "import sys; p = sys.argv.pop(1); p in sys.path or sys.path.insert(0, p); from pytest_metalperf.worker import checkup"
_CHILD += "; sys.exit(checkup.main(sys.argv[1:]))"


class _Busy(Exception):
    """Another session measures."""


class Child:
    """A backend looked at in a process of its own: the facts that it answers, and how it ended.

    Args:
        backend: one of ours.
        device: `cpu`, or empty for the GPU if there is one.
        folder: for its streams, which are files: nobody has to read along.
    """

    def __init__(self, backend: str, device: str, folder: Path) -> None:
        self.backend = backend
        self.facts: dict[str, Any] = {}
        self._answers = folder / f"{backend}-{device or 'any'}.json"
        self._log = folder / f"{backend}-{device or 'any'}.log"
        with self._answers.open("wb") as answers, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(Path(__file__).parents[2]), str(os.getpid()), backend, device],
                stdin=subprocess.DEVNULL,
                stdout=answers,
                stderr=log,
                cwd=folder,  # a keras.py of the user's must not stand in for Keras
                start_new_session=True,
                env=unobserved(os.environ),
            )

    def look(self) -> bool:
        """Take what it has written so far; whether it has ended."""
        ended = self._process.poll() is not None
        for line in self._answers.read_text("utf-8", "replace").split("\n")[:-1]:
            with contextlib.suppress(ValueError):  # somebody's sitecustomize may have printed before us
                answers = json.loads(line)
                self.facts.update(answers if isinstance(answers, dict) else {})
        if ended and self._process.returncode and "error" not in self.facts:
            code = self._process.returncode
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            self.facts["error"] = f"a process that tried it {how}"
        if "error" in self.facts or self.facts.get("missing"):
            self.facts["log"] = self._log.read_text("utf-8", "replace")
        return ended

    def kill(self) -> None:
        """End it and whatever it started."""
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a driver cannot even be killed
            self._process.wait(KILL_SECONDS)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def watched(backends: Sequence[str], seconds: float, finished: Callable[[Child, bool], None]) -> None:
    """Look at every backend side by side, a CPU beside each GPU; `ended` is called with each child as it ends, or is ended."""
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="metalperf-doctor-", ignore_cleanup_errors=True) as folder:
        children = [Child(backend, "", Path(folder)) for backend in backends]
        also: set[str] = set()
        try:
            while children:
                for child in list(children):
                    ended = child.look()
                    if child.facts.get("device") == "gpu" and child.backend not in also:
                        also.add(child.backend)
                        children.append(Child(child.backend, "cpu", Path(folder)))
                        children[-1].facts["late"] = True  # it has what is left of the time
                    if ended or time.monotonic() > until:
                        children.remove(child)
                        child.kill()
                        finished(child, ended)
                time.sleep(0.05)
        finally:
            for child in children:
                child.kill()


def conditions() -> Mapping[str, object]:
    """The machine's state now, and who else uses it for half a second."""
    watch = Watch("gpu")
    time.sleep(LOOK_SECONDS)
    return watch.conditions()


# what is printed


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # one sentence: the usage is --help's
        self.exit(2, f"doctor: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m pytest_metalperf doctor", description="What is wrong with this environment, and the fix."
    )
    parser.add_argument(
        "--backend",
        default="",
        metavar="NAMES",
        help=f"look at these, comma separated ({', '.join(FRAMEWORKS)}; default: those that are installed)",
    )
    parser.add_argument("--baselines", default="baselines", metavar="DIR", help="where baselines live (baselines)")
    parser.add_argument(
        "--machine", default="", metavar="NAME", help="name of this machine, as --metal-machine gives it"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=SECONDS, metavar="SECONDS", help=f"for all backends ({SECONDS:g})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")


def shown(finding: Finding) -> str:
    """`ok    python              Python 3.11.7 for arm64`, and below it what to do."""
    lines = [f"{finding.state:<5} {finding.check:<19} {finding.found}"]
    if finding.fix:
        lines.append(f"{'':<5} {'':<19} fix: {finding.fix}")
    return "\n".join(lines)


def examine(
    env: Environment, asked: argparse.Namespace, names: Sequence[str], found: Callable[[Finding], None]
) -> None:
    """Every check, in order; `found` takes each finding as soon as it is known.

    Args:
        env: the environment.
        asked: the options.
        names: backends to look at.
        found: takes findings.
    """
    for finding in checks.of_environment(env):
        found(finding)
    metal = metal_family() if env.facts.system == "macos" else ""
    for finding in checks.of_machine(env.facts, conditions(), metal):
        found(finding)
    found(checks.of_baselines(Path(asked.baselines), slug(asked.machine) if asked.machine else env.facts.id))
    answers: dict[str, dict[str, Any]] = {}

    def finished(child: Child, ended: bool) -> None:
        for finding in checks.of_backend(env, child.backend, child.facts, ended, asked.timeout):
            found(finding)
        if "loss" in child.facts:
            answers.setdefault(child.backend, {})[child.facts["device"]] = child.facts
            if len(answers[child.backend]) == 2:
                found(checks.of_parity(child.backend, answers[child.backend]["gpu"], answers[child.backend]["cpu"]))

    def waiting(seconds: float) -> None:
        if seconds > WAIT_SECONDS:
            raise _Busy

    try:
        with machine_lock(exclusive=False, waiting=waiting):  # a measurement would be disturbed
            watched(names, asked.timeout, finished)
    except _Busy:
        found(checks.note("backends", "not tried: a measurement runs on this machine", "again when it has ended"))
    except Problem as problem:  # what lies in the lock's place
        found(checks.note("backends", f"not tried: {problem.message}"))


def main(arguments: Sequence[str]) -> int:
    """Examine, and print; 0 when all is well, 1 otherwise, 2 for what cannot be asked."""
    asked = _parser().parse_args(arguments)
    names = list(dict.fromkeys(name.strip() for name in asked.backend.split(",") if name.strip()))
    for name in names:
        if name not in FRAMEWORKS:
            print(f"doctor: unknown backend {name!r}: there are {', '.join(FRAMEWORKS)}", file=sys.stderr)
            return 2
    env = environment(machine_facts())
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not asked.json:
            print(shown(finding), flush=True)

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that folders and children go
    try:
        examine(env, asked, names or env.backends, found)
    finally:
        signal.signal(signal.SIGTERM, before)
    bad = any(finding.state == "bad" for finding in findings)
    if asked.json:
        report = {"ok": not bad, "machine": env.facts.as_dict(), "findings": [one._asdict() for one in findings]}
        print(json.dumps(report, indent=2, sort_keys=True))
    else:
        print(checks.counted(findings))
    return int(bad)
