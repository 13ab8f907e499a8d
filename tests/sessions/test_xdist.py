"""pytest-xdist: workers that share a machine spoil each other's times, so nothing is measured there."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

BOTH = """
def test_plain():
    pass
def test_it(metal_bench):
    metal_bench("fake-model")
def test_speedup(metal_speedup):
    metal_speedup("fake-model")
def test_live(metal_live):
    metal_live(float, name="live")
"""
WHY = "*not measured under pytest-xdist*-n 0*"


def test_skips_with_one_sentence_and_stores_nothing(suite):
    suite.write(BOTH)
    result = suite.run("-n2", "--metal-update-baselines", "-rs")
    result.assert_outcomes(passed=1, skipped=3)
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"SKIPPED*{WHY}"])
    assert not suite.file.parent.exists()
    assert suite.trained() == []


def test_fails_under_strict(suite):
    suite.write(BOTH)
    result = suite.run("-n1", "--metal-strict", "--metal-update-baselines")
    assert result.ret == 1
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    assert "skipped" not in outcomes
    result.stdout.fnmatch_lines([WHY])
    assert not suite.file.parent.exists()


def test_no_workers_no_objection(suite):
    suite.run("-n0", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)


def test_ini_n_is_overruled_by_what_the_sentence_says(suite):
    suite.ini(addopts="-n 2 -p no:cacheprovider")
    suite.run("-m", "metal_bench", "-n", "0", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
