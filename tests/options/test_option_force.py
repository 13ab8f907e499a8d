"""Conditions: what they do to a verdict, and to a recording without and with --metal-force."""

from __future__ import annotations

import sys

import pytest

from pytest_metalperf.results import conditions as rules

BATTERY = {"power": "battery"}
MOST = rules.MOST
LOAD = {"other_load": 0.4}
POWER_CAP = {"throttled": "power cap"}


@pytest.fixture
def watch(suite):
    """The fake's look at conditions, as the suite's sessions will import it; no other suite may find it."""
    sys.modules.pop("fake_backend", None)
    import fake_backend

    yield fake_backend.FakeWatch
    sys.modules.pop("fake_backend", None)


@pytest.fixture(autouse=True)
def loads_count(suite, monkeypatch):
    monkeypatch.setattr(rules, "MOST", MOST)


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        (BATTERY, "running on battery"),
        ({"low_power": True}, "low-power mode"),
        ({"thermal": "heavy"}, "thermal pressure heavy"),
        ({"speed_limit": 0.7}, "CPU speed limited to 70 %"),
    ],
)
def test_a_recording_is_refused_for_what_a_person_can_remove(suite, conditions, why):
    suite.set(conditions=conditions)
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*not recorded, and nothing stored: {why}; record when that is over, or * with --metal-force"]
    )
    assert not suite.file.exists()


def test_a_refused_recording_leaves_what_is_stored(suite):
    suite.run("--metal-update-baselines")
    before = suite.file.read_bytes()
    suite.set(conditions=BATTERY)
    suite.run("--metal-update-baselines", "--metal-update-mode", "all").assert_outcomes(errors=1)
    assert suite.file.read_bytes() == before


def test_forced_it_is_stored_and_said(suite):
    suite.set(conditions=BATTERY)
    result = suite.run("--metal-update-baselines", "--metal-force")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["conditions: running on battery"])
    (entry,) = suite.stored.values()
    assert {run["conditions"]["power"] for run in entry["runs"]} == {"battery"}


@pytest.mark.parametrize("conditions", [LOAD, {"stolen": 0.3}])
def test_under_load_a_recording_measures_again_and_is_refused(suite, conditions):
    suite.set(conditions=conditions)
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*nothing stored: * % of CPU time * (at worst; in 3 of 3 runs); record when that is over, *--metal-force"]
    )
    assert len(suite.trained()) == 6
    assert not suite.file.exists()


def test_under_load_a_recording_is_stored_by_force_and_said_aloud(suite):
    suite.set(conditions=LOAD)
    result = suite.run("--metal-update-baselines", "--metal-force")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["conditions: * % of CPU time *"])
    assert len(suite.trained()) == 3


def test_under_load_that_passes_the_runs_without_it_are_stored(suite, watch, monkeypatch):
    met = iter([LOAD, LOAD, {}, {}, LOAD, {}])
    monkeypatch.setattr(watch, "conditions", lambda self: dict(next(met)))
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert [run["conditions"].get("other_load") for run in entry["runs"]] == [None] * 3


def test_load_in_fewer_than_half_of_the_runs_is_recorded_at_once(suite, watch, monkeypatch):
    met = iter([LOAD, {}, {}])
    monkeypatch.setattr(watch, "conditions", lambda self: dict(next(met)))
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)


def test_a_speedup_under_stolen_time_is_not_recorded(suite):
    suite.set(conditions={"stolen": 0.3}, gpus=["gpu"])
    suite.write("def test_it(metal_speedup): metal_speedup('fake-model', at_least=2)")
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nothing stored: 30 % of CPU time was stolen*--metal-force"])
    assert not suite.file.exists()


def test_a_gpu_at_its_power_cap_is_recorded_and_gated(suite):
    suite.ini(metal_devices="gpu")
    suite.set(conditions=POWER_CAP, gpus=["gpu"])
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    result = suite.run()
    result.stdout.fnmatch_lines(["1 gated: 1 within"])


def test_a_virtual_gpu_spoils_what_trains_on_it_alone(suite):
    suite.ini(metal_devices="cpu,gpu")
    suite.set(conditions={"virtual_gpu": True}, gpus=["gpu"])
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1, errors=1)
    assert [key.rpartition("@")[2] for key in suite.stored] == ["cpu:fake"]


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.05])
def test_on_battery_a_comparison_means_nothing(suite, seconds):
    suite.run("--metal-update-baselines")
    suite.set(conditions=BATTERY, seconds=seconds)
    suite.trained()
    result = suite.run()
    result.stdout.fnmatch_lines(
        ["*inconclusive", "inconclusive: running on battery; the baseline was not", "1 gated: 1 inconclusive"]
    )
    assert len(suite.trained()) == 1  # more runs would say no more
    assert suite.run("--metal-strict").ret == 1


def test_like_compares_with_like(suite):
    suite.set(conditions=BATTERY)
    suite.run("--metal-update-baselines", "--metal-force")
    suite.run().stdout.fnmatch_lines(["1 gated: 1 within"])
    suite.set(conditions=BATTERY, seconds=0.3)
    suite.run().assert_outcomes(failed=1)


def test_load_excuses_a_slowdown(suite):
    suite.run("--metal-update-baselines")
    suite.set(conditions=LOAD, seconds=0.3)
    result = suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["inconclusive: 40 % of CPU time went to other processes in 5 of 5 runs"])


def test_load_makes_nothing_faster_so_within_stands(suite):
    suite.run("--metal-update-baselines")
    suite.set(conditions=LOAD)
    suite.run().stdout.fnmatch_lines(["1 gated: 1 within"])


def test_load_that_the_baseline_had_too_is_the_noise_that_it_is(suite):
    suite.set(conditions=LOAD)
    suite.run("--metal-update-baselines", "--metal-force")
    suite.set(conditions=LOAD, seconds=0.3)
    suite.run().assert_outcomes(failed=1)
