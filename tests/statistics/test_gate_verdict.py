"""The decision: its plain cases, its words, and what holds for all numbers."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from random import Random

import pytest
from gate_simulation import ROWS, World
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_metalperf.gate import Judgement, Rule, RunFigure, judge, machine_moved

STORE = ROWS["1 %, 0"].store(Random(1))[0]
ORDER = ["slower", "inconclusive", "within", "faster"]


def now(*seconds: float) -> list[RunFigure]:
    return [RunFigure(value, "now") for value in seconds]


def judged(*seconds: float) -> Judgement:
    stored, *peers = STORE
    return judge(now(*seconds), stored, peers)


def test_unchanged_code_costs_one_run() -> None:
    judgement = judged(1.0)
    assert (judgement.verdict, judgement.decided) == ("within", True)
    assert judgement.change_low < 0 < judgement.change_high
    assert judgement.now_low < 1.0 < judgement.now_high


def test_one_run_never_makes_slower_and_two_may() -> None:
    first = judged(1.5)
    assert (first.verdict, first.decided, first.spread_next) == ("inconclusive", False, True)
    second = judged(1.5, 1.5)
    assert (second.verdict, second.decided, second.spread_next) == ("slower", True, False)
    assert second.change == pytest.approx(0.5, rel=0.05)
    assert second.reason == ""


def test_what_one_run_near_the_tolerance_leaves_open_a_second_settles() -> None:
    assert (judged(1.04).verdict, judged(1.04).decided) == ("inconclusive", False)
    assert (judged(1.04, 1.04).verdict, judged(1.04, 1.04).decided) == ("within", True)


def test_faster_is_confirmed_too() -> None:
    assert (judged(0.6).verdict, judged(0.6).decided, judged(0.6).spread_next) == ("within", False, True)
    assert judged(0.6, 0.6).verdict == "faster"


def test_two_runs_below_a_noisy_baseline_are_not_called_faster() -> None:
    noisy = [RunFigure(value, "a") for value in (1.0, 1.2, 0.85, 1.1)]
    assert judge(now(0.85, 0.88), noisy, []).verdict == "within"


def test_one_slow_run_convinces_nobody() -> None:
    assert not judged(1.8, 1.0).decided
    assert judged(1.8, 1.0, 1.0, 1.0, 1.0).verdict in {"within", "inconclusive"}


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_of_two_runs_one_convinces_nobody_whatever_a_batch_takes(scale: float) -> None:
    stored, *peers = (scaled(runs, scale) for runs in STORE)
    assert judge(now(0.4 * scale, scale), stored, peers).verdict != "faster"
    assert judge(now(2.5 * scale, scale), stored, peers).verdict != "slower"
    assert judge(now(0.4 * scale, 0.5 * scale), stored, peers).verdict == "faster"
    assert judge(now(2.5 * scale, 2 * scale), stored, peers).verdict == "slower"


@pytest.mark.parametrize("count", [1, 4])
def test_the_interval_of_todays_runs_is_as_wide_as_runs_differ(count: int) -> None:
    stored, *peers = World(0.05, layout=(3,) * 10, workloads=8).store(Random(1))[0]
    judgement = judge(now(*[1.0] * count), stored, peers)
    for width in (judgement.now_high / judgement.now_seconds, judgement.now_seconds / judgement.now_low):
        assert math.log(width) == pytest.approx(1.96 * 0.05 / math.sqrt(count), rel=0.15)


def test_between_tolerance_and_visible_it_is_inconclusive() -> None:
    judgement = judged(*[1.05] * 5)
    assert (judgement.verdict, judgement.decided) == ("inconclusive", True)
    assert judgement.reason.endswith("% cannot be told from noise")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"a": [1.0, 1.2, 0.85, 1.1], "b": [1.0, 1.2], "c": [0.85]}, "runs differ by 14 % here, so a slowdown under "),
        (
            {"a": [1.0, 1.001], "b": [1.03, 1.031], "c": [0.97, 0.971]},
            "sessions differ by 2.7 % here, so a slowdown under ",
        ),
        ({"a": [1.0, 1.001, 0.999, 1.0]}, "fewer than three sessions an hour apart are stored (taken to differ by "),
    ],
)
def test_the_reason_names_the_larger_noise(stored: dict[str, list[float]], words: str) -> None:
    runs = [RunFigure(value, session) for session, values in stored.items() for value in values]
    judgement = judge(now(*[1.08] * 5), runs, [])
    assert judgement.verdict == "inconclusive"
    assert judgement.reason.startswith(words)


def test_no_baseline() -> None:
    judgement = judge(now(2.0), [], STORE)
    assert (judgement.verdict, judgement.decided, judgement.now_seconds) == ("no baseline", True, pytest.approx(2.0))
    assert math.isnan(judgement.change)
    assert math.isnan(judgement.smallest_visible)


def test_no_fresh_run() -> None:
    with pytest.raises(ValueError, match="at least one fresh run"):
        judge([], STORE[0], [])


def test_runs_of_one_slow_hour_count_little_more_than_three() -> None:
    sessions = [RunFigure(1.0, "a"), RunFigure(1.0, "b"), RunFigure(1.0, "c")]
    slow_hour = [RunFigure(1.2, "slow")] * 20
    assert judge(now(1.0), sessions + slow_hour, []).baseline_seconds < 1.07


def test_where_sessions_do_not_differ_twenty_runs_count_more_than_one() -> None:
    random = Random(1)
    peers = World(0.05, layout=(3,) * 10, workloads=8).store(random)[0]
    twenty = [RunFigure(math.exp(random.gauss(0.0, 0.05)), "a") for _ in range(20)]
    judgement = judge(now(1.0), [*twenty, RunFigure(1.2, "b"), RunFigure(1.2, "c")], peers)
    assert judgement.baseline_seconds == pytest.approx(1.02, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tolerance": -0.1},
        {"tolerance": math.nan},
        {"max_runs": 1},
        {"alarm_rate": 0.0},
        {"tolerance_alarm_rate": 0.5},
        {"power": 1.0},
        {"prior": 0.0},
        {"prior": 1.1},
    ],
)
def test_rules_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rule(**wrong)  # type: ignore[arg-type]


def test_a_wider_tolerance_and_more_runs_are_obeyed() -> None:
    stored, *peers = STORE
    assert judge(now(1.5, 1.5), stored, peers, Rule(tolerance=0.6)).verdict == "within"
    few, many = (judge(now(1.0), stored, peers, Rule(max_runs=runs)).smallest_visible for runs in (2, 20))
    assert many < few


def test_a_judgement_takes_less_than_two_milliseconds() -> None:
    started = time.process_time()
    for _ in range(100):
        judged(1.0, 1.1)
    assert (time.process_time() - started) / 100 < 0.002


def moved(*changes: float, width: float = 0.02) -> list[Judgement]:
    base = judged(1.0)
    return [replace(base, change=c, change_low=c - width, change_high=c + width) for c in changes]


@pytest.mark.parametrize(
    ("changes", "common"),
    [
        ([0.10, 0.11, 0.09], 0.10),
        ([0.10, 0.11, 0.09, 0.10, 0.0], 0.10),
        ([-0.20, -0.21, -0.19, -0.2], -0.20),
        ([0.10, 0.11], None),
        ([0.10, 0.11, 0.0, 0.0], None),
        ([0.10, -0.10, 0.11, -0.11, 0.10], None),
        ([0.001, 0.001, 0.001], None),
        ([], None),
    ],
)
def test_the_machine_moved(changes: list[float], common: float | None) -> None:
    assert machine_moved(moved(*changes)) == (None if common is None else pytest.approx(common, abs=0.003))


def test_the_machine_did_not_move_within_noise() -> None:
    assert machine_moved(moved(0.10, 0.11, 0.09, width=0.3)) is None


def test_what_has_no_baseline_did_not_move() -> None:
    assert machine_moved([judge(now(1.0), [], [])] * 5) is None


seconds = st.floats(min_value=0.5, max_value=2.0)
any_seconds = st.floats(min_value=1e-300, max_value=1e300)


def figures(values: st.SearchStrategy[float], min_size: int, max_size: int = 6) -> st.SearchStrategy[list[RunFigure]]:
    return st.lists(st.builds(RunFigure, values, st.sampled_from("abcd")), min_size=min_size, max_size=max_size)


stores = st.tuples(figures(seconds, 1), st.lists(figures(seconds, 1), max_size=5))


def scaled(runs: list[RunFigure], factor: float) -> list[RunFigure]:
    return [replace(run, seconds=run.seconds * factor) for run in runs]


@given(figures(any_seconds, 1), figures(any_seconds, 0), st.lists(figures(any_seconds, 0), max_size=5))
def test_nothing_raises(fresh: list[RunFigure], stored: list[RunFigure], peers: list[list[RunFigure]]) -> None:
    judgement = judge(fresh, stored, peers)
    assert judgement.decided or len(fresh) < 5
    assert judgement.now_low <= judgement.now_seconds <= judgement.now_high
    if stored:
        assert judgement.change_low <= judgement.change <= judgement.change_high
        assert judgement.smallest_visible > 0.05
    assert machine_moved([judgement] * 3) is None or stored


@given(figures(seconds, 1), stores, st.integers(-40, 40))
def test_scaling_all_times_changes_nothing(
    fresh: list[RunFigure], store: tuple[list[RunFigure], list[list[RunFigure]]], power: int
) -> None:
    stored, peers = store
    factor = 2.0**power
    before = judge(fresh, stored, peers)
    after = judge(scaled(fresh, factor), scaled(stored, factor), [scaled(peer, factor) for peer in peers])
    assert after.change == pytest.approx(before.change, abs=1e-9)
    assert after.smallest_visible == pytest.approx(before.smallest_visible, rel=1e-6)
    assert after.now_seconds == pytest.approx(before.now_seconds * factor)
    assume(abs(abs(math.log1p(before.change)) - math.log(1.05)) > 1e-9)  # where rounding may decide
    assert (after.verdict, after.decided) == (before.verdict, before.decided)


@given(figures(seconds, 1), stores, st.lists(st.floats(1.0, 2.0), min_size=6, max_size=6))
def test_a_slower_candidate_is_never_judged_better(
    fresh: list[RunFigure], store: tuple[list[RunFigure], list[list[RunFigure]]], factors: list[float]
) -> None:
    stored, peers = store
    slower = [replace(run, seconds=run.seconds * factor) for run, factor in zip(fresh, factors, strict=False)]
    verdicts = [judge(runs, stored, peers).verdict for runs in (slower, fresh)]
    assert ORDER.index(verdicts[0]) <= ORDER.index(verdicts[1])


@settings(max_examples=300)
@given(figures(seconds, 2), stores, st.sampled_from("abcde"))
def test_the_centre_added_to_a_baseline_flips_nothing(
    fresh: list[RunFigure], store: tuple[list[RunFigure], list[list[RunFigure]]], session: str
) -> None:
    stored, peers = store
    before = judge(fresh, stored, peers)
    after = judge(fresh, [*stored, RunFigure(before.baseline_seconds, session)], peers)
    assert {before.verdict, after.verdict} != {"slower", "faster"}


def test_a_gate_that_would_miss_three_times_the_time_says_nothing_also_below_the_baseline() -> None:
    wild = [RunFigure(seconds, "s") for seconds in (0.0466, 0.00064, 0.0568)]
    for seconds in (0.0466, 0.012, 0.002):
        judgement = judge(now(*[seconds] * 5), wild, [])
        assert judgement.verdict in ("inconclusive", "faster"), judgement
        assert judgement.smallest_visible > 2
    assert "cannot be told from noise" in judge(now(0.02), wild, []).reason


def test_who_tolerates_much_is_promised_no_more() -> None:
    assert Rule(tolerance=0.05).is_blind(2.1)
    assert Rule(tolerance=0.05).is_blind(math.nan)
    assert not Rule(tolerance=0.05).is_blind(1.9)
    assert not Rule(tolerance=3.0).is_blind(5.9)
