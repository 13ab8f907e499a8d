"""The decision on fresh pairs: rates by simulation, and what holds for any numbers."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.gate import LEAST_PAIRS, Judgement, Rule, judge_pairs

RULE = Rule(max_runs=10)
REPEATABLE = settings(derandomize=True, max_examples=150, deadline=None)
TIMES = st.floats(1e-6, 1e3)
SIDE = st.lists(TIMES, min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8)
ORDER = ["faster", "within", "inconclusive", "slower"]


def compared(random: Random, ratio: float, pair_sd: float, rule: Rule = RULE) -> tuple[Judgement, int]:
    """One whole comparison; slow minutes that both sides share wander through each pair."""
    now: list[list[float]] = []
    reference: list[list[float]] = []
    while True:
        offset, minute = math.log(ratio) + random.gauss(0, pair_sd), random.gauss(0, 0.2)
        sides: tuple[list[float], list[float]] = ([], [])
        for _ in range(10):
            minute += random.gauss(0, 0.02)
            for side, level in zip(sides, (offset, 0.0), strict=True):
                side.append(0.1 * math.exp(level + minute + random.gauss(0, 0.03)))
        now.append(sides[0])
        reference.append(sides[1])
        judgement = judge_pairs(now, reference, rule)
        if judgement.decided:
            return judgement, len(now)


@pytest.mark.parametrize("pair_sd", [0.005, 0.02, 0.04])
def test_the_same_code_is_never_slower_and_intervals_hold(pair_sd):
    found = [compared(Random(f"same {trial}"), 1.0, pair_sd)[0] for trial in range(150)]
    assert [judgement.verdict for judgement in found].count("slower") == 0
    assert sum(judgement.change_low <= 0 <= judgement.change_high for judgement in found) >= 0.92 * len(found)


@pytest.mark.parametrize(("pair_sd", "least"), [(0.005, 1.0), (0.02, 0.97), (0.04, 0.9)])
def test_ten_percent_are_found(pair_sd, least):
    found = [compared(Random(f"longer {trial}"), 1.1, pair_sd) for trial in range(100)]
    assert sum(judgement.verdict == "slower" for judgement, _ in found) >= least * len(found)


@pytest.mark.parametrize("pair_sd", [0.08, 0.12])
def test_on_a_noisy_machine_twice_the_tolerance_is_seldom_called_within(pair_sd):
    """By the upper end of a 95 % interval at each look it was, in 5 and 10 %."""
    found = [compared(Random(f"noisy {trial}"), 1.1, pair_sd, Rule(max_runs=15))[0].verdict for trial in range(100)]
    assert found.count("within") <= 5


def test_exactly_the_tolerance_is_seldom_called_slower():
    found = [compared(Random(f"edge {trial}"), 1.05, 0.01)[0].verdict for trial in range(200)]
    assert found.count("slower") <= 0.17 * len(found)


def test_the_smallest_visible_slowdown_is_seen_nine_times_in_ten():
    rule = RULE
    visible = judge_pairs(*_pairs(Random("v"), 10, 0.02), rule).smallest_visible
    assert 0.06 < visible < 0.12
    found = [compared(Random(f"visible {trial}"), 1 + visible, 0.02)[0].verdict for trial in range(150)]
    assert found.count("slower") >= 0.85 * len(found)


def _pairs(random: Random, count: int, pair_sd: float) -> tuple[list[list[float]], list[list[float]]]:
    offsets = [random.gauss(0, pair_sd) for _ in range(count)]
    sides = [
        [[0.1 * math.exp(level + random.gauss(0, 0.03)) for _ in range(10)] for level in levels]
        for levels in (offsets, [0.0] * count)
    ]
    return sides[0], sides[1]


def test_fewer_than_three_pairs_decide_nothing():
    for pairs in range(1, LEAST_PAIRS):
        judgement = judge_pairs([[0.3] * 10] * pairs, [[0.1] * 10] * pairs, RULE)
        assert (judgement.verdict, judgement.decided) == ("inconclusive", False)
        assert "fresh pairs differ by" in judgement.reason


@pytest.mark.parametrize(("level", "verdict"), [(0.16, "slower"), (0.06, "faster")])
def test_half_of_the_pairs_convince_nobody_and_more_of_them_do(level, verdict):
    rule = Rule(max_runs=40)
    reference = [[0.1] * 10] * 40
    assert judge_pairs([[0.1] * 10, [level] * 10] * 20, reference, rule).verdict != verdict
    assert judge_pairs([[0.1] * 10] * 12 + [[level] * 10] * 28, reference, rule).verdict == verdict


def test_todays_figures_lie_between_those_of_the_pairs_and_none_waits_for_a_slow_minute():
    judgement = judge_pairs([[0.1] * 10, [0.3] * 10, [0.4] * 10], [[0.1] * 10] * 3, RULE)
    assert (judgement.now_low, judgement.now_high) == pytest.approx((0.1, 0.4))
    assert judgement.now_low < judgement.now_seconds < judgement.now_high
    assert not judgement.decided
    assert not judgement.spread_next  # both sides share it


def test_no_noise_at_all():
    assert judge_pairs([[0.1] * 10] * 3, [[0.1] * 10] * 3, RULE).verdict == "within"
    assert judge_pairs([[0.1] * 10] * 6, [[0.2] * 10] * 6, RULE).verdict == "faster"


def test_the_last_pair_ends_it():
    now, reference = _pairs(Random("noisy"), 10, 0.5)
    assert judge_pairs(now, reference, RULE).decided


@pytest.mark.parametrize(
    ("now", "reference"), [([], []), ([[0.1]], []), ([[]], [[0.1]]), ([[0.1]], [[0.0]]), ([[math.nan]], [[0.1]])]
)
def test_what_is_no_pair_is_refused(now, reference):
    with pytest.raises(ValueError, match=r"ratio needs|samples must be"):
        judge_pairs(now, reference, RULE)


@REPEATABLE
@given(PAIRS)
def test_nothing_raises(pairs):
    judgement = judge_pairs([now for now, _ in pairs], [reference for _, reference in pairs], RULE)
    assert judgement.verdict in ORDER
    assert judgement.change_low <= judgement.change <= judgement.change_high


@REPEATABLE
@given(PAIRS, st.floats(1e-2, 1e2))
def test_scaling_all_times_changes_nothing(pairs, factor):
    one = judge_pairs([now for now, _ in pairs], [reference for _, reference in pairs], RULE)
    scaled = [([factor * t for t in now], [factor * t for t in reference]) for now, reference in pairs]
    other = judge_pairs([now for now, _ in scaled], [reference for _, reference in scaled], RULE)
    assert other.change == pytest.approx(one.change, rel=1e-6, abs=1e-9)
    assert other.smallest_visible == pytest.approx(one.smallest_visible, rel=1e-6)


@REPEATABLE
@given(st.lists(st.tuples(SIDE, SIDE), min_size=3, max_size=8), st.floats(1.0, 3.0))
def test_a_candidate_slower_in_every_block_is_never_judged_better(pairs, factor):
    reference = [side for _, side in pairs]
    one = judge_pairs([now for now, _ in pairs], reference, RULE).verdict
    other = judge_pairs([[factor * t for t in now] for now, _ in pairs], reference, RULE).verdict
    assert ORDER.index(other) >= ORDER.index(one)
