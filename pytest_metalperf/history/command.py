"""`python -m pytest_metalperf history FILE [a.json …]`: since when a workload is slower, by sessions of the past."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ..baselines.errors import printable
from ..report import document, words
from .change_points import NoRuptures
from .rows import rows_of
from .store import HistoryError, Store
from .trend import Change, History, history
from .words import change as described

UNREADABLE = 2

EPILOG = """\
Each workload has a history of its own on each machine. A point is what one hour measured of one commit; points stand in the
order in which they were measured. A change is told where it lasts and noise, that of hours included, would seldom look like
it: with the commits between which it lies at 95 %, its size with a 95 % interval, and what else is not the same there. What
stands under `differs` is no proof: an hour, a machine and a driver change too.

exit codes: 0 listed; 2 a file that cannot be read or written, or no workload of that name
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_metalperf history",
        description="where workloads became slower or faster, from a file of --metal-history",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a file of --metal-history")
    parser.add_argument(
        "sessions",
        nargs="*",
        type=Path,
        metavar="SESSION.json",
        help="files of --metal-json, which are added to it first",
    )
    parser.add_argument("--workload", metavar="PATTERN", help="only these, such as 'resnet*@gpu:*'")
    parser.add_argument("--json", action="store_true", help="print points and changes as JSON")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Add, read and print; 0 where that was possible, 2 where not."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.sessions:
            for line in added(asked.file, asked.sessions):
                print(printable(line), file=sys.stderr if asked.json else sys.stdout)
        with Store(asked.file) as store:
            wanted = [one for one in store.workloads() if _is_wanted(one[1], asked.workload)]
            if asked.workload and not wanted:
                return _refused(f"{asked.file} has no workload {asked.workload}")
            found = [history(store, *one) for one in wanted]
    except (HistoryError, NoRuptures, document.DocumentError) as error:
        return _refused(str(error))
    if asked.json:
        print(msgspec.json.encode([dataclasses.asdict(one) for one in found]).decode())
    else:
        for line in lines(found):
            print(printable(line))  # a file may hold anything that a terminal would obey
    return 0


def _is_wanted(workload: str, pattern: str | None) -> bool:
    """Brackets are part of an id: they stand for themselves."""
    return pattern is None or fnmatch.fnmatchcase(workload, pattern.replace("[", "[[]"))


def _refused(why: str) -> int:
    print(f"history: {printable(why)}", file=sys.stderr)
    return UNREADABLE


def added(path: Path, files: Sequence[Path]) -> Iterator[str]:
    """Add sessions to a store, and what was new, a line a file; all files are read before the first is stored.

    Raises:
        DocumentError: for a file that is none of --metal-json.
        HistoryError: for a store that cannot be written.
    """
    sessions = [rows_of(document.read(file)) for file in files]
    with Store(path, write=True) as store:
        for file, (session, runs) in zip(files, sessions, strict=True):
            new = store.add(session, runs)
            yield f"{file}: {words.plural(new, 'new run') if new else 'nothing new'} of session {session.id}"


def lines(found: Sequence[History]) -> Iterator[str]:
    """What is printed: a paragraph for each workload, those that changed last first, and a line that counts."""
    for one in sorted(found, key=_changed_last, reverse=True):
        yield from _paragraph(one)
    changed = sum(bool(one.changes) for one in found)
    yield f"{words.plural(len(found), 'workload')}, {changed} with changes"


def _changed_last(one: History) -> str:
    return one.points[one.changes[-1].likely].started if one.changes else ""


def _paragraph(one: History) -> Iterator[str]:
    yield f"{one.workload} on {one.machine}"
    if one.points:
        first, last = one.points[0], one.points[-1]
        yield (
            f"  {first.started[:10]} to {last.started[:10]}: {words.plural(one.sessions, 'session')},"
            f" {words.plural(one.runs, 'run')}; {words.seconds(first.seconds, last.seconds)} s/batch at {first.revision},"
            f" {words.seconds(last.seconds, first.seconds)} at {last.revision}"
        )
    for change in one.changes:
        yield from _change(one, change)
    yield from (f"  left out: {words.plural(count, 'run')} {why}" for why, count in one.left_out.items())


def _change(one: History, change: Change) -> Iterator[str]:
    likely, is_sharp = one.points[change.likely], change.likely == change.after and change.after - change.before == 1
    at = "" if is_sharp else f", most likely at {likely.revision}"
    yield f"  {described(one, change)}{at}"
    yield f"    differs: {'; '.join(change.differs) or 'nothing that is known: the same commit on both sides'}"
