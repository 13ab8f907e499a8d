"""--metal on|only|off|smoke: whether performance tests run with the others, alone, not at all, or as one batch each."""

from __future__ import annotations

import pytest

BOTH = """
def test_plain():
    pass
def test_it(metal_bench):
    metal_bench("fake-model")
"""


def test_on_is_the_default(suite):
    suite.write(BOTH)
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    assert len(suite.trained()) == 3


def test_off_skips_with_a_reason_and_trains_nothing(suite):
    suite.write(BOTH)
    result = suite.run("--metal", "off", "--metal-update-baselines", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*--metal off"])
    assert suite.trained() == []
    assert not suite.file.exists()


def test_only_deselects_the_others(suite):
    suite.write(BOTH)
    suite.run("--metal=only", "--metal-update-baselines").assert_outcomes(passed=1, deselected=1)


def test_smoke_trains_one_batch_and_gives_no_verdict(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = suite.file.read_bytes()
    (recording, *_) = suite.trained()
    suite.set(seconds=0.3)  # would be slower
    result = suite.run("--metal", "smoke", "--metal-update-baselines", "--metal-update-mode", "all")
    result.assert_outcomes(passed=1)
    (steps,) = suite.trained()
    assert steps < recording
    assert suite.file.read_bytes() == before
    result.stdout.no_fnmatch_line("*slower*")
    result.stdout.fnmatch_lines(["*fake-model*smoke", "0 gated; not gated: 1 trained without a verdict"])


def test_smoke_needs_no_baseline_in_ci_but_finds_what_is_broken(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite.write(
        """
        def test_good(metal_bench):
            assert len(metal_bench("fake-model").samples) == 1
        def test_broken(metal_bench):
            metal_bench("fake-model", name="broken")
        """
    )
    suite.set(nan="broken")
    result = suite.run("--metal", "smoke")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    assert not suite.file.exists()


def test_ini_key(suite):
    suite.write(BOTH)
    suite.ini(metal="off")
    suite.run().assert_outcomes(passed=1, skipped=1)
    suite.run("--metal", "only", "--collect-only").assert_outcomes(deselected=1)


def test_unknown_value(suite):
    result = suite.run("--metal=sometimes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal: *on, only, off, smoke*"])
