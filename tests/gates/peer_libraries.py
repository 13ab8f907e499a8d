"""Peers that are Python libraries, called: pytest-benchmark, asv, pyperf, and SciPy as Google Benchmark's script calls it.

Each rule takes the samples of the stored runs and of the fresh runs and says ``slower`` or not; improvements count as not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyperf
from asv.commands.compare import _is_result_better
from asv_runner.statistics import compute_stats
from pyperf._compare import CompareData, CompareResult
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import PercentageRegressionCheck
from scipy.stats import mannwhitneyu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trial import Samples

    Rule = Callable[[Sequence[Samples], Sequence[Samples]], str]

ASV_FACTOR = 1.1
UTEST_ALPHA = 0.05


def pytest_benchmark(field: str, percent: float) -> Rule:
    """``--benchmark-compare-fail=FIELD:PERCENT%`` of pytest-benchmark: its check on its statistics of one run each."""
    check = PercentageRegressionCheck(field, percent)

    def rule(old: Sequence[Samples], new: Sequence[Samples]) -> str:
        return "slower" if check.fails(_statistics(new), _statistics(old)) else "within"

    return rule


def _statistics(runs: Sequence[Samples]) -> dict[str, float]:
    statistics = Stats()
    for sample in np.concatenate(runs).tolist():
        statistics.update(sample)
    return {"mean": statistics.mean, "min": statistics.min}


def asv_compare(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """``asv compare`` with its default factor, on results recorded with ``--record-samples``.

    Samples of all processes are pooled, as asv pools its rounds. The new result is worse when the old one is better by the
    factor and a Mann-Whitney test (p < 0.002) tells them apart.
    """
    old_samples, new_samples = np.concatenate(old).tolist(), np.concatenate(new).tolist()
    old_value, old_stats = compute_stats(old_samples, 1)
    new_value, new_stats = compute_stats(new_samples, 1)
    worse = _is_result_better(old_value, new_value, (old_stats, old_samples), (new_stats, new_samples), ASV_FACTOR)
    return "slower" if worse else "within"


def pyperf_compare(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """``pyperf compare_to``: a two-sided t test at 95 % on the values of all processes.

    Where the two sides differ in their number of values pyperf takes any difference for significant. Its users fix that
    number, so every run is cut to the shortest one's length.
    """
    length = min(run.size for run in (*old, *new))
    result = CompareResult(CompareData("old", _benchmark(old, length)), CompareData("new", _benchmark(new, length)))
    return "slower" if result.significant and result.norm_mean > 1 else "within"


def _benchmark(runs: Sequence[Samples], length: int) -> pyperf.Benchmark:
    return pyperf.Benchmark(
        [pyperf.Run(run[:length].tolist(), metadata={"name": "step"}, collect_metadata=False) for run in runs]
    )


def google_benchmark(old: Sequence[Samples], new: Sequence[Samples]) -> str:
    """The U test of Google Benchmark's ``compare.py`` (tools/gbench/report.py at 267a1115), batches as repetitions.

    It reports a p-value and the relative change of the mean, and leaves the verdict to the reader: ``slower`` here means
    p < 0.05, its default, and a larger mean.
    """
    before, after = np.concatenate(old), np.concatenate(new)
    significant = mannwhitneyu(before, after, alternative="two-sided").pvalue < UTEST_ALPHA
    return "slower" if significant and after.mean() > before.mean() else "within"
