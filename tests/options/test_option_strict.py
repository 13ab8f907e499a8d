"""--metal-strict: inconclusive, no baseline and skipped devices fail too (xdist: test_xdist.py)."""

from __future__ import annotations


def test_no_baseline_fails(suite):
    result = suite.run("--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*has no baseline*"])


def test_missing_device_fails_with_the_reason(suite):
    result = suite.run("--metal-strict", "--metal-devices=gpu")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gpu*--metal-strict*"])


def test_inconclusive_fails_with_the_reason(suite):
    suite.noisy()
    suite.set(seconds=0.15, jitter=0)
    result = suite.run("--metal-max-runs=2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*fake-model*inconclusive", "inconclusive: *", "*1 inconclusive in*"])
    result = suite.run("--metal-max-runs=2", "--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*inconclusive*--metal-strict*", "*why *"])


def test_what_is_within_passes(suite):
    suite.run("--metal-update-baselines")
    suite.run("--metal-strict").assert_outcomes(passed=1)


def test_of_marker_and_ini_key(suite):
    suite.ini(metal_strict="true")
    suite.write(
        """
        import pytest
        def test_strict(metal_bench):
            metal_bench("fake-model", name="a")
        @pytest.mark.metal_bench(strict=False)
        def test_not(metal_bench):
            metal_bench("fake-model", name="b")
        """
    )
    suite.run("-rf").stdout.fnmatch_lines(["FAILED *::test_strict*", "*1 failed, 1 no baseline*"])
