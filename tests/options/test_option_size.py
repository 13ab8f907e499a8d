"""--metal-size quick|standard|full: axes of the named models; quick also means 8 batches, 2 warm-up, 2 runs."""

from __future__ import annotations

import pytest

SIZED = """
from fake_backend import Fake, build

def pytest_metalperf_backends():
    return {"fake": Fake}

def pytest_metalperf_models():
    from pytest_metalperf import Model
    sizes = {"quick": {"batch_size": 2}, "standard": {"batch_size": 4}, "full": {"batch_size": 16}}
    return [Model("sized", build, sizes)]
"""
TEST = "def test_it(metal_bench):\n    metal_bench('sized')\n"


@pytest.fixture
def sized(suite):
    """A suite that sets no batches, warm-up or runs, with a model of three sizes."""
    suite.pytester.makeconftest(SIZED)
    suite.ini(metal_batches=None, metal_warmup=None, metal_runs=None)
    suite.write(TEST)
    suite.set(seconds=0.11)  # 10 blocks of it last longer than the second that a run needs at least
    return suite


def test_standard_is_the_default(sized):
    sized.run("--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = sized.stored.items()
    assert entry[0] == "sized[b4]@cpu:fake"
    assert [run["batches"] for run in entry[1]["runs"]] == [25] * 5


def test_each_size_is_a_workload_and_quick_is_shorter(sized):
    sized.run("--metal-size=quick", "--metal-update-baselines").assert_outcomes(passed=1)
    quick = sized.trained()
    sized.run("--metal-size=full", "--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=1)
    (full,) = sized.trained()
    assert sorted(sized.stored) == ["sized[b16]@cpu:fake", "sized[b2]@cpu:fake"]
    runs = sized.stored["sized[b2]@cpu:fake"]["runs"]
    assert [run["batches"] for run in runs] == [10, 10]  # 8 asked for, but a run has at least 10 blocks
    assert quick == [full - (25 - 10) - (5 - 2)] * 2  # batches and warm-up


def test_what_is_given_wins_over_what_quick_brings(sized):
    sized.ini(metal_batches=12, metal_warmup=None, metal_runs=None, metal_size="quick")
    sized.run("--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=1)
    (run,) = sized.stored["sized[b2]@cpu:fake"]["runs"]
    assert run["batches"] == 12


def test_marker_and_axes_of_a_call(sized):
    sized.write(
        """
        import pytest
        @pytest.mark.metal_bench(size="full", runs=1)
        def test_marker(metal_bench):
            metal_bench("sized")
        def test_call(metal_bench):
            metal_bench("sized", size="quick", batch_size=3, runs=1)
        """
    )
    sized.run("--metal-update-baselines").assert_outcomes(passed=2)
    assert sorted(sized.stored) == ["sized[b16]@cpu:fake", "sized[b3]@cpu:fake"]


def test_quick_of_a_marker_brings_its_batches_too(sized):
    sized.write("import pytest\n@pytest.mark.metal_bench(size='quick')\n" + TEST)
    sized.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert [run["batches"] for run in sized.stored["sized[b2]@cpu:fake"]["runs"]] == [10, 10]


def test_unknown_value(suite):
    result = suite.run("--metal-size=tiny")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-size: *quick, standard, full*'tiny'*"])
