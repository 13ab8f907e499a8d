"""--metal-plan: what a session would take, and what it could see."""

from __future__ import annotations

import json
import subprocess

import pytest

from pytest_metalperf.measure.forecast import took

REFERENCE = "def test_it(metal_bench):\n    metal_bench('resnet50v2-head')\n"


def test_nothing_is_measured(suite):
    suite.run("--metal-update-baselines")
    suite.trained()
    result = suite.run("--metal-plan")
    assert result.ret == pytest.ExitCode.OK
    assert suite.trained() == []
    result.stdout.no_fnmatch_line("*1 passed*")


def test_with_a_baseline_it_says_runs_time_and_what_can_be_seen(suite):
    suite.run("--metal-update-baselines")
    result = suite.run("--metal-plan")
    result.stdout.fnmatch_lines(
        [
            "metalperf: 1 test of training performance, about * (a guess)",
            "test * workload * stored * fresh runs * time * visible",
            "test_suite.py::test_it[[]cpu] * fake-model[[]b8]@cpu:fake * 3 runs * 1-5 * * s (guess) * %",
        ]
    )


def test_a_gpu_that_was_measured_here_is_planned_too(suite):
    suite.set(gpus=["gpu"])
    suite.run("--metal-update-baselines", "--metal-devices=cpu,gpu").assert_outcomes(passed=2)
    result = suite.run("--metal-plan", "--metal-devices=cpu,gpu")
    result.stdout.fnmatch_lines(
        [
            "test_suite.py::test_it[[]cpu] * fake-model[[]b8]@cpu:fake * 3 runs * 1-5 *",
            "test_suite.py::test_it[[]gpu] * fake-model[[]b8]@gpu:fake * 3 runs * 1-5 *",
        ]
    )


def test_recording_takes_its_runs(suite):
    suite.run("--metal-update-baselines")
    result = suite.run("--metal-plan", "--metal-update-baselines", "--metal-update-mode", "all", "--metal-runs", "7")
    result.stdout.fnmatch_lines(["test_suite.py::test_it* 7 *-"])


def test_what_is_not_known_is_unknown(suite):
    result = suite.run("--metal-plan")
    result.stdout.fnmatch_lines(["test_suite.py::test_it[[]cpu] * not measured here before * unknown * unknown * -"])


def test_a_builder_of_ones_own_is_found_by_its_name_in_the_baselines(suite):
    suite.write(
        "def ranker():\n    from fake_backend import FakeModel\n    return FakeModel(0.1)\n\n"
        "def test_it(metal_bench):\n    metal_bench(ranker)\n"
    )
    suite.run("--metal-update-baselines")  # the cache is off: nothing is known but what is stored
    suite.run("--metal-plan").stdout.fnmatch_lines(["test_suite.py::test_it* ranker@cpu:fake * 3 runs * 1-5 * %"])


@pytest.mark.parametrize("flags", [["--metal=off"], ["-k", "nothing"]])
def test_nothing_to_plan_is_said(suite, flags):
    result = suite.run("--metal-plan", *flags)
    result.stdout.fnmatch_lines(["metalperf: nothing to plan: *"])


def test_a_reference_model_has_rough_figures(suite):
    suite.ini(metal_backend="tensorflow", metal_size="quick")
    suite.write(REFERENCE)
    result = suite.run("--metal-plan")
    result.stdout.fnmatch_lines(["test_suite.py::test_it* resnet50v2-head[[]64px,b8]@cpu:tensorflow * 1 * s (guess) *"])


def test_what_was_timed_here_is_no_guess(suite):
    suite.ini(addopts=None)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)
    suite.run("--metal-plan").stdout.no_fnmatch_line("*guess)*")
    suite.file.write_text(suite.file.read_text().replace("fake-model[b8]", "other[b8]"))
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n\ndef test_two(metal_bench):\n    'other'\n")
    suite.run("--metal-plan").stdout.fnmatch_lines(
        ["metalperf: 2 tests of training performance, about * (a guess for 1 of 2 workloads)"]
    )


def test_what_tests_took_is_one_entry_of_the_cache_whatever_their_ids(suite):
    suite.ini(addopts=None)
    suite.write(
        """
        import pytest
        @pytest.mark.parametrize("file", ["../../../../../data.csv", "a/b", "x" * 300])
        def test_it(metal_bench, file):
            metal_bench("fake-model")
        """
    )
    suite.run("--metal-update-baselines", "-W", "error").assert_outcomes(passed=3)
    suite.run("-k", "data", "-W", "error").assert_outcomes(passed=1)
    result = suite.run("--metal-plan")
    result.stdout.no_fnmatch_line("*unknown*")
    kept = [path.name for path in (suite.pytester.path / ".pytest_cache" / "v" / "metalperf").iterdir()]
    assert kept == ["seconds"]


@pytest.mark.parametrize(
    "damage", ["[" * 50_000, "{", '{"test_suite.py::test_it[cpu]": [["x", NaN, 1.0]]}', "[1]", "null"]
)
def test_a_damaged_cache_is_no_cache(suite, damage):
    suite.ini(addopts=None)
    cache = suite.pytester.path / ".pytest_cache" / "v" / "metalperf" / "seconds"
    cache.parent.mkdir(parents=True)
    cache.write_text(damage)
    result = suite.run("--metal-plan", "-W", "error")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*nan*")
    suite.run("--metal-update-baselines", "-W", "error").assert_outcomes(passed=1)
    assert list(json.loads(cache.read_text())) == ["test_suite.py::test_it[cpu]"]


def test_under_against(suite):
    suite.run("--metal-update-baselines")
    result = suite.run("--metal-plan", "--metal-against=python3")
    result.stdout.fnmatch_lines(["test_suite.py::test_it* unknown *"])


def test_other_tests_do_not_run_either(suite):
    suite.write("def test_plain():\n    assert False\n\ndef test_it(metal_bench):\n    metal_bench('fake-model')\n")
    assert suite.run("--metal-plan").ret == pytest.ExitCode.OK


def test_what_preparing_takes_is_learned_from_runs_alone_and_side_by_side():
    learned = took("x", 24.0, [1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 2.0, 2.0])
    assert (learned.prepare, learned.measure) == (pytest.approx(10.0), 1.0)


def test_a_replay_counts_with_the_chance_that_it_is_needed(suite):
    """A suite under git whose baseline can be trained again: pairs are announced, and their time."""
    suite.write("from own import build\n\ndef test_it(metal_bench):\n    metal_bench(build, name='own')\n")
    (suite.pytester.path / "own.py").write_text(
        "from fake_backend import FakeModel\n\ndef build():\n    return FakeModel(0.1)\n"
    )
    own = ["git", "-C", str(suite.pytester.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*own, *words], check=True)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    line = "test_suite.py::test_it[[]cpu] * own@cpu:fake * 3 runs * {runs} *"
    suite.run("--metal-plan").stdout.fnmatch_lines(
        [
            "metalperf: 1 test of training performance, about * s (a guess), * s if code or packages have changed since *",
            line.format(runs="1-5, changed: 1, 0-15 pairs") + " s, changed: * s (guess) *",
        ]
    )
    suite.run("--metal-plan", "--metal-confirm=stored").stdout.fnmatch_lines([line.format(runs="1-5")])
