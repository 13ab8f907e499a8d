"""The rate at which a device multiplies matrices: what no training step in the same arithmetic should exceed.

It is measured in the process that has just trained, so framework, device, threads, precision and whatever a builder has set are
those of the training. A step's own FLOP over this rate is the time that it would take if it were one large product.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from .loop import Clock
from .problems import Problem

FIRST_SIDE, LARGEST_SIDE = 256, 8192
"""Of the square matrices: the first tells how large a product this device can do; a GPU needs a large one to be busy."""
PRODUCT_SECONDS = 0.15
"""What a product may take at most, as the smaller one before it foretells: four of these are computed, or more."""
SMALL_SIDE, SMALL_SECONDS = 1024, 0.6
"""Up to that side a product may be foretold to take so long: on a loaded CPU small ones wait for threads, not for arithmetic."""
BLOCK_SECONDS, SIDE_SECONDS = 0.05, 0.25
LEAST_BLOCKS, BLOCKS = 3, 5
"""At each side so many blocks of that length, fewer where they take longer in all. The fastest counts, since whatever disturbs
one makes it slower; a single freeze, one of three, must not end the search.
"""
MOST_PRODUCTS = 10_000
"""In one block, however fast the clock says that they are."""


class Multiplication(NamedTuple):
    """How a device multiplies two matrices in one arithmetic.

    Attributes:
        arithmetic: in words that people read, `bfloat16` or `float32 (TF32 allowed)`.
        place: puts a float32 matrix of NumPy's on the device, in this arithmetic's type.
        multiply: the product of two such matrices, which need not be ready.
        setting: what must be in force while it multiplies.
    """

    arithmetic: str
    place: Callable[[Any], Any]
    multiply: Callable[[Any, Any], Any]
    setting: Callable[[], AbstractContextManager[Any]] = nullcontext


def in_words(dtype: str, *, tf32: bool) -> str:
    """`float32 (TF32 allowed)`, which is another peak than `float32`. NVIDIA's own variable forbids it to every framework."""
    return f"{dtype} (TF32 allowed)" if tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0" else dtype


def product_rate(of: Multiplication, fence: Callable[[Any], float], clock: Clock) -> float:
    """The highest rate of some large products, in FLOP/s, two for every multiplication with its addition (2 n³).

    Each product is multiplied on, so that none can be left out or computed beside another. Where a larger one does not fit
    the memory, the smaller ones count.

    Args:
        of: what multiplies.
        fence: waits for a product, and returns a value of it.
        clock: in seconds.

    Raises:
        Exception: what the framework raises, where nothing larger than the first product can be computed.
        Problem: for products that are not finite, take no time, or are too slow to tell one larger than the first.
    """
    best, side, fitting = 0.0, 0, LARGEST_SIDE
    while (larger := min(next_side(side, best), fitting)) > side:
        try:
            rate = _rate(of, fence, clock, larger)
        except Problem:
            raise
        except Exception:
            if larger > max(2 * side, FIRST_SIDE):  # a smaller one may fit
                fitting = larger // 2
                continue
            if side <= FIRST_SIDE:
                raise
            break
        best, side = max(best, rate), larger
    if side <= FIRST_SIDE:
        raise Problem("device", f"products in {of.arithmetic} are too slow to find a peak ({best:.3g} FLOP/s)")
    return best


def next_side(side: int, rate: float) -> int:
    """The largest side whose product takes PRODUCT_SECONDS at this rate, in FLOP/s; `side` itself where there is no larger."""
    if not side:
        return FIRST_SIDE
    larger = side
    while 2 * larger <= LARGEST_SIDE and 2 * (2 * larger) ** 3 <= PRODUCT_SECONDS * rate:
        larger *= 2
    if larger == side < SMALL_SIDE and 2 * (2 * side) ** 3 <= SMALL_SECONDS * rate:
        larger *= 2
    return larger


def _rate(of: Multiplication, fence: Callable[[Any], float], clock: Clock, side: int) -> float:
    left, right = (of.place(matrix) for matrix in _matrices(side))

    def seconds(count: int) -> float:
        product, start = left, clock()
        for _ in range(count):
            product = of.multiply(product, right)
        value = fence(product)
        taken = clock() - start
        if not math.isfinite(value):
            raise Problem("device", f"a product in {of.arithmetic} is {value}")
        return taken

    with of.setting():
        seconds(1)  # compiles, and chooses an algorithm
        spent = best = seconds(1)
        blocks = 1
        count = min(max(1, math.ceil(BLOCK_SECONDS / max(best, 1e-9))), MOST_PRODUCTS)
        while blocks < LEAST_BLOCKS or (blocks < BLOCKS and spent < SIDE_SECONDS):
            taken = seconds(count)
            spent, best, blocks = spent + taken, min(best, taken / count), blocks + 1
    if best <= 0:
        raise Problem("device", f"a product in {of.arithmetic} took {best:g} s")
    return 2.0 * side**3 / best


def _matrices(side: int) -> tuple[Any, Any]:
    """Any matrix, and one that keeps its size however often they are multiplied: no half precision overflows.

    The second is a projection of Householder's reflection, tiled; it takes no product of NumPy's, whose threads would go on
    beside the framework's. Values are drawn at random, as those of a model are: products of constants cost a GPU less power,
    and are faster than any training (Horace He, "Strangely, matrix multiplications on GPUs run faster when given
    'predictable' data", 2024).
    """
    import numpy

    tiles = side // FIRST_SIDE
    draw = numpy.random.Generator(numpy.random.PCG64(0))
    values = draw.standard_normal((FIRST_SIDE, FIRST_SIDE), dtype="float32")
    normal = draw.standard_normal(FIRST_SIDE, dtype="float32")
    normal *= math.sqrt(2 / float((normal**2).sum()))
    reflection = (numpy.eye(FIRST_SIDE, dtype="float32") - normal[:, None] * normal) / numpy.float32(tiles)
    return numpy.tile(values, (tiles, tiles)), numpy.tile(reflection, (tiles, tiles))
