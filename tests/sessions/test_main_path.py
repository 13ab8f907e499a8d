"""The main job from fixture to verdict: record, gate, fail, accept."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree as ET

import pytest
from conftest import INI


def test_without_a_baseline_it_passes_and_says_how_to_record(suite):
    result = suite.run()
    result.assert_outcomes()  # "no baseline" is counted by its own word
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*fake-model[[]b8[]]*cpu*no baseline",
            "*add*--metal-update-baselines --metal-update-mode missing*",
            "*1 no baseline in *",
        ]
    )
    assert not suite.file.exists()


def test_without_a_baseline_it_fails_in_ci(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*record it with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-update-baselines*'])


def test_recorded_then_within(suite):
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    entry = suite.stored["fake-model[b8]@cpu:fake"]
    assert len(entry["runs"]) == 3
    assert entry["examples"] == 8
    assert abs(entry["anchor"]["seconds_per_batch"] - 0.1) < 0.002
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*fake-model*within", "1 gated: 1 within"])


def test_twice_slower_fails_that_test_alone_and_the_flag_accepts_it(suite):
    suite.write(
        """
        from fake_backend import build
        def test_changed(metal_bench):
            metal_bench("fake-model")
        def other(batch_size=8):
            from fake_backend import FakeModel
            return FakeModel(0.3, batch_size)
        def test_same(metal_bench):
            metal_bench(other)
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    before = suite.stored
    suite.set(seconds=0.2, version="2.0")
    result = suite.run("--junitxml=out.xml")
    result.assert_outcomes(failed=1, passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]] on cpu (fake) is * times slower than its baseline * test_suite.py::test_changed[[]cpu[]]",
            "  now       0.* s/batch   * runs of 1* batches, 95 % interval 0.* to 0.*",
            "  baseline  0.* s/batch   3 runs of 1 session, last 20*",
            "  allowed   +5.0 %*",
            "  changed   fake 1.0 -> 2.0",
            '  accept it with  pytest "test_suite.py::test_changed[[]cpu[]]" --metal-update-baselines',
        ]
    )
    (xml,) = ET.parse(suite.pytester.path / "out.xml").getroot().iter("testsuite")
    assert xml.get("failures") == "1"
    assert xml.get("errors") == "0"
    values = {
        p.get("name"): p.get("value") for p in xml.find(".//testcase[@name='test_changed[cpu]']").iter("property")
    }
    assert values["metal_verdict"] == "slower"

    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["stored in test-machine.json:", "*fake-model*0.* -> 0.* s/batch (+*; 3 -> 3 runs)"])
    after = suite.stored
    assert after["other[b8]@cpu:fake"] == before["other[b8]@cpu:fake"]
    changed = after["fake-model[b8]@cpu:fake"]
    assert changed["anchor"] == before["fake-model[b8]@cpu:fake"]["anchor"]
    assert abs(changed["runs"][0]["seconds_per_batch"] - 0.2) < 0.005
    suite.run().assert_outcomes(passed=2)


def test_faster_passes_and_is_said(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.set(seconds=0.05)
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*fake-model*faster", "1 gated: 1 faster"])


def test_measurement_is_returned_with_its_figures(suite):
    suite.write(
        """
        import pytest
        def test_it(metal_bench, metal_device):
            result = metal_bench("fake-model", batch_size=4)
            assert metal_device == result.device == "cpu"
            assert result.seconds_per_batch == pytest.approx(0.1, rel=0.05)
            assert result.examples_per_second == pytest.approx(40, rel=0.05)
            assert len(result.samples) >= 10
            assert result.first_batch_seconds > 0
            assert result.peak_memory_bytes > 1e6
            assert result.verdict == "no baseline"
        """
    )
    suite.run().assert_outcomes()  # passed, but counted as no baseline


def test_one_workload_in_two_tests_is_measured_once(suite):
    suite.write(
        """
        first = []
        def test_a(metal_bench):
            first.append(metal_bench("fake-model"))
        def test_b(metal_bench):
            assert metal_bench("fake-model").samples == first[0].samples
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    suite.run().assert_outcomes(passed=2)


def test_two_calls_in_one_test_are_two_measurements(suite):
    suite.write(
        """
        def test_it(metal_bench):
            one = metal_bench("fake-model", batch_size=2)
            two = metal_bench("fake-model", batch_size=4)
            assert one.workload.id != two.workload.id
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert sorted(suite.stored) == ["fake-model[b2]@cpu:fake", "fake-model[b4]@cpu:fake"]


def test_file_is_unchanged_when_nothing_changed(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = suite.file.read_bytes()
    assert before.endswith(b"}\n")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert suite.file.read_bytes() == before
    assert json.loads(before)["format"] == 2


def test_a_freeze_is_told_though_the_verdict_is_fine(suite):
    suite.run("--metal-update-baselines")
    suite.set(freezes_at=8)
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8]@cpu:fake: 1 freeze of 10 times a step or more, the longest 2.* s/batch",
            "1 gated: 1 within",
        ]
    )


def test_a_command_that_is_printed_is_one_for_a_shell(suite):
    suite.pytester.makeini("[pytest]")
    (suite.pytester.path / "perf.ini").write_text(INI)
    suite.write(
        """
        import pytest
        @pytest.mark.parametrize("q", ["a"], ids=["$HOME `id`"])
        def test_it(metal_bench, q):
            metal_bench("fake-model")
        """
    )
    suite.run("-c", "perf.ini", "--metal-update-baselines").assert_outcomes(passed=1)
    suite.set(seconds=0.3)
    result = suite.run("-c", "perf.ini", "-o", "metal_batches=12")
    (line,) = [line for line in result.outlines if line.startswith("  accept it with")]
    words = shlex.split(line.removeprefix("  accept it with"))
    assert words == [
        "pytest", "test_suite.py::test_it[cpu-$HOME `id`]", "-c", "perf.ini", "-o", "metal_batches=12",
        "--metal-update-baselines",
    ]  # fmt: skip
    suite.run(*words[1:]).assert_outcomes(passed=1)


@pytest.mark.parametrize("call", ["backend=['fake']", "device=''", "name=''"])
def test_what_no_call_can_ask_for_is_told(suite, call):
    suite.write(f"def test_it(metal_bench):\n    metal_bench('fake-model', {call})\n")
    result = suite.run("--tb=short")
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*pytest_metalperf/*")


@pytest.mark.parametrize("reports", ["{'loss': 1.0, 'other': {'norm': math.nan}}", "[1.0, (2.0, math.inf)]"])
def test_a_second_value_that_is_not_finite_is_an_error_and_nothing_is_stored(suite, reports):
    suite.write(
        f"""
        import math
        def build():
            return lambda: {reports}
        def test_it(metal_bench):
            metal_bench(build)
        """
    )
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*, which the step reports, became * in the first batch: a training that diverges *"])
    assert not suite.file.exists()


def test_a_step_that_returns_a_list_which_holds_itself_is_a_sentence(suite):
    suite.write(
        """
        def build():
            held = []
            held.append(held)
            return lambda: held
        def test_it(metal_bench):
            metal_bench(build)
        """
    )
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*must return a value computed on the device*"])
