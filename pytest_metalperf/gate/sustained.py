"""How much slower a long run is at its end than at its start.

Both ends are stretches of one process, so nothing but the machine's own state (clocks, heat, power) and noise differs
between them. Their figure is the plain mean, all time over all batches: a freeze or a spell at a low clock is what such a run
looks for, so nothing is clipped. Its variance is that of batch means, as in ``ratio``, here of at most ten batches: clocks
that are held back go up and down over seconds, and only batches longer than that are independent (Schmeiser 1982,
Operations Research 30:556, finds 10 to 30 batches enough). The degrees of freedom of the two are Satterthwaite's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Sustained", "judge_sustained", "last_over_first"]

STRETCH_SECONDS = 60.0
MOST_BATCHES = 10
LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Sustained:
    """The ends of a long run in seconds per batch, their length in seconds, and last over first with its interval."""

    first: float
    last: float
    ratio: float
    low: float
    high: float
    stretch: float


def last_over_first(samples: Sequence[float], batches_per_block: int = 1, confidence: float = 0.95) -> Sustained:
    """Compare the last minute of a run with its first, or its last third with its first where it is under three minutes.

    ``samples`` are seconds per batch of each block, in order. A stretch has at least two blocks, and no block belongs to
    both. Raises ``ValueError`` for fewer than four samples, and for those that are not positive and finite.
    """
    values = np.asarray(samples, dtype=float)
    if values.size < LEAST_BLOCKS or not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(f"a sustained run needs at least {LEAST_BLOCKS} samples, all positive and finite")
    stretch = min(STRETCH_SECONDS, float(values.sum()) * batches_per_block / 3)
    first, last = (_first(side, batches_per_block, stretch) for side in (values, values[::-1]))
    variance = first.variance + last.variance
    margin = 0.0
    if variance > 0:
        df = variance**2 / sum(one.variance**2 / one.df for one in (first, last))
        margin = float(stdtrit(df, (1 + confidence) / 2)) * math.sqrt(variance)
    ratio = last.mean / first.mean
    low, high = ratio * math.exp(-margin), ratio * math.exp(min(margin, 700.0))
    return Sustained(first.mean, last.mean, ratio, low, high, stretch)


def judge_sustained(found: Sustained, tolerance: float) -> str:
    """`slower` where the whole interval lies beyond the tolerance, `within` where it lies inside, else `inconclusive`."""
    if found.low > 1 + tolerance:
        return "slower"
    return "within" if found.high <= 1 + tolerance else "inconclusive"


@dataclass(frozen=True)
class _Mean:
    mean: float
    variance: float  # of its logarithm
    df: int


def _first(values: NDArray[np.float64], batches_per_block: int, stretch: float) -> _Mean:
    """The mean of the blocks that end within the stretch: two at least, half of them at most."""
    inside = int(np.count_nonzero(np.cumsum(values) * batches_per_block <= stretch * (1 + 1e-9)))  # sums of floats
    values = values[: min(values.size // 2, max(2, inside))]
    mean = float(values.mean())
    batches = [part.mean() for part in np.array_split(values, min(MOST_BATCHES, max(2, round(math.sqrt(values.size)))))]
    variance = float(np.var(batches, ddof=1)) / len(batches) / mean**2
    return _Mean(mean, variance, len(batches) - 1)
