"""--metal-on-missing auto|fail|warn: what becomes of a test that has no baseline on this machine."""

from __future__ import annotations

import pytest

HOW = "*--metal-update-baselines*"


def test_fail(suite):
    result = suite.run("--metal-on-missing=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*record it with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-update-baselines*'])


def test_warn_wins_over_ci(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = suite.run("--metal-on-missing=warn")
    assert result.ret == 0
    result.stdout.fnmatch_lines([HOW, "0 gated; not gated: 1 no baseline", "*1 no baseline in*"])


def test_auto_is_the_default_and_asks_for_ci(suite, monkeypatch):
    suite.ini(metal_on_missing="auto")
    assert suite.run().ret == 0
    monkeypatch.setenv("CI", "1")
    suite.run().assert_outcomes(failed=1)


def test_what_another_machine_stored_is_no_baseline_here(suite):
    suite.run("--metal-machine=other", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    suite.run("--metal-on-missing=fail").assert_outcomes(failed=1)


def test_of_marker(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(on_missing="fail")
        def test_must(metal_bench):
            metal_bench("fake-model", name="a")
        def test_may(metal_bench):
            metal_bench("fake-model", name="b")
        """
    )
    result = suite.run("-rf")
    result.stdout.fnmatch_lines(["FAILED *::test_must*", "*1 failed, 1 no baseline*"])


def test_unknown_value(suite):
    result = suite.run("--metal-on-missing=ignore")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-on-missing: *auto, fail, warn*'ignore'*"])


def test_other_sizes_of_the_same_model_are_named(suite):
    suite.run("--metal-update-baselines")
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', batch_size=16)\n")
    result = suite.run("--metal-on-missing=fail")
    result.stdout.fnmatch_lines(
        ["fake-model[[]b16] on cpu * has no baseline*", "  stored    fake-model[[]b8]@cpu:fake: other work, *"]
    )
