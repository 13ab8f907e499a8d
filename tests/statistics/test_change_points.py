"""Change points of a history: what is found, what is seen where nothing changed, and that the model is the model.

`tests/speed/change_points.py` prints the whole table; here stands a short form of it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("ruptures")
sys.path.append(str(Path(__file__).parents[1] / "speed"))

import change_points as trials

from pytest_metalperf.history import change_points as module
from pytest_metalperf.history.change_points import NoRuptures, find_steps

HOURS = np.repeat(np.arange(12), [1, 4, 2, 1, 5, 3, 3, 4, 1, 2, 2, 2])


def ragged(seed: int, step: float = 0.0, at: int = 13) -> list[list[float]]:
    """Points of one to three runs, in hours of one to five points."""
    random = np.random.default_rng(seed)
    levels = 0.02 * random.standard_normal(12)[HOURS] + math.log1p(step) * (np.arange(30) >= at)
    return [
        np.exp(level + 0.01 * random.standard_normal(1 + number % 3)).tolist() for number, level in enumerate(levels)
    ]


@pytest.mark.parametrize(
    ("row", "least"),
    [
        (trials.Row(0.01, 0.0, 1), 0.95),
        (trials.Row(0.02, 0.0, 4), 0.95),
        (trials.Row(0.01, 0.02, 1), 0.95),
        (trials.Row(0.01, 0.02, 4), 0.6),  # where one finds 89 % who knows the noise
    ],
    ids=str,
)
def test_a_step_of_5_percent_is_found_and_none_where_nothing_changed(row, least):
    got = trials.figures(row, 40, 0.05, 10)
    assert got["found"] >= least
    assert got["false"] <= 2 / 40  # of a thousand it is 0.6 % or less
    assert got["more"] <= 2 / 40
    assert got["interval"] >= 0.9
    assert got["within"] >= 0.9


def test_a_slow_week_is_two_steps():
    random = np.random.default_rng(3)
    levels = 0.01 * random.standard_normal(60) + 0.06 * ((np.arange(60) >= 20) & (np.arange(60) < 27))
    found = find_steps(np.exp(levels)[:, None].tolist(), list(range(60)))
    assert [one.change for one in found] == pytest.approx([0.062, -0.058], abs=0.015)
    assert [abs(one.place - truth) <= 1 for one, truth in zip(found, (20, 27), strict=True)] == [True, True]


def test_a_slow_hour_with_many_commits_is_none():
    levels = 0.002 * np.random.default_rng(4).standard_normal(60)
    hours = np.arange(60) // 4
    slow = np.where(hours == 7, 0.05, 0.0)
    assert find_steps(np.exp(levels + slow)[:, None].tolist(), hours.tolist()) == []


def test_without_noise_a_change_by_a_thousandth_is_none_and_one_by_a_tenth_is_a_step():
    assert find_steps([[0.1]] * 10 + [[0.1001]] * 10, list(range(20))) == []
    (found,) = find_steps([[0.1]] * 10 + [[0.11]] * 10, list(range(20)))
    assert (found.place, found.first, found.last) == (10, 10, 10)
    assert found.change_low < 0.1 < found.change_high


def test_the_scan_is_the_model_written_out():
    """Generalised least squares by matrices, on hours of all sizes."""
    points = ragged(1, 0.05)
    series = module._Series(points, HOURS.tolist())
    runs = np.array([len(one) for one in points])
    values = np.array([np.log(one).mean() for one in points])
    values -= values.mean()
    for number, share in enumerate(module.SHARES):
        covariance = np.diag(1 / runs) + share * (HOURS[:, None] == HOURS)
        weights = np.linalg.inv(covariance)
        design = (np.arange(30)[:, None] >= np.array([0, 7, 13])).astype(float)
        inner = design.T @ weights @ design
        sizes = np.linalg.solve(inner, design.T @ weights @ values)
        rest = values - design @ sizes
        found = series._fit([7, 13])
        assert found[0][number] == pytest.approx(sizes, abs=1e-12)
        df = runs.sum() - 3
        assert found[2][number] == pytest.approx(rest @ weights @ rest + series.within + df * 1e-6)
        columns = (np.arange(30)[:, None] >= np.arange(1, 30)).astype(float)
        ones = np.ones(30)
        free = columns - np.outer(ones, ones @ weights @ columns / (ones @ weights @ ones))
        inner = free.T @ weights @ free
        spread = np.sqrt(np.diag(inner))
        assert series.alike[number] == pytest.approx(np.diag(inner / np.outer(spread, spread), 1), abs=1e-9)
    start, probable = series._where([7, 13], 1)
    whole = [module.logsumexp(series._fit([7, place])[3]) for place in range(start, start + probable.size)]
    assert probable == pytest.approx(np.exp(whole - module.logsumexp(whole)), abs=1e-9)


def test_the_bound_over_all_places_lies_between_one_place_and_all_of_them():
    series = module._Series(ragged(1), HOURS.tolist())
    for once in (1e-200, 1e-6, 1e-3):
        bound = series._anywhere(np.full(len(module.SHARES), once)) / once
        assert np.all((bound > 1) & (bound <= 29))
        assert np.all(np.diff(bound) >= -1e-9)  # the more hours differ, the less alike are places inside one


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.sampled_from([0.0, 0.05, 0.2, -0.1]))
@example(17, 1.0, -0.1)  # the likeliest place holds 95 % by itself, and lies beside the middle of what is likely
def test_a_faster_machine_has_the_same_steps(seed, factor, step):
    points = ragged(seed, step)
    one = find_steps(points, HOURS.tolist())
    other = find_steps([[factor * seconds for seconds in runs] for runs in points], HOURS.tolist())
    assert [(step.place, step.first, step.last) for step in one] == [
        (step.place, step.first, step.last) for step in other
    ]
    for before, after in zip(one, other, strict=True):
        assert (before.change, before.change_low) == pytest.approx((after.change, after.change_low), abs=1e-6)
        assert before.change_low < before.change < before.change_high
        assert before.first <= before.place <= before.last


def test_a_long_history_is_looked_for_in_its_newest_points(monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 30)
    levels = np.where(np.arange(100) < 85, 0.1, 0.12) * (1 + 0.01 * np.sin(7.0 * np.arange(100)))
    (found,) = find_steps(levels[:, None].tolist(), list(range(100)))
    assert found.place == 85


@pytest.mark.parametrize(
    ("points", "hours", "why"),
    [
        ([[0.1], []], [1, 2], "positive finite"),
        ([[0.1], [-0.1]], [1, 2], "positive finite"),
        ([[0.1], [math.nan]], [1, 2], "positive finite"),
        ([[0.1], [math.inf]], [1, 2], "positive finite"),
        ([[0.1], [0.1]], [1], "cannot have 1 hours"),
        ([[0.1], [0.1], [0.1]], [1, 2, 1], "neighbours"),
    ],
)
def test_what_is_no_series_is_refused(points, hours, why):
    with pytest.raises(ValueError, match=why):
        find_steps(points, hours)


def test_where_ruptures_is_missing_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(NoRuptures, match=r"pip install 'pytest-metalperf\[history\]'"):
        find_steps([[0.1]] * 10, list(range(10)))
