"""What all workloads of a session share: false alarms of a common day, what is still found, and from how many on it counts."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from common_days import Days
from gate_simulation import ROWS
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.gate import Judgement, Rule, RunFigure, common, is_slower_beyond, judge, shared_slowdown

STORED, *PEERS = ROWS["1 %, 0"].store(Random(1))[0]
BASE = judge([RunFigure(1.0, "now")], STORED, PEERS)
RULE = Rule()


def changed(*changes: float, width: float = 0.02) -> list[Judgement]:
    """Judgements of these changes, each with a 95 % interval of plus and minus `width` in logarithms."""
    return [
        replace(
            BASE,
            verdict="slower",
            change=change,
            change_low=(1 + change) * math.exp(-width) - 1,
            change_high=(1 + change) * math.exp(width) - 1,
        )
        for change in changes
    ]


@pytest.mark.parametrize(
    ("others", "share"),
    [
        ([0.30, 0.28, 0.32], 0.30),
        ([0.30, 0.28, 0.32, 0.0, 0.31], 0.30),
        ([0.02, 0.5, 0.01], 0.02),
        ([0.30, 0.28], None),
        ([0.30, -0.1, -0.1], None),
        ([-0.30, -0.28, -0.32], None),
        ([], None),
    ],
)
def test_the_median_of_three_others_at_least(others: list[float], share: float | None) -> None:
    shared = shared_slowdown(changed(*others))
    assert (None if shared is None else shared.change) == (None if share is None else pytest.approx(share))


def test_the_error_of_the_median() -> None:
    shared = shared_slowdown(changed(*[0.2] * 9, width=0.0196))
    assert shared is not None
    assert shared.others == 9
    assert shared.error == pytest.approx(0.01 * math.sqrt(math.pi / 2 / 9), rel=1e-3)


@pytest.mark.parametrize(("change", "beyond"), [(0.30, False), (0.36, False), (0.42, True), (0.60, True)])
def test_slower_than_the_others_by_more_than_the_tolerance(change: float, beyond: bool) -> None:
    shared = shared_slowdown(changed(0.30, 0.29, 0.31, 0.30))
    assert shared is not None
    assert is_slower_beyond(changed(change)[0], shared, RULE) is beyond


def test_what_is_uncertain_of_the_others_counts() -> None:
    (own,) = changed(0.42)
    assert is_slower_beyond(own, shared_slowdown(changed(0.30, 0.29, 0.31)), RULE)
    assert not is_slower_beyond(own, shared_slowdown(changed(0.30, 0.29, 0.31, width=0.1)), RULE)


def test_what_has_no_baseline_tells_nothing() -> None:
    unknown = judge([RunFigure(1.0, "now")], [], [])
    assert shared_slowdown([unknown] * 5) is None
    assert shared_slowdown([unknown, *changed(0.3, 0.3, 0.3)]).others == 3


any_change = st.floats(min_value=-0.9, max_value=1e6)


@given(any_change, st.lists(any_change, max_size=8), st.floats(min_value=0.0, max_value=5.0), st.floats(0.0, 5.0))
def test_slower_others_never_make_slower(change: float, others: list[float], width: float, more: float) -> None:
    """Others that are slower by more leave less of a slowdown, whatever the noise."""
    (own,) = changed(change, width=width)
    before, after = (shared_slowdown(changed(*some, width=width)) for some in (others, [one + more for one in others]))
    if before is not None and after is not None:
        assert is_slower_beyond(own, before, RULE) or not is_slower_beyond(own, after, RULE)
        assert after.change >= before.change > 0


TRIALS = 250
SHARED = (0.01, 0.04)
EACH = (0.01, 0.0, 0.04)


@pytest.mark.parametrize(
    ("days", "alone"),
    [
        (Days(10, *SHARED), 0.015),
        (Days(4, *SHARED), 0.015),
        (Days(10, 0.015, 0.07, sessions=1), 0.10),
        (Days(10, 0.015, 0.10, sessions=5), 0.025),
        (Days(10, *SHARED, apart=True), 0.0),
    ],
)
def test_a_common_bad_day_is_no_alarm(days: Days, alone: float) -> None:
    rates = days.rates(1.0, TRIALS)
    assert rates.alone >= alone
    assert rates.beside == 0


@pytest.mark.parametrize("days", [Days(10, *EACH, sessions=1), Days(10, 0.015, 0.07, sessions=1, apart=True)])
def test_days_of_each_workload_are_alarms_no_more_often(days: Days) -> None:
    rates = days.rates(1.0, TRIALS)
    assert rates.beside <= rates.alone


@pytest.mark.parametrize(
    ("days", "ratio", "kept"),
    [
        (Days(10, 0.02), 1.1, 0.95),
        (Days(4, 0.02), 1.1, 0.80),
        (Days(10, *EACH), 1.2, 0.97),
        (Days(10, *SHARED), 1.2, 0.97),
        (Days(10, *SHARED), 1.5, 1.0),
        (Days(4, *SHARED), 1.5, 1.0),
    ],
)
def test_one_that_became_slower_alone_is_found_as_before(days: Days, ratio: float, kept: float) -> None:
    rates = days.rates(ratio, 100)
    assert rates.alone > 0.4
    assert rates.beside >= kept * rates.alone


@pytest.mark.parametrize(("days", "most"), [(Days(10, 0.02), 0.0), (Days(10, *SHARED), 0.0), (Days(10, *EACH), 0.05)])
def test_what_became_slower_with_all_others_is_not_called_slower(days: Days, most: float) -> None:
    rates = days.rates(1.3, 60, slowed=10)
    assert rates.alone > 0.8
    assert rates.beside <= most


@pytest.mark.parametrize(("workloads", "kept"), [(2, (0.0, 0.1)), (3, (0.4, 0.7)), (4, (0.9, 1.0))])
def test_why_three_others(monkeypatch: pytest.MonkeyPatch, workloads: int, kept: tuple[float, float]) -> None:
    """Two slowed by 1.3: two or three workloads are too few to tell what they share, four are enough."""
    monkeypatch.setattr(common, "LEAST_OTHERS", 1)
    rates = Days(workloads, *EACH).rates(1.3, 100, slowed=2)
    assert kept[0] <= rates.beside / rates.alone <= kept[1]
