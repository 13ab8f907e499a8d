"""What a step reports, all of it: a training whose second loss is NaN measures as little as one whose first is."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .problems import Problem

DEEPEST = 50
"""Levels of nesting that are looked at: a list may hold itself."""

MOST_ELEMENTS = 1_000_000
"""Of one array; a larger one is no loss and no log, and reading it would take longer than a block."""


MOST_PARTS = 10_000
"""That are looked at: a list that holds itself twice has more than can be counted."""


def reported(outputs: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples in order, each with its path, as `losses.generator` or `0`."""
    waiting = [("", outputs, 0)]
    for _ in range(MOST_PARTS):
        if not waiting:
            return
        path, part, depth = waiting.pop()
        if not isinstance(part, (Mapping, list, tuple)):
            yield path, part
        elif depth < DEEPEST:
            inside = [*(part.items() if isinstance(part, Mapping) else enumerate(part))]
            waiting += [(f"{path}.{key}" if path else str(key), one, depth + 1) for key, one in reversed(inside)]


def numbers(leaf: Any, most: float = MOST_ELEMENTS) -> Any:
    """A leaf's figures as an array of NumPy's, whatever framework computed them; None where it holds none."""
    import numpy  # here: `metal_live` reads this module in the pytest process, which does without NumPy as long as it can

    if leaf is None or isinstance(leaf, (str, bytes)) or math.prod(getattr(leaf, "shape", ()) or ()) > most:
        return None
    try:
        if hasattr(leaf, "detach"):  # PyTorch's, whose bfloat16 NumPy does not know
            leaf = leaf.detach().cpu()
            leaf = leaf.float() if leaf.is_floating_point() else leaf
        if type(leaf).__module__ == "mlx.core" and "bfloat16" in str(leaf.dtype):  # likewise
            leaf = leaf.astype(sys.modules["mlx.core"].float32)
        array = numpy.asarray(leaf)
        return array.astype("float32") if array.dtype.kind == "V" else array if array.dtype.kind in "biufc" else None
    except Exception:  # whatever an object of the user's raises
        return None


def sum_of_bits(weights: Iterable[Any]) -> int:
    """What the same float32 values have in common in whatever order, layout and framework: the sum of their bits."""
    import numpy

    arrays = (numbers(weight, math.inf) for weight in weights)
    flat = (numpy.ascontiguousarray(array, "float32").view("uint32") for array in arrays if array is not None)
    return sum(int(bits.sum(dtype="uint64")) for bits in flat)


def is_finite(weight: Any) -> bool:
    """Whether all of a weight's values are, as far as NumPy can read them."""
    import numpy

    array = numbers(weight, math.inf)
    return array is None or bool(numpy.isfinite(array).all())


class Reported(NamedTuple):
    """What a step returned, and the value that was read back to wait for it."""

    outputs: Any
    fenced: float


def checked(values: Reported, when: str) -> float:
    """The loss that a step reports, or its first figure, if all that it reports are finite.

    In an array of several elements that is called no loss, as predictions are, infinity may stand for "masked", and only NaN
    is refused.

    Args:
        values: what the step reported.
        when: `in batch 30`, for the message.

    Raises:
        Problem: of kind ``training``, naming the value.
    """
    import numpy

    seen = []
    # what is of no array that NumPy reads was still read back
    for path, leaf in (*reported(values.outputs), ("", values.fenced)):
        array = numbers(leaf)
        if array is None or not array.size:
            continue
        seen.append((path, array))
        finite = array.size == 1 or path.endswith("loss")
        wrong = ~numpy.isfinite(array) if finite else numpy.isnan(array)
        if wrong.any():
            what = "the loss" if path in ("", "0", "loss") else f"`{path}`, which the step reports,"
            value = array.flat[int(wrong.argmax())]
            raise Problem("training", f"{what} became {value} {when}: a training that diverges measures nothing")
    return float(loss_in(seen).flat[0].real) if seen else math.nan


def loss_in(told: Sequence[tuple[str, Any]]) -> Any:
    """Of what a step reports what is called `loss`, else the first: JAX sorts the keys of what a compiled step returns."""
    return next((leaf for path, leaf in told if path == "loss"), told[0][1])
