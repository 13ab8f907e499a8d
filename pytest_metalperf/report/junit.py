"""Properties of a test in JUnit XML: the verdict and the figures, for CI servers that keep them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from ..results.measurement import Measurement, Speedup
from . import rows


def properties(result: Measurement | Speedup) -> list[tuple[str, str]]:
    """What a test found, by names that begin with `metal_`; shares are of 1, and what is unknown is left out.

    `metal_workload`, `metal_verdict`, `metal_seconds_per_batch`, `metal_baseline_seconds_per_batch`, `metal_change` with the
    ends of its 95 % interval `metal_change_low` and `metal_change_high`, and `metal_visible`, the smallest slowdown that is
    seen 9 times in 10. Each gated metric has the same of its own, `metal_memory_verdict`, `metal_memory`,
    `metal_memory_baseline`, …, and what changed in the work is `metal_work`. A speedup has `metal_speedup`, its interval
    `metal_speedup_low` and `_high`, what was promised, `metal_speedup_at_least`, and beside a stored ratio
    `metal_speedup_baseline`, `metal_speedup_change`, …. A sustained run has `metal_sustained_ratio` with its interval.
    Where a test broke, `metal_verdict` is `error`, and `metal_error` says why.
    """
    found = _of_speedup(result) if isinstance(result, Speedup) else _of_measurement(result)
    if result.error:
        found = [(name, "error" if name == "metal_verdict" else value) for name, value in found]
        found.append(("metal_error", result.error.splitlines()[0]))
    return found


def _of_measurement(result: Measurement) -> list[tuple[str, str]]:
    found, long = [("metal_workload", result.workload.id), ("metal_verdict", result.verdict)], result.sustained
    if long is not None:  # its row is of its last minute
        found += _numbers(
            metal_seconds_per_batch=result.seconds_per_batch,
            metal_sustained_ratio=long.ratio,
            metal_sustained_ratio_low=long.low,
            metal_sustained_ratio_high=long.high,
        )
    else:
        figures = rows.row(result).figures
        found += _numbers(
            metal_seconds_per_batch=figures.now,
            metal_baseline_seconds_per_batch=figures.baseline,
            **_changes("metal", figures),
        )
    for metric in result.metrics:
        name, figures = f"metal_{metric.metric.name}", rows.of_metric(result, metric).figures
        found.append((f"{name}_verdict", metric.verdict))
        found += _numbers(**{name: figures.now, f"{name}_baseline": figures.baseline}, **_changes(name, figures))
    if result.fingerprint_changes:
        found.append(("metal_work", "; ".join(result.fingerprint_changes)))
    return found


def _of_speedup(result: Speedup) -> list[tuple[str, str]]:
    figures = rows.row(result).figures
    found = [("metal_workload", result.id), ("metal_verdict", result.verdict)]
    found += _numbers(
        metal_speedup=figures.now,
        metal_speedup_low=result.low,
        metal_speedup_high=result.high,
        metal_speedup_at_least=math.nan if result.at_least is None else result.at_least,
        metal_speedup_baseline=figures.baseline,
        **_changes("metal_speedup", figures),
    )
    return [*found, ("metal_parity", result.parity)] if result.parity else found


def _changes(name: str, figures: rows.Figures) -> dict[str, float]:
    return {
        f"{name}_change": figures.change,
        f"{name}_change_low": figures.low,
        f"{name}_change_high": figures.high,
        f"{name}_visible": figures.visible,
    }


def _numbers(**figures: float) -> list[tuple[str, str]]:
    return [(name, f"{figure:.6g}") for name, figure in figures.items() if math.isfinite(figure)]


def waited(seconds: float, whom: Sequence[str]) -> list[tuple[str, str]]:
    """`metal_waited_seconds` of a test, which are in its time, and `metal_waited_for` where that is known."""
    if seconds < 1:
        return []
    return [("metal_waited_seconds", f"{seconds:.0f}"), *([("metal_waited_for", "; ".join(whom))] if whom else [])]


def attach(item: pytest.Item, result: Measurement | Speedup, seconds: float = 0.0, whom: Sequence[str] = ()) -> None:
    """Put the properties on the test, which waited so many seconds, for whom."""
    item.user_properties.extend([*properties(result), *waited(seconds, whom)])
