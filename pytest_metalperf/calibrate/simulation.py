"""From the figures of A/A sessions to rates: verdicts on these very runs, simulated ones with their noise, and choices.

Verdicts are the gate's, on figures alone: conditions, for which a session may say `inconclusive` instead, are left out.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

from ..gate import Noise, Rule, RunFigure, judge
from ..measure.forecast import Took
from ..report import words

TRIALS = {
    1.0: 2000,
    1.05: 500,
    1.10: 500,
    1.20: 500,
}  # by slowdown; alarms are rare: it takes more trials to count them
CHOICE_TRIALS = 300
STORES = 100  # simulated stores, of which the median visible slowdown is taken
SESSIONS, RUNS, MAX_RUNS = (1, 3, 5, 10), (5, 10, 20), (5, 8, 12)  # what a person may choose from
WORTH = 0.9  # a dearer choice is shown where it sees slowdowns a tenth smaller

Sessions = Sequence[Sequence[float]]
"""Seconds per batch of every run, one inner sequence per session."""


@dataclass(frozen=True)
class Measured:
    """One workload's figures, and what one run takes."""

    label: str
    sessions: Sessions
    took: Took


@dataclass(frozen=True)
class Rates:
    """How often each verdict was given, and how many verdicts took how many runs."""

    verdicts: Counter[str] = field(default_factory=Counter)
    spent: Counter[int] = field(default_factory=Counter)

    def add(self, verdict: str, runs: int) -> None:
        """Count one verdict."""
        self.verdicts[verdict] += 1
        self.spent[runs] += 1

    def of(self, verdict: str) -> str:
        """`3 of 15`."""
        return f"{self.verdicts[verdict]} of {self.verdicts.total()}"

    def share(self, verdict: str) -> str:
        """`0.2 %`; of what never happened the bound at 95 % confidence, three divided by the trials."""
        share = self.verdicts[verdict] / self.verdicts.total()
        small = f"{100 * share:.2g} %" if share else f"< {300 / self.verdicts.total():.2g} %"
        return words.percent(share) if share >= 0.01 else small

    def mean(self, of: Callable[[int], float]) -> float:
        """The mean of a function of the runs that a verdict took."""
        return sum(of(runs) * count for runs, count in self.spent.items()) / self.spent.total()


def looks(most: int, step: int) -> list[int]:
    """Fresh runs at each look, as `judging` takes them: one, then `step` more each time, up to `most`."""
    return [1, *range(1 + step, most, step), *([most] if most > 1 else [])]


def sequential(
    now: Sequence[RunFigure], stored: Sequence[RunFigure], peers: Sequence[Sequence[RunFigure]], rule: Rule, step: int
) -> tuple[str, int]:
    """The gate's last word on `now` and the runs that it took; `open` where it would have asked for more than there are."""
    for runs in looks(rule.max_runs, step):
        if runs > len(now):
            break
        judgement = judge(now[:runs], stored, peers, rule)
        if judgement.decided:
            return judgement.verdict, runs
    return "open", len(now)


def stored(sessions: Sessions, without: int | None = None) -> list[RunFigure]:
    """The runs of all sessions but one."""
    return [RunFigure(run, f"stored {day}") for day, runs in enumerate(sessions) if day != without for run in runs]


def replay(own: Sessions, peers: Sequence[Sessions], ratio: float, rule: Rule, step: int) -> Rates:
    """Verdicts on recorded runs: each session in turn, `ratio` times as slow, against the others of all workloads.

    A session of n runs gives n verdicts, one for each run that can come first. One session alone gives none.
    """
    rates = Rates()
    for day, today in enumerate(own if len(own) > 1 else ()):
        mine, *theirs = (stored(sessions, without=day) for sessions in (own, *peers))
        for first in range(len(today)):
            now = [RunFigure(ratio * seconds, "today") for seconds in (*today[first:], *today[:first])]
            rates.add(*sequential(now, mine, theirs, rule, step))
    return rates


@dataclass(frozen=True)
class World:
    """A machine with this noise (the judged workload's first, then its peers'), and how much of each is stored."""

    noises: Sequence[Noise]
    sessions: int
    runs: int

    @property
    def stored(self) -> str:
        """`3 sessions of 5 runs`."""
        return days(self.sessions, self.runs)

    def store(self, random: Random) -> list[list[RunFigure]]:
        """Stored runs of every workload, all at one second per batch."""
        days = [f"stored {day}" for day in range(self.sessions)]
        return [[run for day in days for run in _session(random, n, 1.0, self.runs, day)] for n in self.noises]

    def simulate(self, ratio: float, rule: Rule, step: int, trials: int) -> Rates:
        """Whole verdicts on the first workload, `ratio` times as slow, each with a store of its own. The seed is fixed."""
        rates = Rates()
        for trial in range(trials):
            random = Random(f"{ratio} {trial}")
            mine, *theirs = self.store(random)
            now = _session(random, self.noises[0], ratio, rule.max_runs, "today")
            rates.add(*sequential(now, mine, theirs, rule, step))
        return rates

    def visible(self, rule: Rule) -> float:
        """The smallest slowdown that the gate calls visible (0.1 is 10 %): the median over simulated stores."""
        stores = (self.store(Random(trial)) for trial in range(STORES))
        return statistics.median(judge(mine[:1], mine, theirs, rule).smallest_visible for mine, *theirs in stores)


def _session(random: Random, noise: Noise, level: float, runs: int, name: str) -> list[RunFigure]:
    level *= math.exp(noise.session_sd * random.gauss(0.0, 1.0))
    return [RunFigure(level * math.exp(noise.run_sd * random.gauss(0.0, 1.0)), name) for _ in range(runs)]


@dataclass(frozen=True)
class Choice:
    """What may be stored and spent, the slowdown that is visible then, and seconds to record and to judge at most."""

    world: World
    rule: Rule
    visible: float
    record: float
    longest: float

    @property
    def options(self) -> str:
        """As on pytest's command line."""
        return f"--metal-runs {self.world.runs} --metal-max-runs {self.rule.max_runs}"


def choices(world: World, rule: Rule, took: Took, step: int) -> list[Choice]:
    """All that a person may choose from, cheapest first: recording and one verdict at its longest."""
    found = []
    for there in (replace(world, sessions=sessions, runs=runs) for sessions in SESSIONS for runs in RUNS):
        record = there.sessions * took.recorded(there.runs)
        for asked in (replace(rule, max_runs=runs) for runs in MAX_RUNS):
            longest = verdict_seconds(took, asked.max_runs, step)
            found.append(Choice(there, asked, there.visible(asked), record, longest))
    return sorted(found, key=lambda one: one.record + one.longest)


def verdict_seconds(took: Took, runs: int, step: int) -> float:
    """Seconds of a verdict that takes so many runs."""
    return took.recorded(1) + sum(took.recorded(after - before) for before, after in pairwise(looks(runs, step)))


def worthwhile(cheapest_first: Sequence[Choice], wanted: float) -> list[Choice]:
    """Up to the first that sees `wanted`, without those that hardly see more than a cheaper one; else all of them."""
    kept: list[Choice] = []
    for one in cheapest_first:
        if not kept or one.visible <= max(wanted, WORTH * kept[-1].visible):
            kept.append(one)
        if one.visible <= wanted:
            break
    return kept


def days(sessions: int, runs: int) -> str:
    """`3 sessions of 5 runs`."""
    return f"{words.plural(sessions, 'session')} of {words.plural(runs, 'run')}"
