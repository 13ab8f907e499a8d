"""Gating what was asked for beside seconds per batch: each metric by its own tolerance, all from the same fresh runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..baselines.file import Entries
from ..measure.capacity import side_by_side
from ..report.metrics import unknown
from ..results.conditions import under_conditions
from ..results.measurement import Measurement
from ..results.metrics import METRICS, Metric, MetricResult, result_of
from ..results.run import Run
from ..settings import Settings
from .evidence import peers, rule_of, runs_for_the_gate

if TYPE_CHECKING:
    from ..baselines.schema import Entry
    from ..gate import Judgement, Rule


def gate_metrics(
    store: Entries,
    measurement: Measurement,
    stored: Entry,
    settings: Settings,
    measure: Callable[[int], list[Run]],
) -> None:
    """Judge each metric, with further fresh runs while one of them is undecided and `measure` returns more of them.

    The runs of the time's verdict are the first of them; that verdict stays as it is.

    Raises:
        WorkerError: when a run breaks.
    """
    if not settings.metrics:
        return
    # not the measurement's own runs: the first look of metal_live happens in a process that did much else
    runs, rule = measure(1), rule_of(settings)
    results = [
        _judged(store, measurement, stored, METRICS[name], share, rule, runs) for name, share in settings.metrics
    ]
    while not all(one.decided for one in results) and len(runs) < settings.max_runs:
        more = measure(min(settings.max_runs, len(runs) + side_by_side()))
        if len(more) <= len(runs):  # all that a finished session has measured
            break
        runs = more
        results = [
            one if one.decided else _judged(store, measurement, stored, one.metric, one.tolerance, rule, runs)
            for one in results
        ]
    measurement.metrics = results


def metrics_in_turn(now: Sequence[Run], reference: Sequence[Run], settings: Settings) -> list[MetricResult]:
    """Judge each metric by fresh pairs under --metal-against; none is decided before the gate has enough of them."""
    rule = replace(rule_of(settings), max_runs=settings.max_pairs)
    return [_in_turn(METRICS[name], share, now, reference, rule) for name, share in settings.metrics]


def _judged(
    store: Entries,
    measurement: Measurement,
    stored: Entry,
    metric: Metric,
    share: float,
    rule: Rule,
    runs: Sequence[Run],
) -> MetricResult:
    from ..gate import RunFigure, judge  # numpy and scipy: only when a verdict is due

    own = replace(rule, tolerance=share, prior=metric.prior)
    costs = {id(run): cost for run in runs if (cost := metric.of_run(run)) is not None}
    known = runs_for_the_gate(store, stored, metric)
    others = peers(store, measurement.workload.id, metric)
    if not costs or not known:
        return _unknown(metric, share, "here" if not costs else "in the baseline", new=bool(costs))

    def judged_by(some: Sequence[Run]) -> Judgement:
        return judge([RunFigure(costs[id(run)], run.session) for run in some], known, others, own)

    known_runs = [run for run in runs if id(run) in costs]
    if metric.depends_on_conditions:
        before = [run.conditions for run in stored.runs]
        judgement = under_conditions(known_runs, before, measurement.device, judged_by, rule.max_runs)
    else:
        judgement = judged_by(known_runs)
    return result_of(metric, share, judgement, len(known_runs))


def _in_turn(metric: Metric, share: float, now: Sequence[Run], reference: Sequence[Run], rule: Rule) -> MetricResult:
    from ..gate import judge_pairs  # numpy and scipy: only when a verdict is due

    costs = [(metric.of_run(ours), metric.of_run(theirs)) for ours, theirs in zip(now, reference, strict=True)]
    both = [(ours, theirs) for ours, theirs in costs if ours is not None and theirs is not None]
    if not both:
        return _unknown(metric, share, "here" if all(ours is None for ours, _ in costs) else "in the reference")
    judgement = judge_pairs(
        [[ours] for ours, _ in both], [[theirs] for _, theirs in both], replace(rule, tolerance=share)
    )
    return result_of(metric, share, judgement, len(both))


def _unknown(metric: Metric, share: float, where: str, *, new: bool = False) -> MetricResult:
    return MetricResult(metric, share, "inconclusive", reason=unknown(where), new=new)
