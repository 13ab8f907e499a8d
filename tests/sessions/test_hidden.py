"""Steps that a run's figure leaves out: a dearer every k-th step is never `within`."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("every", [2, 4, 8])
def test_a_dearer_update_step_is_slower_where_its_cycle_fits_four_times(suite, every):
    suite.ini(metal_batches=32, metal_runs=2, metal_max_runs=3)
    suite.set(cycle=[every, 1.0])
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.run().stdout.fnmatch_lines(["1 gated: 1 within"])
    suite.set(cycle=[every, 1.0 + 0.5 * every])  # half as much again, of the mean, or nearly
    suite.run().stdout.fnmatch_lines(["1 gated: 1 slower"])


@pytest.mark.parametrize("every", [10, 14])
def test_one_further_apart_is_inconclusive_with_what_grew(suite, every):
    suite.ini(metal_batches=32, metal_runs=2, metal_max_runs=3)
    suite.set(cycle=[every, 1.0])
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.run().stdout.fnmatch_lines(["1 gated: 1 within"])
    suite.set(cycle=[every, 1.0 + 0.5 * every])
    suite.trained()
    result = suite.run()
    result.stdout.fnmatch_lines(
        ["*the mean of all batches grew by * % beside the figure*some steps became slower, as every k-th one would*"]
    )
    result.stdout.fnmatch_lines(["1 gated: 1 inconclusive"])
    assert len(suite.trained()) == 3  # all that it may take: one suspicious run convinces nobody


def test_a_freeze_in_one_run_is_none(suite):
    suite.ini(metal_batches=32, metal_runs=3, metal_max_runs=3)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.set(freezes_at=20)
    suite.run("--metal-max-runs=2")
    suite.set()
    suite.run().stdout.fnmatch_lines(["1 gated: 1 within"])
