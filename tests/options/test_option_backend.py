"""--metal-backend NAMES: with several, each test runs once per device and backend."""

from __future__ import annotations

import pytest

TWO = """
from fake_backend import Fake, build

def pytest_metalperf_backends():
    return {"fake": Fake, "other": Fake}

def pytest_metalperf_models():
    from pytest_metalperf import Model
    return [Model("fake-model", build)]
"""


def test_one_backend_stays_out_of_the_test_id(suite):
    suite.run("--collect-only", "-q").stdout.fnmatch_lines(["test_suite.py::test_it[[]cpu[]]"])


def test_several_are_tests_and_entries_of_their_own(suite):
    suite.pytester.makeconftest(TWO)
    arguments = "--metal-backend=fake,other", "--metal-update-baselines"
    result = suite.run(*arguments, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_it[[]cpu-fake[]] *", "*::test_it[[]cpu-other[]] *"])
    assert sorted(suite.stored) == ["fake-model@cpu:fake", "fake-model@cpu:other"]


def test_missing_gpu_is_asked_of_each(suite):
    suite.pytester.makeconftest(TWO)
    result = suite.run("--metal-backend=fake,other", "--metal-devices=gpu", "-rs")
    result.assert_outcomes(skipped=2)


def test_call_chooses(suite):
    suite.pytester.makeconftest(TWO)
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', backend='other')\n")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["fake-model@cpu:other"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_unknown_backend_says_what_there_is(suite, device):
    result = suite.run("--metal-backend=caffe", f"--metal-devices={device}")
    said = result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.TESTS_FAILED)
    assert "'caffe'" in said
    assert "fake, jax, tensorflow, torch" in said
    assert "INTERNALERROR" not in said
    assert suite.trained() == []
