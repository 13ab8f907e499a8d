"""--metal-max-runs N: fresh runs that the gate may spend on one verdict."""

from __future__ import annotations

import pytest


def test_slower_is_confirmed_in_fresh_processes_but_not_more_than_allowed(suite):
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.2)
    suite.trained()
    suite.run("--metal-max-runs=2").assert_outcomes(failed=1)
    assert len(suite.trained()) == 2


@pytest.mark.parametrize("most", [2, 4])
def test_noise_is_given_up_after_so_many(suite, most):
    suite.noisy()
    suite.set(seconds=0.15, jitter=0)
    suite.trained()
    suite.run(f"--metal-max-runs={most}").stdout.fnmatch_lines(["1 gated: 1 inconclusive"])
    assert len(suite.trained()) == most


def test_what_is_no_count_is_refused(suite):
    result = suite.run("--metal-max-runs=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-max-runs: expected *"])
