"""How well pairs fit each candidate for the first slower commit; numbers in, numbers out.

Every pair trains one commit in turn with BAD, and its figure is the logarithm of BAD's time over the commit's. Before the
first slower commit its mean is the step; from that commit on it is 0, since the code is as slow as BAD's. Nobody knows the
step nor by how much pairs differ, so both are integrated out: the step with a flat prior, the variance with the scaled inverse
chi-squared prior of ``gate.ratio`` (Gelman et al. 2013, Bayesian Data Analysis, section 3.2). What is left is the
likelihood of each candidate, in which a pair that says little counts little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import fdtrc, ndtr, stdtrit

from ..gate.ratio import PRIOR_PAIR_DF, PRIOR_PAIR_SD, log_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOOD = -1
"""The index of GOOD, which comes before all candidates."""
LARGEST = 700.0
"""Just below the logarithm of the largest float."""
UNEVEN = 0.01
"""So seldom commits on one side of a single step differ by chance as much as is then told."""

Pair = tuple[Sequence[float], Sequence[float]]
"""Seconds per batch of each block of BAD and of a commit, in order; block i of both were neighbours."""
Seen = Mapping[int, Sequence[float]]
"""The figures of pairs by the index of their commit: 0 is the oldest candidate, `GOOD` is before it."""


def figure(pair: Pair) -> float:
    """The logarithm of BAD's time over the commit's. Raises `ValueError` as `gate.log_ratio` does."""
    return log_ratio([pair[0]], [pair[1]])[0]


def log_likelihoods(count: int, seen: Seen) -> NDArray[np.float64]:
    """The logarithm of each candidate's likelihood, up to a constant.

    Args:
        count: of candidates; the last one is BAD, which needs no pairs.
        seen: figures, those of `GOOD` among them.

    Returns:
        One number per candidate, the oldest first.
    """
    keys = sorted(key for key in seen if seen[key])
    numbers = np.cumsum([0, *(len(seen[key]) for key in keys)])
    sums = np.cumsum([0.0, *(sum(seen[key]) for key in keys)])
    squares = sum(x**2 for key in keys for x in seen[key])
    before = np.searchsorted(keys, np.arange(count))  # pairs of commits older than each candidate
    n, total = numbers[before], np.maximum(sums[before], 0.0)  # BAD is the slower one, so the step is no speedup
    scatter = PRIOR_PAIR_DF * PRIOR_PAIR_SD**2 + squares - total**2 / n
    return -0.5 * np.log(n) - 0.5 * (PRIOR_PAIR_DF + numbers[-1] - 1) * np.log(scatter)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Step:
    """What one commit changed, if it alone did: what a search goes by.

    Attributes:
        log: the logarithm of the time after over the time before.
        pair_sd: by how much pairs of the same two commits differ, as a share.
        uneven: whether commits on one side of it differ by more than noise, so that it is hardly the only one.
    """

    log: float
    pair_sd: float
    uneven: bool = False


def step_at(first: int, seen: Seen) -> Step:
    """The step, if `first` is the first slower commit. Raises `ZeroDivisionError` without a pair of an older one."""
    older = [figures for key, figures in seen.items() if figures and key < first]
    later = [figures for key, figures in seen.items() if figures and key >= first]
    before = sum(map(len, older))
    centre = sum(map(sum, older)) / before
    scatter = _squares(older, centre) + _squares(later, 0.0)
    variance = (PRIOR_PAIR_DF * PRIOR_PAIR_SD**2 + scatter) / (PRIOR_PAIR_DF + before + sum(map(len, later)) - 1)
    return Step(centre, math.sqrt(variance), _is_uneven(older, later, centre))


@dataclass(frozen=True)
class Change:
    """From one commit to another, by their own pairs alone, whatever other commits changed.

    Attributes:
        value: the time at the later one over that at the older one, less 1.
        low: end of its 95 % interval.
        high: the other one.
    """

    value: float
    low: float
    high: float


def change(seen: Seen, older: int, later: int, bad: int) -> Change:
    """The change between two commits that were compared, or of which the later one is BAD.

    Args:
        seen: figures, from which noise is learned too.
        older: index of a commit.
        later: of one after it.
        bad: of BAD, whose figure is 0.
    """
    groups = [figures for figures in seen.values() if figures]
    inside = sum(_squares([figures], _mean(figures)) for figures in groups)
    df = PRIOR_PAIR_DF + sum(map(len, groups)) - len(groups)
    variance = (PRIOR_PAIR_DF * PRIOR_PAIR_SD**2 + inside) / df
    centre, share = _mean(seen[older]), 1 / len(seen[older])
    if later != bad:
        centre, share = centre - _mean(seen[later]), share + 1 / len(seen[later])
    margin = float(stdtrit(df, 0.975)) * math.sqrt(variance * share)
    return Change(*(math.expm1(min(value, LARGEST)) for value in (centre, centre - margin, centre + margin)))


def mistaken(step: Step, pairs: int) -> float:
    """The chance that the mean of so many pairs lies nearer to the other side of the step."""
    return float(ndtr(-abs(step.log) / 2 * math.sqrt(pairs) / step.pair_sd))


def _mean(figures: Sequence[float]) -> float:
    return sum(figures) / len(figures)


def _squares(commits: Iterable[Sequence[float]], centre: float) -> float:
    return sum((x - centre) ** 2 for figures in commits for x in figures)


def _is_uneven(older: Sequence[Sequence[float]], later: Sequence[Sequence[float]], centre: float) -> bool:
    """Whether the commits of a side differ by more than their own pairs do: the F test of one-way analysis of variance."""
    commits = [*older, *later]
    inside = sum(_squares([figures], _mean(figures)) for figures in commits)
    inside_df = sum(map(len, commits)) - len(commits)
    between = _squares(older, centre) + _squares(later, 0.0) - inside
    between_df = len(commits) - 1
    if inside_df < 1 or between_df < 1 or inside <= 0:
        return False
    return float(fdtrc(between_df, inside_df, between / between_df * inside_df / inside)) < UNEVEN
