"""What the steps that users write by hand share, whatever framework they are of: four parts, a batch, dropout that is off."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..problems import Problem, first_line
from ..values import numbers, reported
from .framework import shape_of

Parts = tuple[Any, Any, Callable[..., Any], Sequence[Any]]
"""A module, its optimizer, a loss, and a batch of two."""


def four_parts(built: Any, name: str, module: type, optimizer: type, shorthand: str) -> Parts | None:
    """The parts that a builder returned, of the framework's own types; None where it returned something else.

    Raises:
        Problem: of kind ``builder``, where the first of four is a module and the others are not what they have to be.
    """
    if not (isinstance(built, tuple) and len(built) == 4 and isinstance(built[0], module)):
        return None
    model, trains, loss_fn, batch = built
    is_batch = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not (isinstance(trains, optimizer) and callable(loss_fn) and is_batch):
        raise Problem(
            "builder",
            f"the builder of {name} returned {shape_of(built)}, whose parts are not a module, its optimizer, a loss and a"
            f" batch of two: `{shorthand}`",
        )
    return model, trains, loss_fn, batch


def placed(batch: Any, name: str, place: Callable[[Any], Any]) -> Any:
    """A batch as `place` puts it on the device.

    Raises:
        Problem: of kind ``builder``, where that cannot be done.
    """
    try:
        return place(batch)
    except Exception as error:
        raise Problem("builder", f"the batch of {name} cannot be put on the device: {first_line(error)}") from error


def called(forward: Callable[..., Any], x: Any) -> Any:
    """What a module makes of its inputs: one, several in order, or several by name."""
    if isinstance(x, Mapping):
        return forward(**x)
    return forward(*x) if isinstance(x, (tuple, list)) else forward(x)


def examples_in(x: Any) -> int | None:
    """Examples in a batch of inputs; None where they have no dimension to count."""
    sizes = [leaf.shape[0] for _, leaf in reported(x) if getattr(leaf, "shape", ())]
    return int(sizes[0]) if sizes else None


def checksum_of(batch: Any) -> int:
    """A number that two batches of the same data have in common, whether whole numbers have 32 or 64 bits."""
    arrays = (numbers(leaf, math.inf) for _, leaf in reported(batch))
    alike = (array.astype("int64") if array.dtype.kind in "iu" else array for array in arrays if array is not None)
    return zlib.adler32(b"".join(array.tobytes() for array in alike))


@contextlib.contextmanager
def replaced(found: Sequence[tuple[Any, str, Any]], value: float) -> Iterator[None]:
    """`value` in place of each attribute (an object, its name, what it is) while it lasts."""
    try:
        for part, key, _ in found:
            setattr(part, key, value)
        yield
    finally:
        for part, key, kept in found:
            setattr(part, key, kept)
