"""Properties of a test in JUnit XML: the verdict and the figures, for CI servers that keep them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ..results.measurement import Measurement, Speedup


def properties(result: Measurement | Speedup) -> list[tuple[str, str]]:
    """`metal_verdict`, `metal_workload`, figures in seconds; `metal_error` instead of a verdict where it broke.

    Each gated metric has a verdict of its own, `metal_memory_verdict`, and what changed in the work is `metal_work`.
    """
    if isinstance(result, Speedup):
        found = [("metal_workload", f"{result.of.id} over {result.over.id}"), ("metal_verdict", result.verdict)]
        if result.ratio is not None:
            found.append(("metal_speedup", f"{result.value:.6g}"))
        if result.parity:
            found.append(("metal_parity", result.parity))
    else:
        found = [("metal_workload", result.workload.id), ("metal_verdict", result.verdict)]
        if result.runs:
            found.append(("metal_seconds_per_batch", f"{result.seconds_per_batch:.6g}"))
        if result.change is not None:
            found.append(("metal_change", f"{result.change:.6g}"))
        for one in result.metrics:
            found.append((f"metal_{one.metric.name}_verdict", one.verdict))
            if one.judgement is not None:
                found += [
                    (f"metal_{one.metric.name}", f"{one.now:.6g}"),
                    (f"metal_{one.metric.name}_change", f"{one.change:.6g}"),
                ]
        if result.fingerprint_changes:
            found.append(("metal_work", "; ".join(result.fingerprint_changes)))
        if result.sustained is not None:
            found.append(("metal_sustained_ratio", f"{result.sustained.ratio:.6g}"))
    if result.error:
        found = [(name, "error" if name == "metal_verdict" else value) for name, value in found]
        found.append(("metal_error", result.error.splitlines()[0]))
    return found


def waited(seconds: float, whom: Sequence[str]) -> list[tuple[str, str]]:
    """`metal_waited_seconds` of a test, which are in its time, and `metal_waited_for` where that is known."""
    if seconds < 1:
        return []
    return [("metal_waited_seconds", f"{seconds:.0f}"), *([("metal_waited_for", "; ".join(whom))] if whom else [])]


def attach(item: pytest.Item, result: Measurement | Speedup, seconds: float = 0.0, whom: Sequence[str] = ()) -> None:
    """Put the properties on the test, which waited so many seconds, for whom."""
    item.user_properties.extend([*properties(result), *waited(seconds, whom)])
