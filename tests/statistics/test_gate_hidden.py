"""What a run's figure leaves out, simulated: every k-th step dearer by half of the mean."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.gate import estimate_run, hidden_slowdown

RUNS, STEPS = 5, 64
FREEZES = 0.002  # of ten steps; at 0.01 it is seen in two of three cases


def run(chance: Random, every: int, more: float, noise: float, *, fresh: bool = False) -> tuple[float, float]:
    """The figure and the mean of a run whose every k-th step takes so much more, each step a block, with other load."""
    samples = [
        (1 + more * (step % every == every - 1))
        * (1 + abs(chance.gauss(0, noise)))
        * (10 if chance.random() < FREEZES else 1)
        for step in range(STEPS)
    ]
    if fresh:
        samples.remove(max(samples))
    return estimate_run(samples).seconds, sum(samples) / len(samples)


@pytest.mark.parametrize("every", [20, 24, 32])  # shorter cycles the figure itself shows
def test_a_dearer_kth_step_that_the_figure_leaves_out_is_seen(every):
    chance = Random(every)
    found = 0
    for _ in range(200):
        stored = [run(chance, every, 0.0, 0.05) for _ in range(RUNS)]
        now = [run(chance, every, 0.5 * every, 0.05, fresh=True) for _ in range(2)]
        found += hidden_slowdown(now, stored, 0.05) is not None
    assert found >= 180  # though the slowest block is left out


def test_unchanged_code_loses_hardly_a_verdict_by_it():
    chance = Random(1)
    lost = 0
    for _ in range(400):
        stored = [run(chance, 1, 0.0, 0.1) for _ in range(RUNS)]
        lost += hidden_slowdown([run(chance, 1, 0.0, 0.1, fresh=True) for _ in range(RUNS)], stored, 0.05) is not None
    assert lost <= 1


pairs = st.lists(st.tuples(st.floats(0.01, 1), st.floats(1.01, 3)), min_size=1, max_size=5)


@given(now=pairs, stored=pairs)
def test_it_needs_every_fresh_run_above_most_stored_ones(now, stored):
    found = hidden_slowdown(now, stored, 0.05)
    if found is not None:
        assert len(stored) >= 2
        assert found > 0.15
        assert sum(min(m / f for f, m in now) > mean / figure for figure, mean in stored) >= len(stored) / 2
