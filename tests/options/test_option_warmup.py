"""--metal-warmup N: untimed batches after the first."""

from __future__ import annotations

import pytest


def test_more_warmup_trains_more_and_times_as_much(suite):
    suite.set(seconds=0.2)
    suite.write("def test_it(metal_bench):\n    print(len(metal_bench('fake-model').samples), 'blocks')\n")
    steps = []
    for warmup in (1, 2, 12):
        suite.run(f"--metal-warmup={warmup}", "-s").stdout.fnmatch_lines(["*10 blocks*"])
        steps += suite.trained()
    assert [n - steps[0] for n in steps] == [0, 1, 11]


def test_none_at_all_is_allowed(suite):
    suite.run("--metal-warmup=0", "--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=1)


def test_what_is_no_count_is_refused(suite):
    result = suite.run("--metal-warmup=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-warmup: expected *"])
