"""What a session found, as Markdown for people who look at a job's page: the worst first, and as much as there is room for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..results.measurement import Measurement, Speedup
from ..results.metrics import WORDS
from ..session import MetalSession
from . import words
from .rows import Row, accepting, measured_with, other_side, rows, why

ORDER = ("slower", "error", "failed", "machine", "inconclusive", "no baseline", "faster", "within", "recorded", "smoke")
"""What is read first: what may have to be mended, then what nobody knows."""
LONGEST = 1000
"""Characters that are shown of a name or a reason."""
_NAMES = 5
_FINE = ("faster", "within", "recorded", "smoke", "-", "less")


@dataclass(frozen=True)
class Failed:
    """A test of ours that failed.

    Attributes:
        nodeid: pytest's name of it.
        word: `error` where a measurement broke, else `failed`.
        text: what it said.
        file: where it stands, as the job's page names files.
        line: of that file, from 1; None is unknown.
    """

    nodeid: str
    word: str
    text: str
    file: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Page:
    """Markdown in its parts, each of which has its worst first.

    Attributes:
        title: the verdicts, counted.
        head: of the table.
        rows: lines of the table.
        unjudged: a line for each reason why something was not judged.
        repeats: a block for each command that repeats a row, with the one that accepts it.
        measured: on which machine, with which packages; empty where nothing was.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[str]
    unjudged: Sequence[str]
    repeats: Sequence[str]
    measured: str = ""

    def text(self, most: int | None = None) -> str:
        """The page, with so many entries of each part at most; None for all."""
        blocks = [self.title]
        if self.rows:
            blocks.append("\n".join([*self.head, *self.rows[:most]]))
            blocks.append("Seconds are per batch. A slowdown of `visible` is seen 9 times in 10.")
        blocks += _left_out(self.rows, most, "row")
        if self.unjudged:
            blocks += ["**Not judged**", "\n".join(self.unjudged[:most])]
        blocks += _left_out(self.unjudged, most, "reason")
        if self.repeats:
            blocks += ["**Repeat and accept**", *self.repeats[:most]]
        blocks += _left_out(self.repeats, most, "command")
        return "\n\n".join([*(block for block in blocks if block), *([self.measured] if self.measured else [])]) + "\n"


def fitting(page: Page, room: int) -> str:
    """As much of a page as `room` bytes hold, the worst of each part; empty where not even its title fits."""
    entries = max(len(page.rows), len(page.unjudged), len(page.repeats))
    if _bytes(whole := page.text()) <= room:
        return whole
    low, high = -1, entries  # of `low` entries it is known that they fit, of `high` that they do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _bytes(page.text(middle)) <= room else (low, middle)
    return page.text(low) if low >= 0 else ""


def page(
    session: MetalSession, failed: Sequence[Failed], commands: Mapping[str, str], not_run: Sequence[str] = ()
) -> Page:
    """The page of a session.

    Args:
        session: that was measured.
        failed: its tests that failed, whatever failed them.
        commands: that run each test alone, by its node id.
        not_run: node ids of tests that the session did not get to.
    """
    shown = worst_first(rows(session.results))
    besides = _without_a_row(failed, session)
    columns = ("verdict", "workload", "now", other_side(session.results), "change (95 % interval)", "visible")
    return Page(
        f"### Training performance: {_counts(session, besides)}",
        [_line(columns), _line(["---", "---", *["---:"] * 4])],
        [_line(_cells(one)) for one in shown],
        _unjudged(session, shown, besides, not_run),
        _repeats(shown, besides, commands),
        _measured(session),
    )


def worst_first(shown: Iterable[Row]) -> list[Row]:
    """By verdict, then by the change for the worse over what is visible, then as they were."""

    def key(one: Row) -> tuple[int, float]:
        word = "slower" if one.worse and one.verdict != "error" else one.verdict
        weight = one.figures.weight
        return ORDER.index(word) if word in ORDER else len(ORDER), -weight if math.isfinite(weight) else math.inf

    return sorted(shown, key=key)


def bad(one: Row) -> bool:
    """Whether a row is why somebody has to act: it is worse, or its test failed for it, as where it wants an answer."""
    other_work = isinstance(one.result, Measurement) and one.result.strict_work and one.result.fingerprint_changes
    return one.worse or (one.result.failed and (one.verdict not in _FINE or bool(other_work)))


def code(text: str) -> str:
    """`text` as a code span, where nothing is markup: no HTML, no link, no mention, no second column."""
    shown = one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.strip() and {shown[0], shown[-1]} & {"`", " "} else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown else ""


def one_line(text: str) -> str:
    """`text` without what would end a line or change how others are read, and no longer than somebody reads."""
    shown = "".join(
        one
        if one.isprintable() or one == "\N{ZERO WIDTH JOINER}"
        else " "
        if one.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for one in text[: LONGEST + 1]
    )
    return f"{shown[:LONGEST]}…" if len(shown) > LONGEST else shown


