"""`python -m pytest_metalperf compare before.json after.json`: the gate on two sessions that have ended."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..baselines.errors import printable
from ..report import document, speedups, words
from ..report import metrics as gated
from ..report.terminal import table
from ..results.measurement import Measurement
from ..settings import SettingError, share
from .judged import Comparison, compared
from .sessions import entries_of

SLOWER, UNREADABLE = 1, 2

EPILOG = """\
Runs of the same workload are judged as fresh runs against a stored baseline: by the gate's own rule, with the tolerance that
the later session asked for. Several earlier sessions together tell what sessions differ by. --metal-total-tolerance is no
matter of two sessions.

exit codes: 0 nothing is slower; 1 something is slower, or takes more of a gated metric; with --strict also where something has
no clear verdict, is missing on one side, or broke; 2 files that cannot be read or have nothing in common
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_metalperf compare",
        description="whether a session is slower than an earlier one, from their files of --metal-json",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", nargs="+", type=Path, metavar="BEFORE", help="files of earlier sessions")
    parser.add_argument("after", type=Path, metavar="AFTER", help="the file of the session that is judged")
    parser.add_argument("--strict", action="store_true", help="what has no clear verdict fails too")
    parser.add_argument(
        "--tolerance", type=_share, metavar="SHARE", help="slowdown that is accepted, in place of what was asked for"
    )
    parser.add_argument(
        "--across-machines",
        action="store_true",
        help="judge sessions of different machines; a change is then the machine's as well as the code's",
    )
    return parser


def _share(text: str) -> float:
    try:
        return share(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: Sequence[str]) -> int:
    """Read, judge and print; 0 where nothing is slower, 1 where something is, 2 where that cannot be asked."""
    asked = _parser().parse_args(arguments)
    try:
        *before, after = (document.read(path) for path in (*asked.before, asked.after))
    except document.DocumentError as error:
        return _refused(str(error))
    machines = list(dict.fromkeys(one.machine.id for one in (*before, after)))
    if len(machines) > 1 and not asked.across_machines:
        return _refused(
            f"the sessions are of different machines ({words.listed(machines)}), whose times say nothing of the code:"
            " add --across-machines to compare the machines"
        )
    found = compared(entries_of(before), after, asked.tolerance)
    for line in lines(found, before, after):
        print(printable(line))  # a file may hold anything that a terminal would obey
    if not found.results:
        return _refused("the sessions have no workload in common that both measured")
    return SLOWER if found.is_slower or (asked.strict and (found.is_open or not _ended(after))) else 0


def _refused(why: str) -> int:
    print(f"compare: {why}", file=sys.stderr)
    return UNREADABLE


def _ended(found: document.Document) -> bool:
    return found.session.state == "finished"


def lines(found: Comparison, before: Sequence[document.Document], after: document.Document) -> Iterator[str]:
    """What is printed: the failures, the table of the terminal, and what has no verdict."""
    for result in found.results:
        if isinstance(result, Measurement):
            yield from _worse(result)
    if found.results:
        yield from (line for line, _ in table(found.results))
    for result in found.results:
        if result.verdict == "inconclusive":
            judgement = result.judgement
            why = speedups.reason(result) if not isinstance(result, Measurement) else judgement and judgement.reason
            key = result.workload.id if isinstance(result, Measurement) else result.id
            yield f"inconclusive: {key}: {why or 'noise'}"
        if isinstance(result, Measurement):
            yield from (f"inconclusive: {gated.reason(one)}" for one in result.metrics if one.verdict == "inconclusive")
            if result.verdict != "slower" and result.fingerprint_changes:
                yield f"{result.workload.id}: other work: {'; '.join(result.fingerprint_changes)}"
    yield from (f"not compared: {key}: {why}" for key, why in found.not_judged.items())
    if found.gone:
        yield f"only before: {words.listed(found.gone)}"
    if found.new:
        yield f"only after: {words.listed(found.new)}"
    reasons = [f"{one.how} after: {one.reason}" for one in after.not_measured]
    yield from (f"{why} ({words.plural(reasons.count(why), 'test')})" for why in dict.fromkeys(reasons))
    for name, sessions in (("earlier", before), ("later", [after])):
        ends = {"running": "was killed, or still runs", "interrupted": "ended before all its tests had run"}
        yield from (f"the {name} session {ends[one.session.state]}" for one in sessions if not _ended(one))
    machines = list(dict.fromkeys(one.machine.id for one in (*before, after)))
    if len(machines) > 1:
        yield f"different machines: {words.listed(machines)}; a change is theirs as well as the code's"
    verdicts = [result.verdict for result in found.results]
    order = ("faster", "within", "slower", "inconclusive")
    yield f"{len(verdicts)} compared: {words.counts(verdicts, order)}" if verdicts else "0 compared"


def _worse(result: Measurement) -> Iterator[str]:
    """What a test would have failed with, less the commands of a session that has ended."""
    if result.verdict == "slower":
        yield f"{words.title(result)} is {words.factor(result.change or 0.0)} than before"
        yield from words.comparison(result)
    for one in result.metrics:
        if one.worse:
            yield f"{words.title(result)} {one.metric.worse.format(words.percent(abs(one.change)))} than before"
            yield from gated.comparison(result, one)
