"""What a person reads of metrics that are gated beside seconds per batch."""

from __future__ import annotations

import math

from ..results.measurement import Measurement
from ..results.metrics import MetricResult
from ..results.quantities import amounts
from . import words


def worse(measurement: Measurement, one: MetricResult, command: str) -> str:
    """The failure text of a metric that got worse beyond its tolerance."""
    than = "its baseline" if measurement.reference is None else f"with {measurement.reference.name}"
    head = f"{words.title(measurement)} {one.metric.worse.format(words.percent(abs(one.change)))} than {than}"
    accept = [f"  accept it with  {command} --metal-update-baselines"] if measurement.reference is None else []
    return "\n".join([f"{head:<72} {measurement.nodeid}", *comparison(measurement, one), *accept])


def inconclusive(measurement: Measurement, one: MetricResult, command: str) -> str:
    """The failure text of an inconclusive metric under --metal-strict."""
    head = f"{words.title(measurement)}: {one.metric.name} is inconclusive, and --metal-strict is on"
    lines = [f"{head:<72} {measurement.nodeid}", *comparison(measurement, one), f"  why       {one.reason}"]
    if one.new:
        lines.append(f"  store it with  {command} --metal-update-baselines")
    elif one.judgement is None:
        lines.append("  leave it out of --metal-metrics where it cannot be known")
    elif "cannot be told from noise" not in one.reason:
        lines.append(f"  look again when that is over with  {command}")
    elif measurement.reference is not None:
        lines.append("  look longer with  --metal-max-runs or --metal-batches")
    else:
        lines.append(f"  learn its noise with  {command} --metal-update-baselines --metal-update-mode extend")
    return "\n".join(lines)


def comparison(measurement: Measurement, one: MetricResult) -> list[str]:
    """now, baseline (or reference), allowed, changed, work: aligned lines in the metric's own unit."""
    judgement, entry = one.judgement, measurement.baseline
    if judgement is None:
        return []
    now, then = now_and_before(one)
    width = max(len(now), len(then))
    low, high = amounts(one.interval, one.metric.unit)
    if measurement.reference is None and entry is not None:
        other, what, shown = "baseline", "runs", f"{words.plural(one.runs, 'run')}, 95 % interval {low} to {high}"
        origin = words.provenance(entry.runs)
    else:
        other, what, shown = "reference", "pairs", words.plural(one.runs, "pair")
        origin = f"in turn, 95 % interval of the change {_interval(one)}"
    seen = f"{what} differ by {words.percent(judgement.run_sd)} when nothing changes; changes from"
    return words.rows(
        [
            ("now", f"{now:>{width}}   {shown}"),
            (other, f"{then:>{width}}   {origin}"),
            ("allowed", f"{allowed(one):<{width}}   {seen} {words.percent(one.visible)} are seen 9 times in 10"),
            *words.context(measurement),
        ]
    )


def row(measurement: Measurement, one: MetricResult) -> tuple[str, ...]:
    """Its cells in the closing table: name, device, now, baseline, change, visible, verdict."""
    if one.judgement is None:
        return (f"  {one.metric.name}", "", "-", "-", "-", "-", one.verdict)
    change = words.percent(one.change, sign=True)
    if measurement.reference is not None:
        change = f"{change} ({_interval(one)})"
    return (f"  {one.metric.name}", "", *now_and_before(one), change, words.percent(one.visible), one.verdict)


def colour(one: MetricResult) -> str:
    """Of its row: a change is good or bad."""
    if one.changed:
        return "red" if one.worse else "green"
    return {"within": "green", "inconclusive": "yellow", "recorded": "cyan"}[one.verdict]


def reason(one: MetricResult) -> str:
    """Why it is inconclusive, with its name."""
    return f"{one.metric.name}: {one.reason or 'noise'}"


def unknown(where: str) -> str:
    """Why a metric that one side does not know is inconclusive; `where` is `here`, `in the baseline` or `in the reference`."""
    if where == "here":
        return "unknown here, since nothing measures it for this workload"
    return f"unknown {where}" + ("; add --metal-update-baselines to store it" if "baseline" in where else "")


def now_and_before(one: MetricResult) -> tuple[str, str]:
    """`1.204 GB` and `1.072 GB`: now and before."""
    now, then = amounts([one.now, one.baseline], one.metric.unit)
    return now, then


def allowed(one: MetricResult) -> str:
    """`+5.0 %`."""
    return words.percent(one.tolerance, sign=True)


def _interval(one: MetricResult) -> str:
    if one.judgement is None:
        return words.percent(math.nan)
    return words.span(one.judgement.change_low, one.judgement.change_high)