def _line(cells: Iterable[str]) -> str:
    """A row of a table, unpadded: a name of 300 characters would make every row as long."""
    return f"| {' | '.join(cells)} |"


def _cells(one: Row) -> list[str]:
    name = code(one.id).replace("|", "\\|")  # the one character that ends a cell inside a code span too
    verdict = f"**{one.verdict}**" if one.worse else one.verdict
    return [verdict, name, _now(one), one.baseline, _change(one), one.visible]


def _now(one: Row) -> str:
    """A speedup's interval is of the ratio itself, which a promise is held against."""
    result = one.result
    if isinstance(result, Speedup) and result.ratio is not None:
        return f"{one.now} ({result.low:.3g} to {result.high:.3g})"
    return one.now


def _change(one: Row) -> str:
    """`+14.2 % (+10.1 % to +18.5 %)`, and what has added up since the anchor."""
    figures = one.figures
    if one.change == "-" or not math.isfinite(figures.change):
        return "-"
    found = words.percent(figures.change, sign=True)
    if math.isfinite(figures.low) and math.isfinite(figures.high):
        found = words.changed(figures.change, figures.low, figures.high)
    return f"{found}, since the anchor {one.total}" if one.total else found


def _counts(session: MetalSession, besides: Sequence[Failed]) -> str:
    """`1 slower, 1 failed, 4 within; 1 metric gated: 1 more`."""
    found = ["error" if result.error else result.verdict or "smoke" for result in session.results]
    parts = [words.counts([*found, *(one.word for one in besides)], ORDER) or "nothing was judged"]
    beside = [one.verdict for r in session.results if isinstance(r, Measurement) and not r.error for one in r.metrics]
    if beside := [verdict for verdict in beside if verdict != "recorded"]:
        parts.append(f"{words.plural(len(beside), 'metric')} gated: {words.counts(beside, WORDS)}")
    return "; ".join(parts)


def _without_a_row(failed: Sequence[Failed], session: MetalSession) -> list[Failed]:
    """Tests that failed, and no result says why: they broke before they measured, or by what the test itself asserts."""
    explained = {result.nodeid for result in session.results if result.failed}
    return sorted((one for one in failed if one.nodeid not in explained), key=lambda one: ORDER.index(one.word))


def _unjudged(
    session: MetalSession, shown: Sequence[Row], besides: Sequence[Failed], not_run: Sequence[str]
) -> list[str]:
    found = [("error", one.id, why(one)) for one in shown if one.verdict == "error"]
    found += [(one.word, one.nodeid, one.text.strip().partition("\n")[0]) for one in besides]
    found += [("inconclusive", one.id, why(one)) for one in shown if one.verdict == "inconclusive"]
    found += [
        (one.verdict, one.id, f"nothing of this machine in {session.store.path.name}; to record it add {words.MISSING}")
        for one in shown
        if one.verdict == "no baseline"
    ]
    found += [("not confirmed", nodeid, reason) for nodeid, reason in session.suspects.waiting.items()]
    failing = {one.nodeid for one in besides}
    found += [("refused", nodeid, reason) for nodeid, reason in session.refused if nodeid not in failing]
    found += [("skipped", nodeid, reason) for nodeid, reason in session.skipped]
    found += [("not run", nodeid, "the session ended before") for nodeid in not_run]
    names: dict[tuple[str, str], list[str]] = {}
    for word, name, reason in found:
        names.setdefault((word, reason), []).append(name)
    return [f"- {word} {_listed(whose)}: {code(reason)}" for (word, reason), whose in names.items()]


def _listed(names: Sequence[str]) -> str:
    return words.listed([code(name) for name in dict.fromkeys(names)], _NAMES)


def _repeats(shown: Sequence[Row], besides: Sequence[Failed], commands: Mapping[str, str]) -> list[str]:
    wanted = [(one.verdict, one.id, one.result.nodeid, accepting(one)) for one in shown if bad(one)]
    wanted += [(one.word, one.nodeid, one.nodeid, "") for one in besides]
    blocks: dict[tuple[str, str], str] = {}
    for word, name, nodeid, options in wanted:
        command = commands.get(nodeid)
        if command is not None:
            lines = [f"repeat it with  {command}", *([f"accept it with  {command} {options}"] if options else [])]
            blocks.setdefault((nodeid, options), f"{word}: {code(name)}\n\n{_fenced(lines)}")
    return list(blocks.values())


def _fenced(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _measured(session: MetalSession) -> str:
    used = measured_with(session.results)
    return f"Measured on {code(session.facts.id)} with {code(used)}." if used else ""


def _left_out(entries: Sequence[str], most: int | None, noun: str) -> list[str]:
    left = 0 if most is None else max(0, len(entries) - most)
    return [f"{words.plural(left, noun)} left out: there is no room for more."] if left else []


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))
