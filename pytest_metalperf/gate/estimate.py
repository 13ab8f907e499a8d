"""What one run says: its best single figure, its tail, and whether its steps slow down.

The figure is the mean of the lower half of the samples. What a shared machine does to a step mostly makes it slower, so
the upper half tells more of other work than of the step. No figure is best everywhere (``tests/gates/estimators.py``, 180
recorded runs). On a busy machine with two cores lower ones spread less between runs of a session (1.48 times the median
deviation; mean of the lowest quarter, lower half, median: 1.7, 2.2, 2.9 % of the fine-tuned head; 2.3, 3.4, 4.9 of
MobileNetV3; 1.5, 1.8, 2.0 of style transfer); on a GPU machine whose steps jump between two speeds higher ones do (5.6,
5.9, 4.6; 5.8, 2.9, 2.6; 8.9, 7.7, 3.9 %). Of these three the lower half is second in five of the six cases.

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

ESTIMATOR = "lower-half mean"
"""The name of a run's figure in stored baselines; figures of different names are never compared."""

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
    seconds = float(np.sort(values)[: (values.size + 1) // 2].mean())
    lower, upper = (float(quartile) for quartile in np.quantile(values, (0.25, 0.75)))
    return RunEstimate(
        seconds=seconds,
        lower_quartile=lower,
        upper_quartile=upper,
        worst=float(values.max()),
        freezes=int(np.count_nonzero(values >= FREEZE * seconds)),
        drift=_drift(values / seconds),
    )


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
