"""The search for the first slower commit: likelihoods, what is asked next, and how often it is right on recorded pairs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("git_bayesect")

from pytest_metalperf.bisect import search
from pytest_metalperf.bisect.likelihood import GOOD, change, figure, log_likelihoods, mistaken, step_at
from pytest_metalperf.bisect.search import SURE, belief, forecast, next_candidate, searched
from pytest_metalperf.bisect.step import MOST_PAIRS, is_step
from pytest_metalperf.gate.ratio import PRIOR_PAIR_DF, PRIOR_PAIR_SD

STEP = math.log(1.1)


def seen(
    first: int, commits: list[int], sd: float = 0.03, pairs: int = 3, step: float = STEP
) -> dict[int, list[float]]:
    random = Random(f"{first} {commits} {sd}")
    return {
        index: [random.gauss(step if index < first else 0.0, sd) for _ in range(pairs)] for index in [GOOD, *commits]
    }


def exact(first: int, samples: dict[int, list[float]]) -> float:
    """The likelihood by summing over a fine grid of steps and standard deviations."""
    steps = np.linspace(-0.5, 0.7, 1201)[:, None]
    sds = np.exp(np.linspace(math.log(1e-3), math.log(1.0), 150))[None, :]
    logs = -PRIOR_PAIR_DF * np.log(sds) - PRIOR_PAIR_DF * PRIOR_PAIR_SD**2 / (2 * sds**2)  # in the logarithm of sd
    for index, figures in samples.items():
        for x in figures:
            mean = steps if index < first else 0.0
            logs = logs - np.log(sds) - (x - mean) ** 2 / (2 * sds**2)
    peak = logs.max()
    return float(peak + math.log(np.exp(logs - peak).sum()))


def test_the_likelihood_is_the_integral_over_steps_and_noise():
    samples = seen(3, [1, 2, 4, 6])
    found = log_likelihoods(8, samples)
    wanted = np.array([exact(first, samples) for first in range(8)])
    assert found - found[0] == pytest.approx(wanted - wanted[0], abs=1e-3)


def test_candidates_between_which_nothing_was_measured_are_alike():
    found = log_likelihoods(8, seen(3, [1, 5]))
    assert found[0] == found[1]
    assert len(set(found[2:6])) == 1
    assert found[2] > max(found[0], found[6])


@pytest.mark.parametrize("first", range(6))
def test_a_clear_step_is_found_wherever_it_is(first):
    def compare(index):
        return [STEP + 0.001, STEP - 0.001, STEP] if index < first else [0.001, -0.001, 0.0]

    *_, last = searched(6, {GOOD: [STEP, STEP + 0.001, STEP - 0.001]}, compare)
    assert last.is_sure
    assert (last.best.first, last.best.last) == (first, first)
    assert last.step.log == pytest.approx(STEP, abs=0.001)


def test_few_comparisons_are_asked_for_and_bad_is_never_among_them():
    asked = []

    def compare(index):
        asked.append(index)
        return [STEP] * 3 if index < 40 else [0.0] * 3

    *_, last = searched(64, {GOOD: [STEP, STEP + 0.01, STEP - 0.01]}, compare)
    assert last.best.last == 40
    assert len(asked) <= 10
    assert 63 not in asked


def test_bad_itself_may_be_the_first_slower_commit():
    *_, last = searched(5, {GOOD: [STEP, STEP + 0.01, STEP - 0.01]}, lambda index: [STEP] * 3)
    assert last.best.last == 4


def test_an_only_candidate_needs_no_comparison():
    (only,) = searched(1, {GOOD: [STEP] * 3}, lambda index: pytest.fail("nothing to ask"))
    assert only.is_sure


def test_skipped_commits_before_the_slower_one_leave_a_range():
    def compare(index):
        return None if index in (3, 4) else [STEP] * 3 if index < 4 else [0.0] * 3

    *_, last = searched(8, {GOOD: [STEP, STEP + 0.01, STEP - 0.01]}, compare)
    assert last.is_sure
    assert (last.best.first, last.best.last) == (3, 5)


def test_a_skipped_commit_elsewhere_leaves_none():
    *_, last = searched(
        8,
        {GOOD: [STEP, STEP + 0.01, STEP - 0.01]},
        lambda index: None if index == 1 else [STEP] * 3 if index < 4 else [0.0] * 3,
    )
    assert (last.best.first, last.best.last) == (4, 4)


def test_all_between_may_be_skipped():
    *_, last = searched(8, {GOOD: [STEP, STEP + 0.01, STEP - 0.01]}, lambda index: None)
    assert (last.best.first, last.best.last, last.best.share) == (0, 7, pytest.approx(1.0))


def test_what_says_nothing_is_asked_again_and_ends_without_an_answer():
    random, asked = Random(1), []

    def compare(index):
        asked.append(index)
        return [random.gauss(0.05, 0.5) for _ in range(3)]

    *_, last = searched(16, {GOOD: [STEP, STEP + 0.3, STEP - 0.3]}, compare)
    assert not last.is_sure
    assert len(asked) == 60
    assert SURE <= last.range().share <= 1
    assert last.range().first < last.range().last


def test_shares_are_a_distribution():
    found = belief(16, seen(5, [2, 7, 11]), skipped=[4, 9])
    assert sum(group.share for group in found.groups) == pytest.approx(1)
    assert [group.first for group in found.groups[1:]] == [group.last + 1 for group in found.groups[:-1]]
    assert 0 <= next_candidate(found) < 15


def test_two_steps_are_told():
    def two(index):
        return [x + (0.1 if index < 3 else 0.05 if index < 9 else 0.0) for x in (0.001, -0.001, 0.0)]

    *_, last = searched(12, {GOOD: two(GOOD)}, two)
    assert last.step.uneven
    assert not step_at(5, seen(5, [2, 4, 5, 7])).uneven


def test_a_change_is_that_of_its_own_pairs_whatever_else_changed():
    """Two commits of 5 % each: neither is told as one of 10 %."""
    held, whole = 0, 0
    for number in range(200):
        random = Random(number)
        means = {GOOD: 0.1, 2: 0.1, 3: 0.05, 7: 0.05, 8: 0.0, 9: 0.0}
        samples = {index: [random.gauss(mean, 0.03) for _ in range(3)] for index, mean in means.items()}
        own, of_all = change(samples, 7, 8, 11), change(samples, GOOD, 11, 11)
        held += own.low <= math.expm1(0.05) <= own.high
        whole += of_all.low <= math.expm1(0.1) <= of_all.high
        assert own.low < own.value < own.high
    assert min(held, whole) >= 185


def test_more_pairs_are_mistaken_less_often():
    found = step_at(5, seen(5, [4, 5]))
    assert 0 < mistaken(found, 6) < mistaken(found, 3) < 0.5


def test_a_forecast_grows_with_noise_and_with_commits(monkeypatch):
    monkeypatch.setattr(search, "SIMULATED", 20)
    quiet, noisy = [STEP + x for x in (0.0, 0.01, -0.01)], [STEP + x for x in (0.0, 0.1, -0.1)]
    means = [np.mean(forecast(count, {GOOD: good})) for count, good in ((8, quiet), (64, quiet), (8, noisy))]
    assert means[0] < means[1]
    assert means[0] < means[2]
    assert forecast(8, {GOOD: quiet}) == forecast(8, {GOOD: quiet})
    assert np.mean(forecast(8, {GOOD: quiet, 4: quiet})) < means[0]  # what is known need not be asked
    assert forecast(1, {GOOD: quiet})[-1] == 0


def test_a_step_is_there_or_not_or_needs_more_pairs():
    def pairs(change, sd, count):
        random = Random(count)
        return [([0.1 * math.exp(change + random.gauss(0, sd))] * 10, [0.1] * 10) for _ in range(count)]

    assert is_step(pairs(STEP, 0.001, 6)) is True
    assert is_step(pairs(-STEP, 0.001, 6)) is False
    assert is_step(pairs(STEP, 0.15, 3)) is None
    assert is_step(pairs(0.0, 0.03, MOST_PAIRS)) is False
    assert figure(([0.11] * 5, [0.1] * 5)) == pytest.approx(STEP)


def test_recorded_pairs_lead_to_the_right_commit(monkeypatch):
    """The short form of `python tests/speed/bisects.py`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "speed"))
    monkeypatch.delitem(sys.modules, "bisects", raising=False)
    import bisects

    recorded = {name: pairs for name, pairs in bisects.sources().items() if not isinstance(pairs, float)}
    found = [one for name, pairs in recorded.items() for one in bisects.searches(name, pairs, 16, 16, 1.10)]
    assert len(found) == 48
    assert sum(one.end == "right" for one in found) >= 46
    assert max(one.pairs for one in found) <= 150


FIGURES = st.lists(st.floats(-1, 1), min_size=1, max_size=4)


@given(
    count=st.integers(1, 30),
    good=st.lists(st.floats(0.01, 1), min_size=3, max_size=6),
    others=st.dictionaries(st.integers(0, 28), FIGURES, max_size=8),
    skipped=st.sets(st.integers(0, 28), max_size=8),
)
def test_groups_are_all_candidates_once_and_shares_sum_to_one(count, good, others, skipped):
    samples = {GOOD: good, **{index: x for index, x in others.items() if index < count - 1}}
    found = belief(count, samples, {index for index in skipped if index < count - 1})
    covered = [index for group in found.groups for index in range(group.first, group.last + 1)]
    assert covered == list(range(count))
    assert sum(group.share for group in found.groups) == pytest.approx(1)
    assert found.range().share >= min(SURE, 1) - 1e-6
    if len(found.groups) > 1:
        asked = next_candidate(found)
        assert asked in {group.last for group in found.groups[:-1]}
