"""What is known of the machine and the work beside a verdict: told where it looks bad, and only the launch's state gates."""

from __future__ import annotations

import pytest

from pytest_metalperf.results.conditions import of_pair

HEAD = "fake-model[[]b8[]] on cpu (fake) is *"
COUNTED = {"instructions_per_batch": 1.23456e9, "cycles_per_batch": 4e8}


@pytest.fixture
def stored(suite):
    """A baseline of a machine in order."""
    suite.set(jitter=0.0, conditions={"power": "mains", "thermal": "nominal", "high_power": False, **COUNTED})
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    return suite


def test_counts_are_stored_to_five_digits(stored):
    (entry,) = stored.stored.values()
    assert entry["runs"][0]["conditions"]["instructions_per_batch"] == 1.2346e9


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ((1.0, 1.5), "instructions +0.0 %, cycles +50.0 % a batch: the same work, so look at the machine"),
        ((1.5, 1.5), "instructions +50.0 %, cycles +50.0 % a batch: more of them, so look at the code*"),
        ((0.7, 1.5), "instructions -30.0 %, cycles +50.0 % a batch"),
        ((1.25, 1.5), "instructions +25.0 %, cycles +50.0 % a batch"),
    ],
)
def test_a_slowdown_is_told_with_what_the_processor_did(stored, times, told):
    counts = {key: total * more for (key, total), more in zip(COUNTED.items(), times, strict=True)}
    stored.set(seconds=0.15, jitter=0.0, conditions=counts)
    result = stored.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([HEAD, f"  counters  {told}"])


def test_nobody_is_blamed_for_what_is_no_slowdown(stored):
    stored.set(seconds=0.1001, jitter=0.0, conditions={key: total * 1.001 for key, total in COUNTED.items()})
    stored.run("--metal-strict").stdout.no_fnmatch_line("*look at*")


def test_nothing_is_said_where_nobody_counts(stored):
    stored.set(seconds=0.15, jitter=0.0, conditions={})
    stored.run().stdout.no_fnmatch_line("*counters*")


def test_what_came_later_is_told_and_takes_nothing_back(stored):
    later = {"power": "mains", "power_later": "battery", "memory_free": 0.06, "swapped_gb": 2.0, "high_power": True}
    stored.set(seconds=0.15, jitter=0.0, conditions=later)
    result = stored.run()
    result.assert_outcomes(failed=1)
    told = "running on battery later in the run; 6 % of memory free; 2.0 GB swapped out during the run; high-power mode off -> on"
    result.stdout.fnmatch_lines([HEAD, f"  machine   {told}"])


def test_an_inconclusive_verdict_has_its_remarks_below_the_table(stored):
    stored.set(seconds=0.15, jitter=0.0, conditions={"power": "battery", "swapped_gb": 2.0})
    result = stored.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["inconclusive: running on battery; *"])
    result.stdout.fnmatch_lines(["fake-model*@cpu:fake: 2.0 GB swapped out during the run"])


def test_a_verdict_within_says_nothing_of_it(stored):
    stored.set(seconds=0.1, jitter=0.0, conditions={"swapped_gb": 2.0})
    stored.run().stdout.no_fnmatch_line("*swapped*")


def test_a_background_job_is_not_recorded(suite):
    suite.set(conditions={"background": True})
    result = suite.run("--metal-update-baselines")
    result.stdout.fnmatch_lines(
        ["*not recorded, and nothing stored: a background job, which macOS keeps on efficiency cores*"]
    )


def test_variables_that_change_the_speed_are_provenance(stored, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    stored.set(seconds=0.15, jitter=0.0)
    result = stored.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([HEAD, "  changed   TF_ENABLE_ONEDNN_OPTS none -> 0"])


def test_of_a_pair_the_worse_side_counts_also_where_less_is_worse():
    one = {"gpu_memory_free": 0.1, "gpu_busy": 0.9, "gpu_clock_mhz": 900.0, "gpu_temperature": 60.0}
    other = {"gpu_memory_free": 0.9, "gpu_busy": 0.3, "gpu_clock_mhz": 1900.0, "gpu_temperature": 80.0}
    worst = {"gpu_memory_free": 0.1, "gpu_busy": 0.3, "gpu_clock_mhz": 900.0, "gpu_temperature": 80.0}
    assert of_pair(("gpu", one), ("gpu", other)) == worst
