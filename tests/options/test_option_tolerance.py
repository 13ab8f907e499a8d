"""--metal-tolerance SHARE: the slowdown that is still accepted."""

from __future__ import annotations

import pytest


def test_wide_enough_accepts_what_the_default_refuses(suite):
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.14)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["fake-model*slower than its baseline*", "*allowed   +5.0 %*"])
    for value in ("60%", "0.6"):
        suite.run(f"--metal-tolerance={value}").assert_outcomes(passed=1)


def test_of_marker_and_call(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(tolerance="60%")
        def test_marker(metal_bench):
            metal_bench("fake-model", name="a")
        def test_call(metal_bench):
            metal_bench("fake-model", name="b", tolerance=0.6)
        def test_default(metal_bench):
            metal_bench("fake-model", name="c")
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=3)
    suite.set(seconds=0.14)
    result = suite.run("-rf")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_default*"])


def test_one_workload_is_judged_by_each_test_with_its_own(suite):
    suite.write(
        """
        def test_default(metal_bench):
            metal_bench("fake-model")
        def test_wide(metal_bench):
            metal_bench("fake-model", tolerance="60%")
        """
    )
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.14)
    suite.run().assert_outcomes(failed=1, passed=1)


def test_nonsense_is_refused(suite):
    result = suite.run("--metal-tolerance=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-tolerance: *"])
