"""--metal-runs N: fresh processes when a baseline is recorded."""

from __future__ import annotations

import pytest

from pytest_metalperf.measure.capacity import gpu_share, workers_on


def test_so_many_processes_and_runs_are_stored(suite):
    suite.run("--metal-runs=4", "--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert len(entry["runs"]) == len(suite.trained()) == 4


def test_a_gated_session_needs_fewer(suite):
    suite.run("--metal-runs=4", "--metal-update-baselines")
    suite.trained()
    suite.run("--metal-runs=4").assert_outcomes(passed=1)
    assert len(suite.trained()) < 4


def test_marker_and_call(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(runs=2)
        def test_marker(metal_bench):
            metal_bench("fake-model", name="a")
        def test_call(metal_bench):
            metal_bench("fake-model", name="b", runs=1)
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    assert {name[0]: len(entry["runs"]) for name, entry in suite.stored.items()} == {"a": 2, "b": 1}


def test_two_tests_of_one_workload_store_what_the_larger_asks(suite):
    suite.write(
        """
        def test_a(metal_bench):
            metal_bench("fake-model", runs=2)
        def test_b(metal_bench):
            metal_bench("fake-model", runs=4)
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    (entry,) = suite.stored.values()
    assert len(entry["runs"]) == 4


GIGA = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "memory", "beside"),
    [
        (
            0.55,
            GIGA,
            [0, 1, 1, 1, 1],
        ),  # of a GPU that tells what it holds: twice what one run took fits into nine tenths
        (0.4, GIGA, [0, 0, 0, 0, 0]),
        (0.99, GIGA, [0, 3, 3, 3, 3]),
        (None, GIGA, [0, 0, 0, 0, 0]),  # of one that tells nothing
    ],
)
def test_a_gpu_prepares_no_more_at_once_than_its_memory_holds(suite, free, memory, beside):
    suite.monkeypatch.setattr("pytest_metalperf.measure.capacity.cpus", lambda: (4, []))
    suite.set(gpus=["gpu"], conditions={"gpu_memory_free": free}, peak=memory)
    suite.run("--metal-devices=gpu", "--metal-runs=5", "--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert [run["conditions"]["prepared_beside"] for run in entry["runs"]] == beside


@pytest.mark.parametrize(
    ("free", "peak", "common", "share"),
    [
        (0.75, GIGA, None, 0.25),
        (0.75, 8 * GIGA, 16 * GIGA, 0.25),  # what the GPU tells goes first
        (None, 4 * GIGA, 16 * GIGA, 0.25),  # a Mac's
        (None, 4 * GIGA, None, 1.0),
        (None, None, 16 * GIGA, 1.0),
    ],
)
def test_what_a_run_takes_of_a_gpu_is_all_of_it_where_nobody_knows(free, peak, common, share):
    assert gpu_share(free, peak, common) == share


def test_none_is_refused(suite):
    result = suite.run("--metal-runs=0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-runs: expected at least 1*"])


@pytest.mark.parametrize(
    ("cpus", "limits", "workers"),
    [(1, [], 1), (2, [], 2), (64, [], 4), (64, [1.5], 1), (64, [0.5], 1), (8, [3.0, 2.0], 2), (2, [16.0], 2)],
)
def test_no_more_workers_prepare_at_once_than_quota_and_affinity_allow(cpus, limits, workers):
    assert workers_on(cpus, limits) == workers


def test_the_first_runs_peak_says_how_many_the_memory_holds(suite):
    suite.monkeypatch.setattr("pytest_metalperf.measure.capacity.cpus", lambda: (4, []))
    suite.set(peak=10**15)
    suite.run("--metal-runs=6", "--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert [run["conditions"]["prepared_beside"] for run in entry["runs"]] == [3, 3, 3, 3, 0, 0]
