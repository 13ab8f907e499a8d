"""What a person reads of a sustained run: its end beside its start, and the device's course in between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING

from ..baselines.schema import rounded
from ..results.conditions import load
from ..results.measurement import Measurement
from ..results.run import Run
from . import words

if TYPE_CHECKING:
    from ..gate import Sustained

_COLUMNS = ("MHz", "W", "°C")


def slower(measurement: Measurement, found: Sustained, command: str) -> str:
    """The failure text of a run that became slower."""
    head = (
        f"{words.title(measurement)} is {words.factor(found.ratio - 1)} at the end of {span(measurement.runs[0])}"
        " of training than at its start"
    )
    return "\n".join(
        [f"{head:<72} {measurement.nodeid}", *_figures(measurement, found), f"  look again with  {command}"]
    )


def inconclusive(measurement: Measurement, found: Sustained, command: str) -> str:
    """The failure text of one that tells nothing, under --metal-strict."""
    head = f"{words.title(measurement)} over {span(measurement.runs[0])}: inconclusive, and --metal-strict is on"
    why = f"  why       {reason(measurement, found)}"
    more = ["  a longer run tells more", f"  look again with  {command}"]
    return "\n".join([f"{head:<72} {measurement.nodeid}", *_figures(measurement, found), why, *more])


def reason(measurement: Measurement, found: Sustained) -> str:
    """Why it is inconclusive."""
    if found.low > 1 + measurement.tolerance:
        return f"{load(measurement.runs, measurement.device)} in this run, which may be what made its end slower"
    tolerance = words.percent(measurement.tolerance, sign=True)
    return f"what is allowed from start to end, {tolerance}, lies in the 95 % interval {interval(found)}"


def interval(found: Sustained) -> str:
    """`+21.0 % to +25.1 %`: of the change from the first to the last minute."""
    return words.span(found.low - 1, found.high - 1)


def row(found: Sustained) -> tuple[str, ...]:
    """The cells now, baseline, change and visible of the closing table: the last minute, and its change from the first."""
    change = f"{words.percent(found.ratio - 1, sign=True)} ({interval(found)})"
    return (f"{_steps(found.last, found.first)} s", "-", change, "-")


def label(measurement: Measurement) -> str:
    """`resnet50v2[64px,b8] sustained 3 min`."""
    return f"{measurement.workload.label} sustained {span(measurement.runs[0])}"


def span(run: Run) -> str:
    """How long blocks were timed: `40 s`, `3 min`."""
    seconds = _seconds(run)[-1]
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f}".removesuffix(".0") + " min"


def profile(run: Run, found: Sustained) -> list[str]:
    """A small table: seconds per batch, clock, power and temperature at the start, in the middle and at the end.

    A column that nothing was measured for is left out.
    """
    ends = _seconds(run)
    total = ends[-1]
    head, lines = ["s/batch", *_COLUMNS], []
    for name, since in (("start", 0.0), ("middle", (total - found.stretch) / 2), ("end", total - found.stretch)):
        until = since + found.stretch
        steps = {"start": found.first, "end": found.last}.get(name) or _mean(
            [sample for sample, end in zip(run.samples, ends, strict=True) if since < end <= until]
        )
        rows = [one for one in run.trace if one[0] is not None and since <= one[0] <= until]
        device = [_mean([value for one in rows if (value := one[column]) is not None]) for column in (1, 2, 3)]
        shown = ["-" if steps is None else _steps(steps, min(found.first, found.last))]
        lines.append((name, [*shown, *("-" if value is None else f"{value:.0f}" for value in device)]))
    kept = [column for column in range(4) if any(cells[column] != "-" for _, cells in lines)]
    widths = {column: max(len(cells[column]) for cells in (head, *(cells for _, cells in lines))) for column in kept}
    return [
        f"  {name:<9} " + "  ".join(f"{cells[column]:>{widths[column]}}" for column in kept)
        for name, cells in [("", head), *lines]
    ]


def _figures(measurement: Measurement, found: Sustained) -> list[str]:
    last, first = _steps(found.last, found.first), _steps(found.first, found.last)
    width = max(len(last), len(first))
    stretch = "minute" if found.stretch >= 60 else f"{found.stretch:.0f} s"
    return [
        *words.rows(
            [
                ("last", f"{last:>{width}} s/batch   its last {stretch}"),
                ("first", f"{first:>{width}} s/batch   its first {stretch}"),
                (
                    "allowed",
                    f"{words.percent(measurement.tolerance, sign=True):<{width + 8}}   the change is"
                    f" {words.percent(found.ratio - 1, sign=True)}, 95 % interval {interval(found)}",
                ),
                ("machine", words.conditions(measurement)),
                ("tail", words.freezes(measurement)),
            ]
        ),
        *profile(measurement.runs[0], found),
    ]


def _steps(value: float, beside: float) -> str:
    """Seconds per batch, without what sums leave in the last digits."""
    return words.seconds(rounded(value, 9), rounded(beside, 9))


def _seconds(run: Run) -> list[float]:
    """When each block ended, from the first one's start."""
    return list(accumulate(sample * run.batches_per_block for sample in run.samples))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
