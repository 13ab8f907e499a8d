"""--metal-batches, --metal-warmup and --metal-runs: how long a run is, and how many of them a baseline takes."""

from __future__ import annotations

import pytest


def test_batches_are_timed_per_run(suite):
    suite.run("--metal-batches=17", "--metal-runs=2", "--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert [run["batches"] for run in entry["runs"]] == [17, 17]


def test_a_run_has_at_least_ten_blocks_and_lasts_at_least_a_second(suite):
    suite.write("def test_it(metal_bench):\n    print(len(metal_bench('fake-model').samples), 'blocks')\n")
    suite.set(seconds=0.2)
    suite.run("--metal-batches=1", "-s").stdout.fnmatch_lines(["*10 blocks*"])
    suite.set(seconds=0.048, jitter=0)  # two of them are a block, and ten blocks 0.96 s
    suite.run("--metal-batches=1", "-s").stdout.fnmatch_lines(["*11 blocks*"])


def test_marker_and_ini_key(suite):
    suite.ini(metal_batches=18)
    suite.write(
        """
        import pytest
        def test_ini(metal_bench):
            assert len(metal_bench("fake-model", name="a").samples) == 18
        @pytest.mark.metal_bench(batches=19)
        def test_marker(metal_bench):
            assert len(metal_bench("fake-model", name="b").samples) == 19
        """
    )
    suite.run("--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=2)


def test_what_is_no_count_is_refused(suite):
    result = suite.run("--metal-batches=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-batches: expected *"])
