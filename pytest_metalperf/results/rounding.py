"""How far apart two devices may compute the same: relative differences that are rounding, by precision."""

from __future__ import annotations

import math
from collections.abc import Iterable

TOLERANCES = {
    "float32": 0.01,  # GPUs multiply float32 as TF32, with 10 bits of mantissa (0.1 %), and sum in another order
    "mixed_float16": 0.05,  # 10 bits in every activation too, and small gradients lose bits below 6e-5
    "mixed_bfloat16": 0.05,  # 7 bits of mantissa: 0.4 % in every rounding, part of which averages out
}
"""Relative differences of loss and gradient norm that are rounding. Between TensorFlow, PyTorch and JAX on a CPU they were at
most 2e-7 and 7e-5 (`tests/test_backends.py`). Between a CPU in float32 and an H100 in each of these precisions they were at
most 0.15, 0.35 and 1.5 %, always of the gradient norm (the reference models, `tests/speed/deviation.py`)."""

SMALLEST = 1e-3
"""Below it differences count as shares of it: a loss that small, of a batch learnt by heart, is made of rounding errors."""


def tolerance(precisions: Iterable[str]) -> float:
    """Of two precisions the lower one's."""
    return max(TOLERANCES[precision] for precision in precisions)


def agree(one: float, other: float, tolerance: float) -> bool:
    """Whether two figures are the same but for rounding; what is not finite agrees with nothing, itself included."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return False
    return abs(one - other) <= tolerance * max(abs(one), abs(other), SMALLEST)
