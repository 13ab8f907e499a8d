"""One comparison: a pytest session in the checkout of BAD, in turn with a commit by --metal-against, read from its file.

What is compared and how is the plugin's own business; here is only who is started and what its file says. The flags ask for
exactly the fewest pairs: beside a tolerance that nothing exceeds, a session is content as soon as its rule allows.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..baselines.errors import printable
from ..measure.temporary import PREFIX
from ..references.installed import modules
from ..report import document
from ..worker.clock import RealTime
from . import inside
from .checkout import argument, environment
from .likelihood import Pair
from .question import SHORT, Question

END_SECONDS = 60.0
"""For so long a session that is interrupted may end its workers and write its file."""
LONGEST = 600
"""Characters of a reason."""
CONTENT = ("--metal=only", "--metal-max-runs=2", "--metal-tolerance=1000%", "--metal-on-missing=warn", "--color=no")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or the end of a job, with the pairs that were measured by then."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """What one comparison says.

    Attributes:
        pairs: samples of BAD and of the commit.
        workload: what was trained.
        nodeid: of the test.
        why: there are no pairs, in a clause; empty where there are.
        seconds: that it took.
    """

    pairs: tuple[Pair, ...] = ()
    workload: str = ""
    nodeid: str = ""
    why: str = ""
    seconds: float = 0.0


class Probe:
    """Compares commits with BAD, one after the other.

    Args:
        asked: the question.
        tree: the checkout of BAD.
    """

    def __init__(self, asked: Question, tree: Path) -> None:
        self._asked, self._tree = asked, tree
        self._folder = tree.parent / "sessions"  # the checkout's own folder is locked as long as it is used
        self._folder.mkdir()
        self._count = 0

    def compare(self, commit: str, workload: str = "") -> Answer:
        """Train BAD and a commit in turn.

        Args:
            commit: as hexadecimal digits.
            workload: the id of what to look at; empty for what is slower most.

        Raises:
            Interrupted: by Ctrl-C or SIGTERM, when the session has ended.
        """
        self._count += 1
        since = RealTime.monotonic()
        file = self._folder / f"session-{self._count}.json"
        wanted = self._folder / f"wanted-{self._count}.json"
        wanted.write_text(json.dumps({"top": str(self._tree), "modules": sorted(modules(self._asked.top))}))
        interrupted = self._session(commit, file, wanted)
        pairs, name, nodeid, why = _read(file, workload)
        if not pairs:
            why = (
                _failure(wanted.with_suffix(".failure")) or why or _usage(self._folder / "log") or "pytest ended early"
            )
        checkout = rf"/\S*{PREFIX}\w+/{re.escape(self._tree.name)}"
        why = re.sub(checkout, lambda _: str(self._asked.top), why).replace(commit, commit[:SHORT])
        why = "" if pairs else printable(why)[:LONGEST]
        answer = Answer(pairs, name, nodeid, why, RealTime.monotonic() - since)
        if interrupted:
            raise Interrupted(answer)
        return answer

    def _session(self, commit: str, file: Path, wanted: Path) -> bool:
        """Run it; whether it was interrupted."""
        top, tree = self._asked.top, self._tree
        words = [argument(word, top, tree) for word in self._asked.arguments]
        command = [sys.executable, "-m", "pytest", *words, "-p", inside.__name__, *CONTENT]
        with (self._folder / "log").open("wb") as log, _terminated_as_interrupted():
            process = subprocess.Popen(
                [*command, f"--metal-against={commit}", f"--metal-json={file}"],
                cwd=tree / self._asked.folder,
                env={**environment(top, tree), inside.VARIABLE: str(wanted)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it once, from us
            )
            try:
                process.wait()
            except KeyboardInterrupt:
                _end(process)
                return True
            except BaseException:
                process.kill()
                raise
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it write what it has measured; a second Ctrl-C ends it at once."""
    try:
        process.terminate()  # which the plugin takes as Ctrl-C, also where a shell has SIGINT ignored
        process.wait(END_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A cancelled job ends by SIGTERM, a closed terminal by SIGHUP: either is Ctrl-C meanwhile."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {one: signal.getsignal(one) for one in numbers}

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    changed = [one for one, handler in before.items() if handler == signal.SIG_DFL]  # under nohup one is ignored
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for one in changed:
                signal.signal(one, end)
        yield
    finally:
        with contextlib.suppress(ValueError):
            for one in changed:
                signal.signal(one, signal.SIG_DFL)


def _read(file: Path, workload: str) -> tuple[tuple[Pair, ...], str, str, str]:
    """The pairs in a session's file, their workload and test, and why there are none."""
    if not file.exists():
        return (), "", "", ""
    try:
        found = document.read(file)
    except document.DocumentError as error:
        return (), "", "", str(error)
    rows = [row for row in found.results if isinstance(row, document.Measurement)]
    mine = [row for row in rows if row.workload.id == workload or not workload]
    broken = next((row for row in mine if row.error), None)
    if broken is not None:
        return (), broken.workload.id, broken.nodeid, broken.error.splitlines()[0]
    known = [row for row in mine if row.reference is not None and row.reference.runs]
    if known:
        row = max(known, key=lambda one: one.judgement.change if one.judgement is not None else 0.0)
        assert row.reference is not None
        return tuple(_pairs(row.runs, row.reference.runs)), row.workload.id, row.nodeid, ""
    for one in found.other_runs:  # of a session that was interrupted
        if one.reference and workload in ("", one.id):
            return tuple(_pairs(one.runs, one.reference)), one.id, "", ""
    if rows and workload:
        return (), "", "", f"the test does not train {workload} there"
    return (), "", "", next((one.reason for one in found.not_measured), "")


def _pairs(bad: Iterable[document.Run], others: Iterable[document.Run]) -> Iterator[Pair]:
    for one, other in zip(bad, others, strict=False):
        yield one.samples, other.samples


def _failure(file: Path) -> str:
    """The first line of what the test failed with; of a traceback the last one, where the exception stands."""
    if not file.exists():
        return ""
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or [line.strip() for line in lines] or [""])[0]


def _usage(log: Path) -> str:
    """The sentence that pytest refused to start with, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (said or lines[-1:] or [""])[0]
