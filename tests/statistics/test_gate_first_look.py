"""What a first look may answer alone: a slowdown of twice the tolerance is missed at most once in twenty, by simulation."""

from __future__ import annotations

import math
from random import Random

import pytest
from gate_simulation import ROWS, RULE, World

from pytest_metalperf.gate import judge

TRIALS = 1000


def spared(world: World, ratio: float) -> float:
    """The share of first looks at a step that takes `ratio` times as long which no replay follows."""
    count = 0
    for trial in range(TRIALS):
        random = Random(f"first look {trial}")
        (stored, *peers), run_sd = world.store(random)
        level = math.log(ratio) + world.session_sd * random.gauss(0.0, 1.0)
        judgement = judge([world.run(random, level, "now", run_sd)], stored, peers, RULE)
        count += judgement.verdict == "within" and judgement.change_at_most < 2 * RULE.tolerance
    return count / TRIALS


WORLDS = {
    **ROWS,
    "2 %, 5 %, one session, no peers": World(0.02, 0.05, layout=(5,), workloads=1),
    "1 %, 5 %, one session": World(0.01, 0.05, layout=(5,)),
    "1 %, 5 %, two sessions": World(0.01, 0.05, layout=(3, 2)),
    "1 %, 5 %, three sessions, no peers": World(0.01, 0.05, workloads=1),
    "1 %, 10 %, three sessions": World(0.01, 0.10),
}


@pytest.mark.parametrize("row", WORLDS)
def test_twice_the_tolerance_is_seldom_missed(row: str) -> None:
    assert spared(WORLDS[row], 1 + 2 * RULE.tolerance) <= 0.05


def test_beyond_the_rows_one_stored_session_misses_more() -> None:
    """Sessions that differ by 10 %, of which one is known: the limit that the gate's README tells."""
    assert 0.08 <= spared(World(0.01, 0.10, layout=(5,)), 1 + 2 * RULE.tolerance) <= 0.12
    assert spared(World(0.01, 0.10, layout=(3, 2)), 1 + 2 * RULE.tolerance) <= 0.05


@pytest.mark.parametrize(
    ("row", "share"), [("0.3 %, 0", 0.99), ("1 %, 0", 0.99), ("2 %, 0", 0.85), ("1 %, 2 %, three sessions", 0.75)]
)
def test_unchanged_code_is_mostly_spared_where_sessions_are_known(row: str, share: float) -> None:
    assert spared(WORLDS[row], 1.0) >= share
