"""Whether two variants compute the same training step: numbers in, a sentence out; empty where they agree.

Both compute the loss of the same batch and the norm of its gradient from the same weights. What is left between them is
the order in which each device adds, and the precision in which it multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .reports import speedups
from .workload import Workload

SAME_WORK = frozenset({"precision", "jit_compile", "remat", "input"})
"""Axes that say how a step is computed, not what is: variants that differ in nothing else have the same data."""

TOLERANCES = {
    "float32": 0.01,  # GPUs multiply float32 as TF32, with 10 bits of mantissa (0.1 %), and sum in another order
    "mixed_float16": 0.05,  # 10 bits in every activation too, and small gradients lose bits below 6e-5
    "mixed_bfloat16": 0.05,  # 7 bits of mantissa: 0.4 % in every rounding, part of which averages out
}
"""Relative differences of loss and gradient norm that are rounding. Between TensorFlow, PyTorch and JAX on a CPU they were at
most 2e-7 and 7e-5 (`tests/test_backends.py`); how far apart a CPU and a GPU are has not been measured yet."""

SMALLEST = 1e-3
"""Below it differences count as shares of it: a loss that small, of a batch learnt by heart, is made of rounding errors."""


class Figures(NamedTuple):
    """What one side computed."""

    loss: float
    gradient_norm: float
    batch: int | None = None  # a checksum of its data; None where nobody can look


def other_work(of: Workload, over: Workload) -> list[str]:
    """The axes that make their data differ, `batch_size 32 and 8`; empty where parity can be asked for."""
    one, other = ({k: v for k, v in side.whole_axes.items() if k not in SAME_WORK} for side in (of, over))
    return [
        f"{key} {one.get(key, 'not given')} and {other.get(key, 'not given')}"
        for key in sorted(set(one) | set(other))
        if one.get(key) != other.get(key)
    ]


def tolerance(precisions: Iterable[str]) -> float:
    """Of two precisions the lower one's."""
    return max(TOLERANCES[precision] for precision in precisions)


def agree(one: float, other: float, tolerance: float) -> bool:
    """Whether two figures are the same but for rounding; what is not finite agrees with nothing, itself included."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return False
    return abs(one - other) <= tolerance * max(abs(one), abs(other), SMALLEST)


def mismatch(of: Workload, over: Workload, computed: Figures, expected: Figures) -> str:
    """One sentence with both values of both figures where `of` does not compute what `over` does; empty where it does."""
    allowed = tolerance([str(side.whole_axes["precision"]) for side in (of, over)])
    if all(agree(one, other, allowed) for one, other in zip(computed[:2], expected[:2], strict=True)):
        return ""
    return speedups.fast_but_wrong(of.id, over.id, computed, expected, allowed)
