"""What a row of the page is, what its pictures are, and the texts that rows of all kinds share."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...baselines.schema import Entry, SpeedupEntry
from .. import document, words
from ..markdown import ORDER, one_line
from . import charts

UNJUDGED = ("put off", "refused", "skipped")
"""What stands after all verdicts: tests that have no result."""
WORDS = (*ORDER, *UNJUDGED)


@dataclass(frozen=True)
class Chart:
    """A picture that is drawn when its row opens.

    Attributes:
        kind: the name of its specification.
        title: what it shows, in a line above it.
        said: how to read it.
        at: where in the page's sessions each of its data lies, by name: `/0/results/3/runs`.
        data: data of its own, by name, where a session has none of that form.
    """

    kind: str
    title: str
    said: str = ""
    at: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the page's table.

    Attributes:
        key: of its link, the same in the page of every session: of a test, a workload and a machine.
        verdict: the word of the gate, `error`, `smoke`, or how a test has no result.
        worse: whether it is slower, worse by its metric, or broke.
        name: of the workload, its whole id.
        label: the same for eyes: without its device.
        device: with the backend where that is not TensorFlow.
        session: what tells its session from the page's others; empty where there is one.
        now: today's figure with its unit; `-` is unknown, here and below.
        baseline: that of the other side.
        change: the change with its 95 % interval.
        visible: the smallest change for the worse that is seen 9 times in 10.
        reason: why there is no clear verdict, in a line; empty where there is one.
        figures: `change`, `low`, `high`, `tolerance` and `visible` as shares where they are known: what the opening picture
            draws. Those of a speedup have their sign turned, so that the worse is always to the right.
        facts: terms with what there is to say of each.
        charts: its pictures.
        commands: what each command line does, and that line.
        weight: the change for the worse over what is visible; nan is unknown.
        share: of the device's peak, 0.61 for 61 %; None is unknown.
    """

    key: str
    verdict: str
    name: str
    label: str
    device: str
    session: str
    worse: bool = False
    now: str = "-"
    baseline: str = "-"
    change: str = "-"
    visible: str = "-"
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    charts: Sequence[Chart] = ()
    commands: Sequence[tuple[str, str]] = ()
    weight: float = math.nan
    share: float | None = None

    @property
    def of_peak(self) -> str:
        """The share as a person reads it."""
        return words.of_peak(self.share) or "-"

    @property
    def rank(self) -> int:
        """Its place among verdicts, what somebody has to act on first."""
        word = "slower" if self.worse and self.verdict != "error" else self.verdict
        return WORDS.index(word) if word in WORDS else len(WORDS)

    @property
    def tone(self) -> str:
        """How it is coloured: the verdict's own word, `worse` for whatever somebody has to act on, or `other`."""
        return "worse" if self.worse else self.verdict if self.verdict in charts.TONES else "other"


def age_of(entry: Entry | SpeedupEntry, today: datetime.date) -> int | None:
    """Days since a baseline was last recorded; None where a person has edited the date."""
    try:
        last = max(datetime.date.fromisoformat(run.recorded[:10]) for run in entry.runs)
    except ValueError:
        return None
    return max(0, (today - last).days)


def key_of(*parts: str) -> str:
    """A link that is the same in the page of every session."""
    return "row-" + hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:10]


def with_interval(change: float | None, low: float | None = None, high: float | None = None) -> str:
    """`+8.3 % (+6.1 % to +10.4 %)`, as far as it is known."""
    if change is None:
        return "-"
    return words.percent(change, sign=True) if low is None or high is None else words.changed(change, low, high)


def change_of(judgement: document.Judgement) -> str:
    """The change of a judgement with its 95 % interval."""
    return with_interval(judgement.change, judgement.change_low, judgement.change_high)


def figures_of(tolerance: float, judgement: document.Judgement | None) -> dict[str, float]:
    """What the opening picture draws of a judgement."""
    if judgement is None:
        return {}
    return known(
        change=judgement.change,
        low=judgement.change_low,
        high=judgement.change_high,
        tolerance=tolerance,
        visible=judgement.visible,
    )


def known(**figures: float | None) -> dict[str, float]:
    """Those that are known, and finite."""
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def weight_of(figures: Mapping[str, float]) -> float:
    """The change for the worse over what is visible; nan is unknown."""
    visible = figures.get("visible", 0.0)
    return figures["change"] / visible if "change" in figures and visible > 0 else math.nan


def whole_text(text: str) -> str:
    """A text of several lines without what could change how others are read."""
    return "\n".join(one_line(line) for line in text.splitlines()[:50])


def commands_of(commands: document.Commands) -> list[tuple[str, str]]:
    """What each command line does, and that line."""
    lines = (
        ("repeat it", commands.repeat),
        ("accept it", commands.accept),
        ("compare it with the code of its baseline", commands.compare),
    )
    return [(what, one_line(line)) for what, line in lines if line]


def counters_of(runs: Iterable[document.Run]) -> tuple[str, ...]:
    """What the traces know."""
    known = {place for run in runs for row in run.trace for place, value in enumerate(row) if value is not None}
    return tuple(name for place, name in enumerate(charts.COUNTERS, 1) if place in known)
