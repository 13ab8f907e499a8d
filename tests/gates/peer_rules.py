"""Peers that are no Python libraries, restated from their sources: criterion, nvbench, bencher.

Each rule takes the samples of the stored runs and of the fresh runs and says ``slower``, ``inconclusive`` where the tool
has a word for it, or ``within`` for all else, improvements too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from trial import Samples

CRITERION_RESAMPLES = 1000
CRITERION_SIGNIFICANCE = 0.05
CRITERION_NOISE = 0.01
NVBENCH_GAP = 0.005
NVBENCH_SAME = 0.005
NVBENCH_COVERAGE = 0.97
BENCHER_BOUNDARY = 0.99


def criterion(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """criterion.rs 0.7.0, defaults (src/analysis/compare.rs, src/stats/univariate/mixed.rs, src/report.rs).

    Regressed: the bootstrap of Welch's t over the pooled samples gives p < 0.05, and the 95 % bootstrap interval of the
    relative mean lies above 1 %. 1,000 resamples, the fewest that criterion recommends, instead of 100,000.
    """
    before, after = np.concatenate(old), np.concatenate(new)
    random = np.random.default_rng(0)
    pool = np.concatenate([after, before])
    mixed = pool[random.integers(0, pool.size, (CRITERION_RESAMPLES, pool.size))]
    t = _welch(mixed[:, : after.size], mixed[:, after.size :])
    below = int(np.count_nonzero(t < _welch(after[None, :], before[None, :])))
    if 2 * min(below, CRITERION_RESAMPLES - below) / CRITERION_RESAMPLES >= CRITERION_SIGNIFICANCE:
        return "within"
    means = [
        side[random.integers(0, side.size, (CRITERION_RESAMPLES, side.size))].mean(axis=1) for side in (after, before)
    ]
    return "slower" if np.quantile(means[0] / means[1] - 1, 0.025) > CRITERION_NOISE else "within"


def _welch(a: NDArray, b: NDArray) -> NDArray:
    error = np.sqrt(a.var(axis=1, ddof=1) / a.shape[1] + b.var(axis=1, ddof=1) / b.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a.mean(axis=1) - b.mean(axis=1)) / error


def nvbench_legacy(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """nvbench's classic rule (python/scripts/nvbench_compare.py at 66212f1): ``|difference of means| > min(noise)``."""
    before, after = np.concatenate(old), np.concatenate(new)
    noise = min(before.std(ddof=1) / before.mean(), after.std(ddof=1) / after.mean())
    if noise == 0:
        return "inconclusive"
    return "slower" if after.mean() / before.mean() - 1 > noise else "within"


def nvbench_robust(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """nvbench's newer rule (docs/nvbench_compare_robust.md and its script at 66212f1), default preset, with ``--jsonbin``.

    ``SLOW`` where [minimum, third quartile] lies above the other by at least 0.5 %; ``SAME`` where 97 % of either side's
    samples have a neighbour within 0.5 % on the other side; else ``AMBG``, counted as inconclusive. The confirmation in
    clock cycles is taken as given, as on a machine with a constant clock.
    """
    before, after = np.sort(np.concatenate(old)), np.sort(np.concatenate(new))
    if after[0] / _third_quartile(before) - 1 >= NVBENCH_GAP or before[0] / _third_quartile(after) - 1 >= NVBENCH_GAP:
        return "slower" if after[0] > before[0] else "within"
    distances = np.abs(np.log(before)[:, None] - np.log(after)[None, :]) <= math.log1p(NVBENCH_SAME)
    covered = min(distances.any(axis=0).mean(), distances.any(axis=1).mean())
    return "within" if covered >= NVBENCH_COVERAGE else "inconclusive"


def _third_quartile(ordered: Samples) -> float:
    return float(ordered[(75 * (ordered.size - 1) + 50) // 100])


def bencher(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """bencher 0.6.12's t test (lib/bencher_boundary/src/limits/mod.rs) with the upper boundary of its guides, 0.99.

    A prediction interval: the history's mean plus Student's quantile times ``sd * sqrt(1 + 1/n)`` at n - 1 degrees of
    freedom. One figure a run goes in, its mean. Without variance there is no boundary and no alert.
    """
    history = np.array([run.mean() for run in old])
    runs, spread = history.size, history.std(ddof=1)
    if spread == 0:
        return "within"
    boundary = history.mean() + stdtrit(runs - 1, BENCHER_BOUNDARY) * spread * math.sqrt(1 + 1 / runs)
    return "slower" if np.concatenate(new).mean() > boundary else "within"
