"""The rows of the closing table, a value each: the terminal, a job's summary on GitHub and JUnit XML show the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..results.measurement import Measurement, Speedup
from ..results.metrics import MetricResult
from . import metrics as gated
from . import speedups, sustained, words


@dataclass(frozen=True)
class Figures:
    """What a row says, as numbers; nan is unknown.

    Attributes:
        now: seconds per batch (of a sustained run's last minute), a speedup's ratio, or a metric in its own unit.
        baseline: the same of what it is compared with; of a sustained run that is its own first minute.
        change: now / baseline - 1.
        low: the lower end of the 95 % interval of the change.
        high: its upper end.
        visible: the smallest change for the worse that is seen 9 times in 10, as a share.
        weight: the change for the worse over what is visible, or over what is accepted where nothing says what is visible.
    """

    now: float = math.nan
    baseline: float = math.nan
    change: float = math.nan
    low: float = math.nan
    high: float = math.nan
    visible: float = math.nan
    weight: float = math.nan


@dataclass(frozen=True)
class Row:
    """One row: a measurement, a speedup, or one metric of a measurement.

    Attributes:
        result: whose row it is.
        metric: which of its metrics; None for what the result itself says.
        label: its first cell in the terminal.
        device: where it trained, with the backend where that is not TensorFlow.
        now: today's figure with its unit, as a person reads it; `-` is unknown, here and below.
        baseline: that of the other side.
        of_peak: the share of its device's peak that it reaches, `61.2 %`; empty where it is unknown.
        total: the change since the anchor; empty where it is not worth telling.
        change: the change, with an interval where that is all that is known of its noise.
        visible: the smallest change for the worse that is seen 9 times in 10.
        verdict: the word of the gate; `error` for what broke, `smoke` for what was trained without one.
        figures: the same as numbers.
    """

    result: Measurement | Speedup
    metric: MetricResult | None
    label: str
    device: str
    now: str
    baseline: str
    total: str
    change: str
    visible: str
    verdict: str
    figures: Figures
    of_peak: str = ""

    @property
    def id(self) -> str:
        """What the row is of, by its whole name: `ranker[b64]@cpu:tensorflow`, with `: memory` where it is of a metric."""
        result = self.result
        if isinstance(result, Speedup):
            return result.id
        if self.metric is not None:
            return f"{result.workload.id}: {self.metric.metric.name}"
        return (
            f"{result.workload.id} sustained {sustained.span(result.runs[0])}"
            if _is_long(result)
            else result.workload.id
        )

    @property
    def worse(self) -> bool:
        """Whether it is slower, worse by its metric, or broke."""
        return self.verdict in ("slower", "error") or (self.metric is not None and self.metric.worse)


def rows(results: Sequence[Measurement | Speedup]) -> list[Row]:
    """A row per workload and verdict, in the order of the results; those of metrics stand below their measurement's."""
    found = []
    for result in _once(results):
        found.append(row(result))
        if isinstance(result, Measurement) and not result.error:
            found += [of_metric(result, one) for one in result.metrics]
    return found


def row(result: Measurement | Speedup) -> Row:
    """The row of a result itself."""
    return _of_speedup(result) if isinstance(result, Speedup) else _of_measurement(result)


def of_metric(result: Measurement, one: MetricResult) -> Row:
    """The row of one metric of a measurement."""
    label, device, now, then, change, visible, verdict = gated.row(result, one)
    judgement = one.judgement
    interval = (math.nan, math.nan) if judgement is None else (judgement.change_low, judgement.change_high)
    weight = _weight(one.change, one.visible)
    figures = Figures(one.now, one.baseline, one.change, *interval, one.visible, weight)
    return Row(result, one, label, device, now, then, "", change, visible, verdict, figures)


def other_side(results: Sequence[Measurement | Speedup]) -> str:
    """What a session compares with, as the head of a column: `reference` under --metal-against, else `baseline`."""
    against = any(isinstance(result, Measurement) and result.reference and not result.replayed for result in results)
    return "reference" if against else "baseline"


def measured_with(results: Sequence[Measurement | Speedup]) -> str:
    """One line of the packages that everything was measured with; empty where nothing was."""
    runs = [run.versions for one in results if isinstance(one, Measurement) for run in one.runs]
    return words.versions([*runs, *(one.versions for one in results if isinstance(one, Speedup))])


def accepting(one: Row) -> str:
    """The options that accept what a row says, for the command that repeats it; empty where nothing can be accepted."""
    result = one.result
    if isinstance(result, Speedup):
        return speedups.accepting(result)
    if one.verdict in ("slower", "machine"):
        return words.accepting(result)
    other_work = one.metric is None and result.strict_work and bool(result.fingerprint_changes)
    worse = one.metric is not None and one.metric.worse
    stored = result.reference is None and (worse or (other_work and one.verdict != "error"))
    return words.ACCEPT if stored or one.verdict == "no baseline" else ""


def why(one: Row) -> str:
    """Why a row is `inconclusive` or an `error`, in a line."""
    result = one.result
    if one.metric is not None:
        return one.metric.reason or "noise"
    if result.error:
        return result.error.splitlines()[0]
    if isinstance(result, Speedup):
        return speedups.reason(result) or "noise"
    if result.sustained is not None:
        return sustained.reason(result, result.sustained)
    return result.judgement.reason if result.judgement is not None and result.judgement.reason else "noise"


def _once(results: Sequence[Measurement | Speedup]) -> list[Measurement | Speedup]:
    """One row per workload and verdict: two tests that ask for the same thing need not be shown twice."""
    seen: dict[tuple[object, ...], Measurement | Speedup] = {}
    for result in results:
        verdict = result.error or result.verdict
        if isinstance(result, Measurement):
            metrics = [(one.metric.name, one.verdict) for one in result.metrics]
            seen.setdefault((result.workload.id, verdict, result.sustained is not None, *metrics), result)
        else:
            seen.setdefault((result.id, result.at_least, verdict), result)
    return list(seen.values())


def _verdict(result: Measurement | Speedup) -> str:
    return "error" if result.error else result.verdict or "smoke"


def _is_long(result: Measurement) -> bool:
    return result.sustained is not None


def _of_speedup(result: Speedup) -> Row:
    verdict, total = _verdict(result), speedups.creep(result)
    return Row(
        result,
        None,
        label=f"{result.of.label} over {_other_side(result)}",
        device=result.of.device,
        now=f"{result.value:.3g}x" if result.ratio else "-",
        baseline=speedups.compared_with(result),
        total="" if total is None else words.percent(total, sign=True),
        change=speedups.change(result),
        visible=speedups.visible(result),
        verdict="-" if verdict == "smoke" and result.ratio else verdict,
        figures=_figures_of_speedup(result),
    )


def _figures_of_speedup(result: Speedup) -> Figures:
    judgement = result.judgement
    if judgement is None:
        return Figures(now=result.value)
    return Figures(
        result.value,
        1 / judgement.baseline_seconds,
        speedups.shrunk(judgement.change),
        speedups.shrunk(judgement.change_high),  # the more seconds, the smaller the ratio
        speedups.shrunk(judgement.change_low),
        -speedups.shrunk(judgement.smallest_visible),
        _weight(judgement.change, judgement.smallest_visible),
    )


def _other_side(speedup: Speedup) -> str:
    """What `over` is, as far as it is not what `of` is."""
    device = speedup.over.device if speedup.over.device != speedup.of.device else ""
    if speedup.over.name != speedup.of.name:
        return f"{speedup.over.name}@{device}" if device else speedup.over.name
    return device or _difference(speedup)


def _difference(speedup: Speedup) -> str:
    of, over = set(speedup.of.whole_axes.items()), set(speedup.over.whole_axes.items())
    return ",".join(f"{key}={value}" for key, value in sorted(over - of, key=str)) or speedup.over.backend


def _of_measurement(result: Measurement) -> Row:
    workload, judgement, verdict = result.workload, result.judgement, _verdict(result)
    total = words.creep(result)
    label = workload.label
    now = f"{words.seconds(result.seconds_per_batch)} s" if result.runs else "-"
    then = change = visible = "-"
    if result.sustained is not None:
        label = sustained.label(result)
        now, then, change, visible = sustained.row(result.sustained)
    elif judgement is not None and not result.error and verdict != "recorded":
        now = f"{words.seconds(judgement.now_seconds, judgement.baseline_seconds)} s"
        then = f"{words.seconds(judgement.baseline_seconds, judgement.now_seconds)} s"
        change, visible = words.change(result), words.percent(judgement.smallest_visible)
    return Row(
        result,
        None,
        label=label,
        device=words.place(workload.device, workload.backend),
        now=now,
        baseline=then,
        total="" if total is None else words.percent(total, sign=True),
        change=change,
        visible=visible,
        verdict=verdict,
        figures=_figures_of_measurement(result),
        of_peak="" if result.error or not result.runs else words.of_peak(result.share_of_peak),
    )


def _figures_of_measurement(result: Measurement) -> Figures:
    long, judgement = result.sustained, result.judgement
    if long is not None:
        change = long.ratio - 1
        weight = _weight(change, result.tolerance)
        return Figures(long.last, long.first, change, long.low - 1, long.high - 1, weight=weight)
    now = result.seconds_per_batch if result.runs else math.nan
    if judgement is None:
        return Figures(now)
    return Figures(
        now,
        judgement.baseline_seconds,
        judgement.change,
        judgement.change_low,
        judgement.change_high,
        judgement.smallest_visible,
        _weight(judgement.change, judgement.smallest_visible),
    )


def _weight(change: float, beside: float) -> float:
    return change / beside if beside > 0 else math.nan
