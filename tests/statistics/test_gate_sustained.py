"""The gate of sustained runs: last over first, with an interval that keeps its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from pytest_metalperf.gate import Sustained, judge_sustained, last_over_first

sample = st.floats(1e-4, 1e2)


def test_the_last_minute_over_the_first():
    samples = [0.1] * 600 + [0.3] * 300 + [0.12] * 500  # 60 s, 90 s, 60 s
    found = last_over_first(samples)
    assert (found.first, found.last, found.stretch) == (pytest.approx(0.1), pytest.approx(0.12), 60.0)
    assert (found.ratio, found.low, found.high) == (pytest.approx(1.2),) * 3


def test_a_third_of_a_run_under_three_minutes():
    found = last_over_first([0.1] * 300 + [0.1] * 300 + [0.2] * 150)
    assert found.stretch == pytest.approx(30)
    assert found.ratio == pytest.approx(2)


def test_blocks_of_several_batches():
    assert last_over_first([0.01] * 1200 + [0.02] * 600, 10).stretch == pytest.approx(60.0)


def test_long_steps_are_two_blocks_at_each_end():
    found = last_over_first([50, 50, 70, 70])
    assert (found.first, found.last) == (50, 70)


@pytest.mark.parametrize(("first", "last"), [([50, 51], [70, 74]), ([50, 50.01], [60, 61]), ([50, 58], [50, 44])])
def test_of_two_blocks_each_the_interval_is_that_of_welch(first, last):
    found = last_over_first([*first, *last])
    relative = [np.array(side) / np.mean(side) for side in (first, last[::-1])]
    welch = ttest_ind(*relative, equal_var=False).confidence_interval(0.95)
    assert math.log(found.high / found.ratio) == pytest.approx(welch.high)
    assert math.log(found.ratio / found.low) == pytest.approx(welch.high)


@given(st.lists(sample, min_size=4, max_size=60), st.integers(1, 20))
def test_the_interval_holds_the_ratio_and_turns_with_the_run(samples, per_block):
    found, back = last_over_first(samples, per_block), last_over_first(samples[::-1], per_block)
    assert 0 < found.low <= found.ratio * (1 + 1e-12)
    assert found.ratio <= found.high * (1 + 1e-12)
    assert back.ratio == pytest.approx(1 / found.ratio)
    assert back.low == pytest.approx(1 / found.high)


@given(st.lists(sample, min_size=4, max_size=40), st.floats(0.01, 100))
def test_a_slower_clock_changes_no_ratio_of_a_short_run(samples, factor):
    total = sum(samples)
    if total * max(1.0, factor) < 180:
        assert last_over_first([factor * one for one in samples]).ratio == pytest.approx(last_over_first(samples).ratio)


def test_a_steady_run_is_rarely_called_slower_and_throttling_is_seen():
    random = np.random.default_rng(1)
    alarms = seen = inside = 0
    for _ in range(300):
        noise = np.zeros(1500)  # blocks that remember the last: 0.8 of it
        for i in range(1, 1500):
            noise[i] = 0.8 * noise[i - 1] + 0.02 * random.standard_normal()
        steady = 0.1 * np.exp(noise)
        throttled = steady * np.linspace(1, 1.3, 1500)
        alarms += judge_sustained(last_over_first(steady), 0.02) == "slower"
        seen += judge_sustained(last_over_first(throttled), 0.1) == "slower"
        found = last_over_first(steady)
        inside += found.low <= 1 <= found.high
    assert alarms == 0
    assert seen == 300
    assert 0.9 <= inside / 300 <= 0.99


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.11, 1.2, "slower"),
        (1.0, 1.1, "within"),
        (0.7, 0.8, "within"),
        (1.05, 1.15, "inconclusive"),
        (1.1, 1.2, "inconclusive"),
    ],
)
def test_the_whole_interval_decides(low, high, verdict):
    assert judge_sustained(Sustained(1, 1, (low + high) / 2, low, high, 60), 0.1) == verdict


@pytest.mark.parametrize("samples", [[], [1.0] * 3, [1, 1, 1, 0], [1, 1, 1, float("nan")], [1, 1, 1, float("inf")]])
def test_what_is_no_run_is_refused(samples):
    with pytest.raises(ValueError, match="at least 4 samples, all positive and finite"):
        last_over_first(samples)
