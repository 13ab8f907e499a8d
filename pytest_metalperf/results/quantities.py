"""Figures as people read them: a prefix where the unit takes one, and both sides of a comparison alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

_PREFIXES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_PREFIXED = ("B", "FLOP", "FLOP/s")
_MOST_DECIMALS = 9
_TO_TELL_APART = 15


def magnitude(value: float, digits: int) -> int:
    """The power of ten of a positive value's first digit, once it is rounded to so many: 0.09999999 is 0.1000."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def amounts(values: Sequence[float], unit: str, digits: int = 4, *, apart: bool = False) -> list[str]:
    """`["1.204 GB", "1.072 GB"]`: one prefix, and as many decimals as the smallest needs for its digits.

    Args:
        values: of one unit, to be compared; what is not positive and finite is `unknown`.
        unit: `B`, `FLOP` and `FLOP/s` take a prefix, others stand as they are.
        digits: significant ones, at least.
        apart: take more where two that differ would look the same.
    """
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return ["unknown"] * len(values)
    prefix, scale = next(
        ((p, s) for p, s in _PREFIXES if unit in _PREFIXED and max(known) >= s),
        ("", 1.0),
    )
    decimals = max(0, digits - 1 - magnitude(min(known) / scale, digits))
    if unit == "B" and not prefix:  # there is no part of a byte
        decimals = 0
    decimals = min(decimals, _MOST_DECIMALS)
    while apart and decimals < _TO_TELL_APART and len({f"{v / scale:.{decimals}f}" for v in known}) < len(set(known)):
        decimals += 1
    return [f"{v / scale:.{decimals}f} {prefix}{unit}" if v in known else "unknown" for v in values]
