"""What one run says."""

from __future__ import annotations

import math

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


def test_the_lower_half_counts() -> None:
    assert estimate_run([3.0, 1.0, 2.0, 50.0]).seconds == 1.5
    assert estimate_run([3.0, 1.0, 2.0]).seconds == 1.5


def test_slow_steps_move_it_less_than_the_median() -> None:
    def spread(figure: str) -> float:
        figures = []
        for seed in range(200):
            random = RANDOM(seed)
            stolen = (random.random(25) < 0.6 * random.random()) * random.exponential(0.3, 25)
            samples = autocorrelated(seed, 25) * np.exp(stolen)
            figures.append(estimate_run(samples).seconds if figure == "ours" else float(np.median(samples)))
        return float(np.std(np.log(figures)))

    assert spread("ours") < 0.65 * spread("median")


def test_freezes_are_counted_though_the_figure_is_fine() -> None:
    estimate = estimate_run([0.1] * 20 + [1.01, 2.0, 0.99])
    assert (estimate.seconds, estimate.freezes, estimate.worst) == (pytest.approx(0.1), 2, 2.0)


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


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=60), st.integers(-20, 20))
def test_any_samples(samples: list[float], power: int) -> None:
    estimate = estimate_run(samples)
    assert min(samples) * 0.999 <= estimate.seconds <= np.median(samples) * 1.001
    assert estimate.lower_quartile <= estimate.upper_quartile <= estimate.worst == max(samples)
    scaled = estimate_run([sample * 2.0**power for sample in samples])
    assert scaled.seconds == estimate.seconds * 2.0**power
    assert (scaled.freezes, scaled.drift) == (estimate.freezes, estimate.drift)
