"""One look at fresh runs by stored figures: the gate, less what conditions and the mean of all batches take back of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..baselines.file import Entries
from ..baselines.schema import Entry
from ..report import words
from ..results.conditions import under_conditions, under_known_conditions
from ..results.measurement import Measurement
from ..results.run import Run
from ..settings import Settings
from .evidence import beside_means, peers, rule_of, runs_for_the_gate

if TYPE_CHECKING:
    from ..gate import Judgement, Rule  # numpy and scipy: only when a verdict is due

UNANSWERED = 0.5
"""Where no replay can answer, `within` promises that so large a slowdown would have been seen."""


def unanswered_rule(settings: Settings) -> Rule:
    """The rule where no replay can answer; under `--metal-confirm stored` none is wanted, and nothing more is promised."""
    rule = rule_of(settings)
    return rule if settings.confirm == "stored" else replace(rule, blind=UNANSWERED)


def is_beyond_total(judgement: Judgement, anchor_seconds: float, settings: Settings) -> bool:
    """Whether the total since the anchor is beyond what is allowed, by the lower end of its 95 % interval."""
    lowest = judgement.baseline_seconds * (1 + judgement.change_low) / anchor_seconds - 1
    return settings.total_tolerance is not None and lowest > settings.total_tolerance


def beside_others(measurement: Measurement, others: Sequence[Judgement], settings: Settings) -> None:
    """Take back a slowdown by stored figures that is no clear one beside what other workloads became slower by.

    Args:
        measurement: with a verdict; it becomes `inconclusive` where the others explain it.
        others: of the same session, on the same device, of whose work nothing is known to have changed.
        settings: of its call.
    """
    from ..gate import is_slower_beyond, shared_slowdown  # numpy and scipy: a verdict is due

    judgement, stored, shared = measurement.judgement, measurement.baseline, shared_slowdown(others)
    if judgement is None or stored is None or shared is None:
        return
    own = replace(judgement, change_low=(1 + judgement.change_low) / (1 + shared.change) - 1)
    beyond = measurement.beyond_total and is_beyond_total(own, stored.anchor.seconds_per_batch, settings)
    slower = measurement.verdict == "slower" and is_slower_beyond(judgement, shared, rule_of(settings))
    measurement.beyond_total = beyond
    if not (slower or beyond):
        reason = words.shared(shared.change, shared.others, measurement.device)
        measurement.judgement = replace(judgement, verdict="inconclusive", reason=reason)
        measurement.verdict = "inconclusive"


@dataclass(frozen=True)
class Figures:
    """What fresh runs of a workload are compared with.

    Attributes:
        id: of the workload.
        device: that it trains on.
        stored: its baseline.
        entries: that hold it, and what the noise of the machine is learned from.
    """

    id: str
    device: str
    stored: Entry
    entries: Entries

    def judged(self, runs: Sequence[Run], rule: Rule, *, same: bool = False) -> Judgement:
        """What the runs so far say. Where all that can be seen is the `same`, load excuses nothing: it means `machine`."""
        from ..gate import ESTIMATOR  # numpy and scipy: only when a verdict is due

        if same:
            judgement = self._by_figures(runs, rule)
        else:
            judgement = under_conditions(
                runs, self._conditions, self.device, lambda some: self._by_figures(some, rule), rule.max_runs
            )
        means = [
            (run.seconds_per_batch, run.mean_seconds)
            for run in self.stored.runs
            if run.estimator == ESTIMATOR and run.mean_seconds is not None
        ]
        return beside_means(judgement, runs, means, rule.tolerance, spent=len(runs) >= rule.max_runs)

    def beyond_total(self, judgement: Judgement, runs: Sequence[Run], rule: Rule, settings: Settings) -> bool:
        """Whether the runs are beyond what is allowed since the anchor; what only loaded ones show is excused."""
        quiet = self.of_the_quiet(runs, rule)
        return (
            judgement.verdict != "inconclusive"
            and quiet is not None
            and is_beyond_total(quiet, self.stored.anchor.seconds_per_batch, settings)
        )

    def of_the_quiet(self, runs: Sequence[Run], rule: Rule) -> Judgement | None:
        """What the gate says of the runs under known conditions; None where there are none."""
        quiet = under_known_conditions(runs, self._conditions, self.device)
        return self._by_figures(quiet, rule) if quiet else None

    def _by_figures(self, runs: Sequence[Run], rule: Rule) -> Judgement:
        from ..gate import RunFigure, judge  # numpy and scipy: only when a verdict is due

        now = [RunFigure(run.estimate.seconds, run.session) for run in runs]
        return judge(now, runs_for_the_gate(self.entries, self.stored), peers(self.entries, self.id), rule)

    @property
    def _conditions(self) -> list[dict[str, float | bool | str | None]]:
        return [run.conditions for run in self.stored.runs]
