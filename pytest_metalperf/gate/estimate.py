"""What one run says: its best single figure, its tail, and whether its steps slow down.

The figure is what the four quarters of a run have in common: the blocks of each are sorted, and of every rank the fastest
quarter counts. In the language of stochastic orders it is the mean of the greatest lower bound of four distributions
(Shaked and Shanthikumar 2007, Stochastic Orders, section 1.A). A freeze, or a slow spell in some quarters, is left out, since
what a shared machine does to a step mostly makes it slower. What every quarter shows counts in full: a slowdown of every
k-th step moves the figure wherever its cycle fits four times into the run (``tests/gates/every_kth.py``), which the mean of
the lower half, the figure before this one, hides from steps that are blocks of their own.

On 180 recorded runs (``tests/gates/estimators.py``) it spreads between runs of a session as the others do. On a busy machine
with two cores the standard deviation of the fine-tuned head, MobileNetV3 and style transfer is 10.7, 12.4 and 13.6 % (mean of
the lower half: 11.1, 12.9 and 14.5; mean of all: 10.6, 12.6 and 16.0); on a GPU machine 5.7, 6.9 and 11.5 % (5.8, 7.4, 11.5;
5.3, 4.5, 9.6).

What the figure leaves out is told apart: the worst sample, freezes of ten steps and more, and drift, the slope of Theil and
Sen (Sen 1968, Journal of the American Statistical Association 63:1379) where Kendall's rank test finds one, with its
variance corrected for autocorrelation (Hamed and Rao 1998, Journal of Hydrology 204:182, here for the first lag only).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ESTIMATOR", "RunEstimate", "estimate_run"]

ESTIMATOR = "mean of what quarters share"
"""The name of a run's figure in stored baselines; figures of different names are never compared."""

PARTS = 4  # fewer keep more of the spikes that come by chance, more need cycles to be shorter
FREEZE = 10.0
FEWEST_FOR_DRIFT = 8
MOST_FOR_DRIFT = 200
DRIFT_Z = 3.3  # standard deviations: a few false drifts in a thousand runs


@dataclass(frozen=True)
class RunEstimate:
    """The figures of one run: times in seconds per batch, and the relative growth of the step time over the run."""

    seconds: float
    lower_quartile: float
    upper_quartile: float
    worst: float
    freezes: int
    drift: float


def estimate_run(samples: Sequence[float]) -> RunEstimate:
    """Estimate a run from its samples: seconds per batch of each block, in order.

    ``freezes`` counts blocks of at least ten times ``seconds``; ``drift`` is 0.0 where none can be told from noise. Raises
    ``ValueError`` for no samples, and for samples that are not positive and finite.
    """
    values = np.asarray(samples, dtype=float)
    if values.size == 0:
        raise ValueError("a run needs at least one sample")
    if not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError("samples must be positive finite numbers of seconds per batch")
    seconds = float(shared(values))
    lower, upper = (float(quartile) for quartile in np.quantile(values, (0.25, 0.75)))
    return RunEstimate(
        seconds=seconds,
        lower_quartile=lower,
        upper_quartile=upper,
        worst=float(values.max()),
        freezes=int(np.count_nonzero(values >= FREEZE * seconds)),
        drift=_drift(values / seconds),
    )


def shared(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The figure of runs of equal length: samples in order on the last axis, seconds per batch."""
    return np.min(quarters(samples), axis=0).mean(axis=-1)  # type: ignore[no-any-return]


def quarters(samples: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Each quarter's samples in the order of their size.

    They are of one length, such that every block lies in one; where that does not come out even they overlap.
    """
    count = samples.shape[-1]
    parts = min(PARTS, count)
    length = -(-count // parts)
    starts = np.linspace(0, count - length, parts).round().astype(int)
    return [np.sort(samples[..., start : start + length], axis=-1) for start in starts]


def _drift(values: NDArray[np.float64]) -> float:
    if values.size > MOST_FOR_DRIFT:
        values = np.array([np.median(part) for part in np.array_split(values, MOST_FOR_DRIFT)])
    count = values.size
    if count < FEWEST_FOR_DRIFT:
        return 0.0
    first, second = np.triu_indices(count, 1)
    steps = values[second] - values[first]
    slope = float(np.median(steps / (second - first)))
    residuals = values - slope * np.arange(count)
    ranks = np.argsort(np.argsort(residuals)) - (count - 1) / 2
    correlation = min(0.9, max(0.0, float(ranks[1:] @ ranks[:-1] / (ranks @ ranks)) + 1 / count))
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + correlation) / (1 - correlation)
    tau = float(np.sign(steps).sum())
    return slope * (count - 1) if abs(tau) >= DRIFT_Z * math.sqrt(variance) else 0.0
