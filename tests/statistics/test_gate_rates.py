"""The promised rates, simulated with fixed seeds: bounds of the table with few trials, so with a little room for chance."""

from __future__ import annotations

import pytest
from gate_simulation import ROWS, World, simulate

from pytest_metalperf.gate import Rule

TRIALS = 1500


@pytest.mark.parametrize(
    ("row", "alarms", "inconclusive", "runs"),
    [
        ("0.3 %, 0", 0.001, 0.001, 1.05),
        ("1 %, 0", 0.001, 0.005, 1.1),
        ("2 %, 0", 0.001, 0.03, 1.4),
        ("5 %, 0", 0.003, 0.20, 3.0),
        ("1 %, 2 %, three sessions", 0.005, 0.10, 1.5),
        ("1 %, 2 %, one session", 0.005, 0.10, 3.0),
        ("2 %, 5 %, one session", 0.05, 0.25, 3.0),
        ("quick: 10 %, 0, two runs, 6 workloads", 0.005, 0.20, 3.5),
        ("1 %, 2 % shared by all, three sessions", 0.005, 0.10, 1.5),
        ("1 %, 4 %, twelve workloads", 0.003, 0.20, 3.0),
        ("1 %, 4 % shared by all of twelve", 0.03, 0.20, 3.0),  # twelve tell of a shared day no more than one does
    ],
)
def test_unchanged_code(row: str, alarms: float, inconclusive: float, runs: float) -> None:
    rates = simulate(ROWS[row], 1.0, TRIALS)
    assert rates.slower <= alarms + 1 / TRIALS
    assert rates.inconclusive <= inconclusive
    assert rates.runs <= runs


@pytest.mark.parametrize(
    ("row", "ratio", "power"),
    [
        ("0.3 %, 0", 1.10, 0.995),
        ("1 %, 0", 1.10, 0.99),
        ("2 %, 0", 1.10, 0.97),
        ("2 %, 0", 1.20, 0.999),
        ("5 %, 0", 1.20, 0.90),
        ("1 %, 2 %, three sessions", 1.10, 0.60),
        ("1 %, 2 %, three sessions", 1.20, 0.99),
        ("quick: 10 %, 0, two runs, 6 workloads", 2.0, 0.93),
        ("quick: 10 %, 5 %", 2.0, 0.90),
    ],
)
def test_power(row: str, ratio: float, power: float) -> None:
    assert simulate(ROWS[row], ratio, 1000).slower >= power


@pytest.mark.parametrize("row", ["1 %, 0", "2 %, 0", "5 %, 0", "1 %, 2 %, three sessions"])
def test_smallest_visible_is_seen_nine_times_in_ten(row: str) -> None:
    assert 0.84 <= simulate(ROWS[row], None, 500).slower <= 0.94


@pytest.mark.parametrize("row", ["1 %, 0", "5 %, 0", "1 %, 2 %, three sessions"])
def test_exactly_the_tolerance(row: str) -> None:
    assert simulate(ROWS[row], 1.05, 1000).slower <= 0.12


QUIET = 0.0054  # run noise of a step that an H100 bounds


@pytest.mark.parametrize(
    ("layout", "session_sd", "seen"), [((3, 3, 3), 0.0, 0.99), ((3, 3, 3), 0.003, 0.95), ((5,), 0.0, 0.0)]
)
def test_a_small_tolerance_wants_three_sessions(layout: tuple[int, ...], session_sd: float, seen: float) -> None:
    """A step 5 % longer at a tolerance of 2 %: seen on a quiet machine of which three sessions are stored, and no other."""
    rule, world = Rule(tolerance=0.02), World(QUIET, session_sd, layout=layout, workloads=1)
    longer, same = simulate(world, 1.05, 300, rule), simulate(world, 1.0, 300, rule)
    assert same.slower == 0
    assert longer.slower >= seen
    assert longer.slower + longer.inconclusive == 1


def test_faster_is_the_mirror_image() -> None:
    assert simulate(ROWS["1 %, 0"], 1 / 1.10, 300).faster >= 0.99
    assert simulate(ROWS["2 %, 0"], 1.0, TRIALS).faster <= 0.001 + 1 / TRIALS


def test_one_slow_run_in_thirty_does_not_cry_wolf() -> None:
    assert simulate(World(0.02, tail=0.03), 1.0, TRIALS).slower <= 0.006
