"""Properties of test cases in JUnit XML: the figures of the closing table, by names that stay."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import pytest_metalperf

OF_A_COMPARISON = {
    "metal_workload",
    "metal_verdict",
    "metal_seconds_per_batch",
    "metal_baseline_seconds_per_batch",
    "metal_change",
    "metal_change_low",
    "metal_change_high",
    "metal_visible",
}


DOCUMENTED = set(
    re.findall(r"`(metal_\w+)`", (Path(pytest_metalperf.__file__).parent / "README.md").read_text(encoding="utf-8"))
)


def properties(suite) -> dict[str, dict[str, str]]:
    """Of each test case, by its name; all of them stand in the README."""
    cases = ElementTree.parse(suite.pytester.path / "out.xml").iter("testcase")
    found = {case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")} for case in cases}
    assert {name for case in found.values() for name in case} <= DOCUMENTED
    return found


@pytest.fixture
def suite(suite):
    suite.set(jitter=0)
    return suite


def run(suite, *arguments):
    return suite.run("--junitxml=out.xml", *arguments)


def numbers(found: dict[str, str], *names: str) -> list[float]:
    return [float(found[f"metal_{name}"]) for name in names]


def test_a_comparison_has_both_sides_the_change_with_its_interval_and_what_is_visible(suite):
    run(suite, "--metal-update-baselines")
    (recorded,) = properties(suite).values()
    assert set(recorded) == {"metal_workload", "metal_verdict", "metal_seconds_per_batch"}
    assert (recorded["metal_workload"], recorded["metal_verdict"]) == ("fake-model[b8]@cpu:fake", "recorded")
    suite.set(seconds=0.12, jitter=0)
    assert run(suite).ret == pytest.ExitCode.TESTS_FAILED
    (found,) = properties(suite).values()
    assert set(found) == OF_A_COMPARISON
    now, then, change = numbers(found, "seconds_per_batch", "baseline_seconds_per_batch", "change")
    assert (now, then) == (pytest.approx(0.12, rel=0.01), pytest.approx(0.1, rel=0.01))
    assert change == pytest.approx(now / then - 1, abs=1e-4)
    low, high, visible = numbers(found, "change_low", "change_high", "visible")
    assert low < change < high
    assert 0 < visible < 0.5


def test_they_are_the_figures_of_the_table(suite):
    run(suite, "--metal-update-baselines")
    result = run(suite)
    (found,) = properties(suite).values()
    now, then, change, visible = numbers(found, "seconds_per_batch", "baseline_seconds_per_batch", "change", "visible")
    row = next(line for line in result.stdout.lines if line.startswith("fake-model[b8]"))
    shown = row.split()
    assert [float(shown[2]), float(shown[4])] == [pytest.approx(now, rel=1e-3), pytest.approx(then, rel=1e-3)]
    assert [float(shown[6]), float(shown[8])] == [
        pytest.approx(100 * change, abs=0.06),
        pytest.approx(100 * visible, abs=0.06),
    ]


def test_what_is_unknown_is_left_out(suite):
    run(suite)
    (found,) = properties(suite).values()
    assert set(found) == {"metal_workload", "metal_verdict", "metal_seconds_per_batch"}
    assert found["metal_verdict"] == "no baseline"


def test_a_metric_has_the_same_of_its_own(suite):
    suite.set(peak=1e9, jitter=0)
    run(suite, "--metal-metrics=memory=5%", "--metal-update-baselines")
    suite.set(peak=1.2e9, jitter=0)
    run(suite, "--metal-metrics=memory=5%")
    (found,) = properties(suite).values()
    own = {"verdict", "baseline", "change", "change_low", "change_high", "visible"}
    assert set(found) == {*OF_A_COMPARISON, "metal_memory", *(f"metal_memory_{name}" for name in own)}
    assert numbers(found, "memory", "memory_baseline") == [1.2e9, 1e9]
    low, change, high = numbers(found, "memory_change_low", "memory_change", "memory_change_high")
    assert low < change < high
    assert change == pytest.approx(0.2)
    assert found["metal_memory_verdict"] == "more"


def test_a_speedup_has_its_interval_its_promise_and_its_stored_ratio(suite):
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=3)\n")
    suite.set(gpus=["gpu"], jitter=0, gpu_factor=1 / 6)
    run(suite, "--metal-update-baselines")
    suite.set(gpus=["gpu"], jitter=0, gpu_factor=1 / 4)
    run(suite)
    (found,) = properties(suite).values()
    low, ratio, high = numbers(found, "speedup_low", "speedup", "speedup_high")
    assert low < ratio < high
    assert ratio == pytest.approx(4, rel=1e-3)
    assert numbers(found, "speedup_at_least", "speedup_baseline") == [3, pytest.approx(6, rel=1e-3)]
    low, change, high = numbers(found, "speedup_change_low", "speedup_change", "speedup_change_high")
    assert low < change < high
    assert change == pytest.approx(-1 / 3, abs=1e-3)
    assert 0 < numbers(found, "speedup_visible")[0] < 0.5
    assert found["metal_workload"] == "fake-model[b8]@gpu:fake over fake-model[b8]@cpu:fake"
    assert (found["metal_verdict"], found["metal_parity"]) == ("slower", "checked")


def test_a_sustained_run_has_its_ratio_and_the_interval(suite):
    run(suite, "--metal-sustained=30")
    (found,) = properties(suite).values()
    low, ratio, high = numbers(found, "sustained_ratio_low", "sustained_ratio", "sustained_ratio_high")
    assert low <= ratio <= high
    assert ratio == pytest.approx(1, abs=0.02)
    assert "metal_change" not in found


def test_what_broke_is_an_error_that_says_why(suite):
    suite.set(nan="fake-model")
    run(suite)
    (found,) = properties(suite).values()
    assert found["metal_verdict"] == "error"
    assert "nan" in found["metal_error"]


def test_a_name_is_text_of_the_file(suite):
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', name='<a&b> | `c` 🚀')\n")
    run(suite)
    (found,) = properties(suite).values()
    assert found["metal_workload"] == "<a&b> | `c` 🚀[b8]@cpu:fake"
