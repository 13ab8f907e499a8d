"""Figures of another estimator are not compared with today's: the test says so, and an update records again."""

from __future__ import annotations

import json

import pytest

from pytest_metalperf.gate import ESTIMATOR, PAIR_ESTIMATOR

BENCH = "def test_it(metal_bench):\n    metal_bench('fake-model')\n"
SPEEDUP = "def test_it(metal_speedup):\n    metal_speedup('fake-model')\n"


@pytest.fixture(params=[(BENCH, "runs", ESTIMATOR), (SPEEDUP, "pairs", PAIR_ESTIMATOR)], ids=["bench", "speedup"])
def other(suite, request):
    """A suite whose stored figures are medians, what they are called in its file, and today's estimator."""
    source, runs, estimator = request.param
    suite.set(gpus=["gpu"] if runs == "pairs" else [])
    suite.write(source)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    whole = json.loads(suite.file.read_text())
    (entry,) = whole["workloads" if runs == "runs" else "speedups"].values()
    assert {one["estimator"] for one in (*entry[runs], entry["anchor"])} == {estimator}
    for one in (*entry[runs], entry["anchor"]):
        one["estimator"] = "median"
    suite.file.write_text(json.dumps(whole))
    return suite, runs, estimator


def test_it_is_said_what_to_do(other):
    suite, _, _ = other
    before = suite.file.read_bytes()
    suite.trained()
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*another estimator ('median')*: measure or record again, *--metal-update-baselines*"])
    assert not suite.trained()
    assert suite.file.read_bytes() == before
    assert "INTERNALERROR" not in suite.run("--metal-plan").stdout.str()


@pytest.mark.parametrize("mode", ["changed", "missing", "extend"])
def test_an_update_records_again(other, mode):
    suite, runs, estimator = other
    suite.run("--metal-update-baselines", f"--metal-update-mode={mode}").assert_outcomes(passed=1)
    (entry,) = (suite.stored if runs == "runs" else suite.speedups).values()
    assert entry["anchor"]["estimator"] == estimator
    assert estimator in {one["estimator"] for one in entry[runs]}
    assert ("median" in {one["estimator"] for one in entry[runs]}) == (mode == "extend")
    suite.run().assert_outcomes(passed=1)
