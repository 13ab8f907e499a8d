"""Properties of a test in JUnit XML: the verdict and the figures, for CI servers that keep them."""

from __future__ import annotations

import pytest

from ..measurement import Measurement, Speedup


def properties(result: Measurement | Speedup) -> list[tuple[str, str]]:
    """`metal_verdict`, `metal_workload`, figures in seconds; `metal_error` instead of a verdict where it broke."""
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
    if result.error:
        found = [(name, "error" if name == "metal_verdict" else value) for name, value in found]
        found.append(("metal_error", result.error.splitlines()[0]))
    return found


def attach(item: pytest.Item, result: Measurement | Speedup) -> None:
    """Put the properties on the test."""
    item.user_properties.extend(properties(result))
