"""How many times faster one of two workers is that took turns, block by block.

Blocks taken in turns share the machine's slow minutes, so the logarithm of the ratio of neighbouring blocks is free of
them. Freezes are clipped, but not to less than all quarters of the blocks reach, as in ``estimate``: a step that is dearer now
and then counts. What is left has two parts. Inside a pair of workers the noise of the mean is that of batch
means (Law and Kelton 2000, Simulation Modeling and Analysis, section 9.5.3), because neighbouring blocks are not
independent. Between pairs each process keeps a speed of its own (memory layout, compiled code), which no number of blocks
averages out; a few pairs hardly know it, so their variance is moderated, as in ``noise``, by one of 2 % beyond what is
seen inside the pairs. That is worth one degree of freedom only: where processes differ by more than it says, two or three
pairs must be able to show it. It is also all there is when only one pair was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from .estimate import quarters

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PAIR_ESTIMATOR", "Ratio", "ratio_of_pairs"]

PAIR_ESTIMATOR = "mean of log ratios, clipped by quarters"
"""The name of a pair's ratio in stored baselines, as `estimate.ESTIMATOR` is of a run's figure."""

PRIOR_PAIR_SD = 0.02
PRIOR_PAIR_DF = 1
CLIP = 4.5  # median absolute deviations, three standard deviations of normal noise


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its interval at the stated confidence."""

    value: float
    low: float
    high: float
    confidence: float


def ratio_of_pairs(over: Sequence[Sequence[float]], of: Sequence[Sequence[float]], confidence: float = 0.95) -> Ratio:
    """How many times faster ``of`` is than ``over``.

    One inner sequence per pair of fresh workers: seconds per batch of each block, in order; block i of both workers were
    neighbours. Raises ``ValueError`` for no pairs, pairs without a partner or blocks, and samples that are not positive
    and finite.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence!r}")
    centre, error, df = log_ratio(over, of)
    margin = float(stdtrit(df, (1 + confidence) / 2)) * error
    high = math.exp(min(centre + margin, 700.0))  # just below the logarithm of the largest float
    return Ratio(math.exp(centre), math.exp(centre - margin), high, confidence)


def log_ratio(over: Sequence[Sequence[float]], of: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The logarithm of ``over / of``, its standard error and the degrees of freedom of that; raises as above."""
    if not over or len(over) != len(of):
        raise ValueError("a ratio needs the same number of runs on both sides, at least one")
    pairs = np.array([_pair(above, below) for above, below in zip(over, of, strict=True)])
    centre, inside = (float(mean) for mean in pairs.mean(axis=0))
    df = PRIOR_PAIR_DF + len(pairs) - 1
    between = float(np.square(pairs[:, 0] - centre).sum())
    variance = max(inside, (PRIOR_PAIR_DF * (inside + PRIOR_PAIR_SD**2) + between) / df)
    return centre, math.sqrt(variance / len(pairs)), df


def _pair(over: Sequence[float], of: Sequence[float]) -> tuple[float, float]:
    """The mean log ratio of one pair's blocks, outliers clipped, and its variance."""
    count = min(len(over), len(of))
    samples = np.array([over[:count], of[:count]], dtype=float)
    if count == 0 or not np.all(np.isfinite(samples) & (samples > 0)):
        raise ValueError("samples must be positive finite numbers of seconds per batch, at least one of each worker")
    ratios = np.log(samples[0]) - np.log(samples[1])
    if count == 1:
        return float(ratios[0]), 0.0
    middle = np.median(ratios)
    spread = CLIP * np.median(np.abs(ratios - middle))
    parts = quarters(ratios)
    lowest, highest = max(part[0] for part in parts), min(part[-1] for part in parts)
    ratios = np.clip(ratios, min(middle - spread, lowest), max(middle + spread, highest))
    batches = [batch.mean() for batch in np.array_split(ratios, max(2, round(math.sqrt(count))))]
    return float(ratios.mean()), float(np.var(batches, ddof=1)) / len(batches)
