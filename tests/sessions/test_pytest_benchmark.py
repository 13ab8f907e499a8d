"""pytest-benchmark: every measured test is one row of its table and its JSON, and its flags keep their meaning."""

from __future__ import annotations

import json
import os

import pytest

BOTH = """
def test_it(metal_bench):
    metal_bench("fake-model")
def test_plain():
    pass
"""


def rows(suite, *arguments):
    """The rows of pytest-benchmark's JSON, with the result."""
    path = suite.pytester.path / "rows.json"
    path.unlink(missing_ok=True)
    result = suite.run(f"--benchmark-json={path}", *arguments)
    text = path.read_text() if path.exists() else ""
    return result, json.loads(text)["benchmarks"] if text else []


def test_one_row_with_seconds_per_batch(suite):
    suite.set(gpus=["gpu"], gpu_factor=0.5, jitter=0)
    result, (cpu, gpu) = rows(suite, "--metal-devices=cpu,gpu", "--metal-batches=24")
    assert (cpu["name"], gpu["name"]) == ("test_it[cpu]", "test_it[gpu]")
    for row, seconds in ((cpu, 0.1), (gpu, 0.05)):
        stats = row["stats"]
        assert [stats[key] for key in ("min", "max", "mean", "median")] == [pytest.approx(seconds)] * 4
        assert stats["rounds"] * stats["iterations"] == 24
    result.stdout.fnmatch_lines_random(["*benchmark: 2 tests*", "test_it[[]cpu[]] *", "test_it[[]gpu[]] *"])


def test_short_steps_are_rounds_of_several_batches(suite):
    suite.set(seconds=0.001, jitter=0)
    _, (row,) = rows(suite)
    assert row["stats"]["mean"] == pytest.approx(0.001)
    assert row["stats"]["rounds"] * row["stats"]["iterations"] == pytest.approx(1000, abs=60)


def test_row_says_what_was_measured(suite):
    _, (row,) = rows(suite)
    assert "fake-model[b8]@cpu:fake" in json.dumps(row["extra_info"])
    assert "no baseline" in json.dumps(row["extra_info"])


def test_recorded_and_slower_tests_are_rows_too(suite):
    assert len(rows(suite, "--metal-update-baselines")[1]) == 1
    suite.set(seconds=0.2)
    result, (row,) = rows(suite)
    result.assert_outcomes(failed=1)
    assert row["stats"]["mean"] == pytest.approx(0.2, rel=0.05)


def test_second_call_adds_no_row(suite):
    suite.write(
        """
        def test_it(metal_bench):
            metal_bench("fake-model")
            metal_bench("fake-model", depth=2)
        """
    )
    _, (row,) = rows(suite)
    assert row["stats"]["mean"] == pytest.approx(0.1, rel=0.05)


def test_speedup_and_live_are_rows(suite):
    suite.write(
        """
        import time
        def test_speedup(metal_speedup):
            metal_speedup("fake-model")
        def test_live(metal_live):
            metal_live(lambda: time.sleep(0.02) or 1.0, name="live")
        """
    )
    suite.set(gpus=["gpu"])
    result, found = rows(suite, "-W", "error")
    assert result.ret == 0
    by_name = {row["name"]: row["stats"] for row in found}
    assert sorted(by_name) == ["test_live", "test_speedup"]
    assert [row["extra_info"]["metal_parity"] for row in found if row["name"] == "test_speedup"] == ["checked"]
    assert by_name["test_live"]["median"] == pytest.approx(0.02, rel=0.5)


def test_comparison_with_a_saved_session(suite):
    suite.run("--benchmark-save=first")
    result = suite.run("--benchmark-compare=0001")
    result.stdout.fnmatch_lines_random(["test_it[[]cpu[]] (NOW) *", "test_it[[]cpu[]] (0001_first) *"])


