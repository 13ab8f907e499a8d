"""What one run says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.gate import estimate_run

RANDOM = np.random.default_rng


def autocorrelated(seed: int, count: int, sd: float = 0.03, lag: float = 0.5) -> np.ndarray:
    noise = RANDOM(seed).normal(0.0, sd, count)
    for i in range(1, count):
        noise[i] = lag * noise[i - 1] + math.sqrt(1 - lag**2) * noise[i]
    return np.exp(noise)


@pytest.mark.parametrize("samples", [[], [0.0], [1.0, -1.0], [math.nan, 1.0], [1.0, math.inf]])
def test_bad_samples(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        estimate_run(samples)


def test_one_sample() -> None:
    estimate = estimate_run([0.2])
    assert (estimate.seconds, estimate.lower_quartile, estimate.upper_quartile, estimate.worst) == (0.2, 0.2, 0.2, 0.2)
    assert (estimate.freezes, estimate.drift) == (0, 0.0)


def test_what_all_quarters_share_counts() -> None:
    assert estimate_run([3.0, 1.0, 2.0, 50.0]).seconds == 1.0
    assert estimate_run([1.0, 5.0, 5.0, 2.0, 1.5, 5.0, 9.0, 1.0]).seconds == 3.0  # of the first rank 1, of the second 5
    assert estimate_run([3.0, 1.0]).seconds == 1.0


@pytest.mark.parametrize("blocks", [10, 11, 20, 21, 33, 100])
@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_a_slow_quarter_and_freezes_are_left_out(blocks: int, frozen: int) -> None:
    samples = np.full(blocks, 0.1)
    samples[: blocks // 4] *= 3
    samples[-frozen:] *= 20  # of the last quarter
    assert estimate_run(samples.tolist()).seconds == pytest.approx(0.1)


@given(
    cycle=st.integers(2, 40),
    cycles=st.integers(4, 12),
    more=st.integers(0, 39),
    offset=st.integers(0, 39),
    growth=st.floats(0.05, 5.0),
)
def test_every_kth_step_counts_where_its_cycle_fits_four_times(
    cycle: int, cycles: int, more: int, offset: int, growth: float
) -> None:
    samples = np.full(cycle * cycles + more % cycle, 0.2)
    samples[offset % cycle :: cycle] *= 1 + growth * cycle
    assert estimate_run(samples.tolist()).seconds >= 0.2 * (1 + growth / 2)


def test_a_slow_spell_moves_it_less_than_others() -> None:
    def spread(figure: Callable[[np.ndarray], float]) -> float:
        figures = []
        for seed in range(200):
            random = RANDOM(seed)
            samples = autocorrelated(seed, 25)
            length = random.integers(0, 16)
            start = random.integers(0, 26 - length)
            samples[start : start + length] *= 1.5
            figures.append(figure(samples))
        return float(np.std(np.log(figures)))

    def lower_half(samples: np.ndarray) -> float:
        return float(np.sort(samples)[:13].mean())

    ours = spread(lambda samples: estimate_run(samples).seconds)
    assert ours < 0.7 * spread(lower_half)
    assert ours < 0.4 * spread(np.mean)
    assert ours < 0.25 * spread(np.median)


def test_freezes_are_counted_though_the_figure_is_fine() -> None:
    estimate = estimate_run([0.1] * 20 + [1.01, 2.0, 0.99])
    assert (estimate.seconds, estimate.freezes, estimate.worst) == (pytest.approx(0.1), 2, 2.0)
    assert estimate_run([1.0] * 20 + [10.0]).freezes == 1


def test_a_leak_is_drift() -> None:
    samples = np.linspace(1.0, 1.3, 40) * np.exp(RANDOM(1).normal(0.0, 0.02, 40))
    assert estimate_run(samples).drift == pytest.approx(0.3, abs=0.06)


def test_steps_that_become_faster_drift_downwards() -> None:
    assert estimate_run(np.linspace(1.3, 1.0, 40)).drift < -0.2


def test_thousands_of_samples_drift_too() -> None:
    assert estimate_run(np.linspace(1.0, 1.3, 20_001)).drift == pytest.approx(0.28, abs=0.04)


@pytest.mark.parametrize("count", [10, 25, 60])
def test_noise_is_no_drift(count: int) -> None:
    false = sum(estimate_run(autocorrelated(seed, count)).drift != 0.0 for seed in range(400))
    assert false <= 6


@pytest.mark.parametrize("count", [10, 40, 100, 200])
def test_clocks_that_swing_slowly_are_no_drift(count: int) -> None:
    for swings in (0.5, 1.0, 1.5, 2.0):
        samples = 1 + 0.1 * np.sin(2 * np.pi * swings * np.arange(count) / count)
        assert estimate_run(samples).drift == 0.0


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=60), st.integers(-20, 20))
def test_any_samples(samples: list[float], power: int) -> None:
    estimate = estimate_run(samples)
    a_quarter = samples[: math.ceil(len(samples) / 4)]
    assert min(samples) * 0.999 <= estimate.seconds <= np.mean(a_quarter) * 1.001
    assert estimate.lower_quartile <= estimate.upper_quartile <= estimate.worst == max(samples)
    scaled = estimate_run([sample * 2.0**power for sample in samples])
    assert scaled.seconds == estimate.seconds * 2.0**power
    assert (scaled.freezes, scaled.drift) == (estimate.freezes, estimate.drift)
