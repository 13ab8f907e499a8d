"""Whether two variants compute the same training step: numbers in, a sentence out; empty where they agree.

Both compute the loss of the same batch and the norm of its gradient from the same weights. What is left between them is
the order in which each device adds, and the precision in which it multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..results.rounding import agree, tolerance
from ..workloads.workload import Workload

SAME_WORK = frozenset({"precision", "jit_compile", "remat", "input"})
"""Axes that say how a step is computed, not what is: variants that differ in nothing else have the same data."""


class StepValues(NamedTuple):
    """What one variant computed."""

    loss: float
    gradient_norm: float
    batch: int | None = None  # a checksum of its data; None where nobody can look
    drawn: bool = False  # whether the same variant computed something else the next time
    weights: int | None = None  # what the same weights have in common; None where nobody can look


def other_work(of: Workload, over: Workload) -> list[str]:
    """The axes that make their data differ, `batch_size 32 and 8`; empty where parity can be asked for."""
    one, other = ({k: v for k, v in variant.whole_axes.items() if k not in SAME_WORK} for variant in (of, over))
    return [
        f"{key} {_shown(one, key)} and {_shown(other, key)}"
        for key in sorted(set(one) | set(other))
        if one.get(key) != other.get(key)
    ]


def _shown(axes: Mapping[str, object], key: str) -> str:
    return str(axes.get(key, "not given")) or '""'


def mismatch(of: Workload, over: Workload, computed: StepValues, expected: StepValues) -> str:
    """One sentence with both values of both figures where `of` does not compute what `over` does; empty where it does."""
    allowed = tolerance([str(variant.whole_axes["precision"]) for variant in (of, over)])
    if all(agree(one, other, allowed) for one, other in zip(computed[:2], expected[:2], strict=True)):
        return ""
    unseen = None in (computed.batch, expected.batch)
    data = (
        "; whether both sides have the same data was not seen: draw them with NumPy from a fixed seed" if unseen else ""
    )
    return (
        f"{of.id} is fast but wrong: from the same weights its loss is {computed.loss:.4g} where {over.id} has"
        f" {expected.loss:.4g} (gradient norm {computed.gradient_norm:.4g} and {expected.gradient_norm:.4g}; they may"
        f" differ by {100 * allowed:g} %{data})"
    )