def test_group_of_the_user_is_kept(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.benchmark(group="training")
        def test_it(metal_bench):
            metal_bench("fake-model")
        @pytest.mark.benchmark(group="others")
        class TestOthers:
            @pytest.mark.benchmark(min_rounds=3)
            def test_there(self, metal_bench):
                metal_bench("fake-model", name="b")
        """
    )
    result, (first, second) = rows(suite)
    assert first["group"] == "training"
    assert first["stats"]["mean"] == pytest.approx(0.1, rel=0.05)
    assert second["stats"]["mean"] == pytest.approx(0.1, rel=0.05)
    result.stdout.fnmatch_lines(["*benchmark 'training': 1 tests*"])


def test_own_benchmarks_of_the_user_stand_beside(suite):
    suite.write(
        "def test_it(metal_bench):\n    metal_bench('fake-model')\ndef test_own(benchmark):\n    benchmark(float)"
    )
    _, found = rows(suite, "-W", "error")
    assert [row["name"] for row in found] == ["test_it[cpu]", "test_own"]
    assert found[1]["stats"]["mean"] < 0.01


def test_benchmark_only_runs_them(suite):
    suite.write(BOTH)
    result = suite.run("--benchmark-only", "--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(passed=1, skipped=1)
    assert len(suite.stored) == 1


def test_benchmark_skip_skips_them(suite):
    suite.write(BOTH)
    result = suite.run("--benchmark-skip", "--metal-update-baselines", "-W", "error")
    result.assert_outcomes(passed=1, skipped=1)
    assert suite.trained() == []
    assert not suite.file.exists()


@pytest.mark.parametrize("flags", [["--benchmark-disable"], ["-p", "no:benchmark"]], ids=["disabled", "absent"])
def test_without_its_rows_they_are_measured_and_gated(suite, flags):
    suite.run("--metal-update-baselines", "-W", "error", *flags).assert_outcomes(passed=1)
    suite.set(seconds=0.2)
    result = suite.run("-W", "error", *flags)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*fake-model*slower than its baseline*"])
    result.stdout.no_fnmatch_line("*benchmark: 1 tests*")


@pytest.mark.parametrize("flags", [[], ["-p", "no:benchmark"]], ids=["present", "absent"])
def test_what_is_not_measured_adds_no_row_and_no_warning(suite, flags):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(devices="gpu")
        def test_gpu(metal_bench):
            metal_bench("fake-model")
        def test_broken(metal_bench):
            metal_bench("fake-model", name="broken")
        def test_skips_itself(metal_bench):
            pytest.skip("not today")
        def test_fails_before(metal_bench):
            assert False
        def test_good(metal_bench):
            metal_bench("fake-model")
        """
    )
    suite.set(nan="broken")
    arguments = "--metal-update-baselines", "--metal-runs=1", "-W", "error", "--metal-devices=cpu,gpu"
    result, found = rows(suite, *arguments) if not flags else (suite.run(*arguments, *flags), [])
    # on the GPU, which is not there, all five skip
    result.assert_outcomes(passed=1, failed=1, errors=1, skipped=1 + 5)
    assert [row["name"] for row in found] == ([] if flags else ["test_good[cpu]"])


def test_smoke_adds_no_warning(suite):
    suite.run("--metal=smoke", "-W", "error").assert_outcomes(passed=1)


HIDDEN = """
import importlib.metadata, sys
sys.modules["pytest_benchmark"] = None  # an import of it fails
found = importlib.metadata.distributions
importlib.metadata.distributions = lambda **words: (
    one for one in found(**words) if one.metadata["Name"] != "pytest-benchmark"
)
"""


@pytest.fixture
def hidden(suite, monkeypatch):
    """A suite whose interpreters have no pytest-benchmark installed: its distribution and its package are hidden."""
    folder = suite.pytester.mkdir("hidden")
    (folder / "sitecustomize.py").write_text(HIDDEN)
    conftest = suite.pytester.path / "conftest.py"  # its processes wait for no slow minute either
    conftest.write_text(
        f"import pytest_metalperf.suspects as suspects\nsuspects.PATIENCE = 0.0\n{conftest.read_text()}"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return suite


def test_it_need_not_be_installed(hidden):
    run = hidden.pytester.runpytest_subprocess
    assert "unrecognized arguments: --benchmark-only" in run("--benchmark-only").stderr.str()
    run("--metal-update-baselines", "-W", "error").assert_outcomes(passed=1)
    hidden.set(seconds=0.2)
    result = run("-W", "error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*fake-model*slower than its baseline*"])


def test_without_it_a_suite_under_xdist_has_no_warning(hidden):
    hidden.write("def test_plain(): pass")
    hidden.pytester.runpytest_subprocess("-n", "1", "-W", "error").assert_outcomes(passed=1)


def test_a_row_that_cannot_be_made_costs_the_measurement_nothing(suite):
    """pytest-benchmark fails where cProfile watches the test, as pytest-profiling has it."""
    suite.write(
        """
        import pytest

        def refuse(self, *_, **__):
            self._mode = "benchmark.pedantic(...)"
            raise TypeError("'Profile' object is not callable")

        @pytest.fixture
        def watched(benchmark, monkeypatch):
            monkeypatch.setattr(type(benchmark), "pedantic", refuse)

        def test_it(watched, metal_bench):
            metal_bench("fake-model")
        """
    )
    assert suite.run("--metal-update-baselines").parseoutcomes() == {"passed": 1}
    assert len(suite.stored) == 1
