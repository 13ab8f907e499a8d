"""Ratios of workers that took turns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem, t

from pytest_metalperf.gate import ratio_of_pairs


def pairs(seed: int, count: int, ratio: float = 1.0, pair_sd: float = 0.01, block_sd: float = 0.05, blocks: int = 25):
    """Blocks with slow spells that both workers share, autocorrelated noise of their own, and freezes."""
    random = np.random.default_rng(seed)

    def own() -> np.ndarray:
        noise = random.normal(0.0, block_sd, blocks)
        for i in range(1, blocks):
            noise[i] = 0.5 * noise[i - 1] + math.sqrt(0.75) * noise[i]
        return noise + (random.random(blocks) < 0.03) * 2.0

    over, of = [], []
    for _ in range(count):
        spell = np.cumsum(random.normal(0.0, 0.05, blocks))
        over.append(ratio * np.exp(spell + own() + random.normal(0.0, pair_sd)))
        of.append(np.exp(spell + own()))
    return over, of


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("pair_sd", [0.0, 0.02])
def test_intervals_hold_the_truth(count: int, pair_sd: float) -> None:
    ratios = [ratio_of_pairs(*pairs(seed, count, 1.5, pair_sd)) for seed in range(300)]
    assert sum(ratio.low <= 1.5 <= ratio.high for ratio in ratios) >= 0.93 * len(ratios)


def test_ten_percent_is_found_on_a_noisy_machine() -> None:
    ratios = [ratio_of_pairs(*pairs(seed, 5, 1.10, block_sd=0.08, pair_sd=0.02)) for seed in range(200)]
    assert sum(ratio.low > 1.0 for ratio in ratios) >= 0.9 * len(ratios)
    assert np.mean([ratio.value for ratio in ratios]) == pytest.approx(1.10, abs=0.01)


def test_a_freeze_changes_little() -> None:
    over, of = pairs(1, 3)
    clean = ratio_of_pairs(over, of)
    over[0][7] *= 200
    frozen = ratio_of_pairs(over, of)
    assert frozen.value == pytest.approx(clean.value, rel=0.02)
    assert frozen.high < clean.high * 1.05


def test_more_confidence_is_wider() -> None:
    low, high = (ratio_of_pairs(*pairs(2, 3), confidence=confidence) for confidence in (0.9, 0.99))
    assert high.low < low.low < low.value == high.value < low.high < high.high
    assert (low.confidence, high.confidence) == (0.9, 0.99)


def test_one_pair_is_not_believed_more_closely_than_processes_differ() -> None:
    ratio = ratio_of_pairs([[1.0] * 100], [[1.0] * 100])
    assert (ratio.value, ratio.high > 1.05, ratio.low < 0.95) == (1.0, True, True)


def test_inside_a_pair_the_noise_is_that_of_batch_means() -> None:
    def squared_margin(*ratios: float) -> float:
        found = ratio_of_pairs([np.exp(ratios)], [[1.0] * len(ratios)])
        return math.log(found.high / found.value) ** 2

    noise = squared_margin(0.0, 0.01, 0.02, 0.03) - squared_margin(0.015, 0.015, 0.015, 0.015)
    assert noise == pytest.approx((t.ppf(0.975, 1) * sem([0.005, 0.025])) ** 2)


@pytest.mark.parametrize(
    ("over", "of"),
    [
        ([], []),
        ([[1.0]], []),
        ([[1.0]], [[1.0], [1.0]]),
        ([[]], [[]]),
        ([[1.0]], [[]]),
        ([[0.0]], [[1.0]]),
        ([[1.0]], [[math.nan]]),
    ],
)
def test_bad_pairs(over: list[list[float]], of: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"a ratio needs|samples must be"):
        ratio_of_pairs(over, of)


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_what_is_no_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        ratio_of_pairs([[1.0]], [[1.0]], confidence=confidence)


samples = st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=30)


@given(st.lists(st.tuples(samples, samples), min_size=1, max_size=5))
def test_the_other_way_round_is_the_inverse(both: list[tuple[list[float], list[float]]]) -> None:
    over, of = zip(*both, strict=True)
    there, back = ratio_of_pairs(over, of), ratio_of_pairs(of, over)
    assert there.low <= there.value <= there.high
    assert math.log(there.value) == pytest.approx(-math.log(back.value), abs=1e-9)
    assert math.log(there.low) == pytest.approx(-math.log(back.high), rel=1e-6, abs=1e-9)
