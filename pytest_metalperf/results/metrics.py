"""The metrics that can be gated beside seconds per batch: what each is, where it stands, which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # options name metrics, so this module loads with the plugin
    from ..baselines.schema import Entry, StoredRun
    from ..gate import Judgement
    from .run import Run

PREPARED_BESIDE = "prepared_beside"
"""The condition that says how many workers were prepared beside a run's: its first batch shared the machine with theirs."""


@dataclass(frozen=True)
class Metric:
    """One figure of a run.

    Attributes:
        name: in options, tables and properties.
        unit: of its figures.
        worse: that it got worse, in words, with a place for the percentage.
        run: its figure of a fresh run; None is unknown.
        stored: its figure of a stored run, with the entry that holds what all its runs share; None is unknown.
        depends_on_conditions: whether heat, load and battery change it.
        prior: the share of the noise of times that its figures are taken to have before they tell their own.
    """

    name: str
    unit: str
    worse: str
    run: Callable[[Run], float | None]
    stored: Callable[[StoredRun, Entry], float | None]
    depends_on_conditions: bool = True
    prior: float = 1.0

    def of_run(self, run: Run) -> float | None:
        """What a fresh run cost by this metric; None is unknown."""
        return _known(self.run(run))

    def of_stored(self, run: StoredRun, entry: Entry) -> float | None:
        """Likewise of a stored run."""
        return _known(self.stored(run, entry))


def _known(figure: float | None) -> float | None:
    if figure is None or not math.isfinite(figure) or figure <= 0:  # nothing costs nothing: it was not measured
        return None
    return float(figure)


SECONDS = Metric(
    "time", "s", "is {} slower", lambda run: run.estimate.seconds, lambda stored, entry: stored.seconds_per_batch
)
"""Seconds per batch, which are always gated."""

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "first_batch",
            "s",
            "takes {} longer for its first batch",
            # alone only: beside others it takes longer. Pairs under --metal-against do so on both sides, and say nothing
            lambda run: run.first_batch_seconds if run.conditions.get(PREPARED_BESIDE, 0) == 0 else None,
            lambda stored, entry: stored.first_batch_seconds if stored.conditions.get(PREPARED_BESIDE) == 0 else None,
        ),
        Metric(
            "memory",
            "B",
            "takes {} more memory",
            lambda run: run.peak_memory_bytes,
            lambda stored, entry: stored.peak_memory_bytes,
            depends_on_conditions=False,
            prior=0.2,  # an allocator's peak is the same in every run, a process's differs by a percent or two
        ),
        Metric(
            "energy",
            "J/batch",
            "takes {} more energy",
            lambda run: run.joules_per_batch,
            lambda stored, entry: stored.joules_per_batch,
        ),
    )
}
"""By name, in the order in which messages list them."""

RATES = {"throughput": "examples_per_second", "flop_rate": "flop_per_second"}
"""Figures of the result that are another way to write its seconds: to gate them would be to gate those twice."""

WORDS = ("less", "within", "more", "inconclusive", "recorded")
"""What is said of a gated metric: `less` and `more` are changes beyond the tolerance."""


@dataclass(frozen=True)
class MetricResult:
    """What the gate says of one metric of a measurement. Figures are in the metric's unit, not in costs.

    Attributes:
        metric: which.
        tolerance: share by which it may get worse.
        verdict: `more`, `less`, `within`, `inconclusive`, or `recorded`.
        worse: whether it changed for the worse, beyond the tolerance.
        decided: whether further runs would tell nothing more.
        runs: fresh runs that it was judged by.
        judgement: the gate's figures, in costs; None where the metric is unknown on one side.
        reason: why it is inconclusive.
        new: whether it is known now, and was not when the baseline was recorded.
    """

    metric: Metric
    tolerance: float
    verdict: str
    worse: bool = False
    decided: bool = True
    runs: int = 0
    judgement: Judgement | None = None
    reason: str = ""
    new: bool = False

    @property
    def changed(self) -> bool:
        """Whether it changed at all, beyond the tolerance."""
        return self.verdict in ("less", "more")

    @property
    def now(self) -> float:
        """Of the fresh runs; nan is unknown."""
        return math.nan if self.judgement is None else self._figure(self.judgement.now_seconds)

    @property
    def baseline(self) -> float:
        """Of the other side; nan is unknown."""
        return math.nan if self.judgement is None else self._figure(self.judgement.baseline_seconds)

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % interval of `now`."""
        if self.judgement is None:
            return math.nan, math.nan
        low, high = sorted(self._figure(one) for one in (self.judgement.now_low, self.judgement.now_high))
        return low, high

    @property
    def change(self) -> float:
        """Now / baseline - 1; nan is unknown."""
        return math.nan if self.judgement is None else self.judgement.change

    @property
    def visible(self) -> float:
        """The smallest change for the worse that is seen 9 times in 10, as a share of the figure; nan is unknown."""
        return math.nan if self.judgement is None else abs(self.judgement.smallest_visible)

    def _figure(self, cost: float) -> float:
        """Without what the gate's logarithms leave in the last digits."""
        return float(f"{cost:.9g}")


def result_of(metric: Metric, tolerance: float, judgement: Judgement, runs: int) -> MetricResult:
    """The gate's judgement of costs, in the words of a metric."""
    return MetricResult(
        metric,
        tolerance,
        {"slower": "more", "faster": "less"}.get(judgement.verdict, judgement.verdict),
        worse=judgement.verdict == "slower",
        decided=judgement.decided,
        runs=runs,
        judgement=judgement,
        reason=judgement.reason.replace("a slowdown", "a change"),
    )
