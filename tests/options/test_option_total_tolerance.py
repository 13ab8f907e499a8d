"""--metal-total-tolerance, and the anchor that it counts from."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def beyond_total(suite):
    """A baseline that was accepted in steps, from 0.1 s a batch to 0.12 s."""
    suite.set(jitter=0.0005)
    suite.run("--metal-update-baselines")
    for seconds in (0.11, 0.12):
        suite.set(seconds=seconds, jitter=0.0005)
        suite.run("--metal-update-baselines", "--metal-update-mode", "all")
    return suite


def test_the_anchor_stays_and_the_table_shows_the_total(beyond_total):
    (entry,) = beyond_total.stored.values()
    assert entry["anchor"]["seconds_per_batch"] == pytest.approx(0.1, rel=0.01)
    result = beyond_total.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["workload*change*since anchor*", "fake-model* % * +[12]?.? % * % *within"])


def test_off_by_default_it_fails_where_asked(beyond_total):
    result = beyond_total.run("--metal-total-tolerance", "5%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model* on cpu (fake) is * % slower than its anchor *",
            "  anchor * s/batch   first accepted *; +* % since, more than --metal-total-tolerance allows",
            "  accept it with * --metal-update-baselines --metal-update-mode anchor",
            "fake-model* slower",
        ]
    )


def test_it_is_confirmed_before_it_fails(beyond_total):
    beyond_total.trained()
    beyond_total.run("--metal-total-tolerance", "5%")
    assert len(beyond_total.trained()) > 1


def test_what_is_allowed_passes(beyond_total):
    beyond_total.run("--metal-total-tolerance", "30%").assert_outcomes(passed=1)


def test_a_total_that_load_shows_is_excused(beyond_total):
    beyond_total.set(seconds=0.12, jitter=0.0005, conditions={"stolen": 0.3})
    beyond_total.run("--metal-total-tolerance", "5%").assert_outcomes(passed=1)


def test_a_total_that_noise_leaves_open_does_not_fail(suite):
    suite.noisy()
    whole = json.loads(suite.file.read_text())
    for entry in whole["workloads"].values():
        entry["anchor"]["seconds_per_batch"] = 0.001
    suite.file.write_text(json.dumps(whole))
    suite.set(seconds=0.4)
    result = suite.run("--metal-total-tolerance", "5%")
    result.assert_outcomes()
    result.stdout.fnmatch_lines(["1 gated: 1 inconclusive"])


def test_it_is_a_marker_key(beyond_total):
    beyond_total.write(
        "import pytest\n\n@pytest.mark.metal_bench(total_tolerance='5%')\n"
        "def test_it(metal_bench):\n    metal_bench('fake-model')\n"
    )
    beyond_total.run().assert_outcomes(failed=1)


def test_a_step_beyond_the_total_is_not_accepted_by_an_ordinary_update(beyond_total):
    before = beyond_total.file.read_bytes()
    beyond_total.set(seconds=0.16, jitter=0.0005)
    result = beyond_total.run("--metal-total-tolerance", "30%", "--metal-update-baselines")
    result.assert_outcomes(failed=1)
    assert beyond_total.file.read_bytes() == before


def test_a_new_anchor_is_a_mode_of_its_own(beyond_total):
    beyond_total.run("--metal-update-baselines", "--metal-update-mode", "anchor").assert_outcomes(passed=1)
    (entry,) = beyond_total.stored.values()
    assert entry["anchor"]["seconds_per_batch"] == pytest.approx(0.12, rel=0.01)
    result = beyond_total.run("--metal-total-tolerance", "5%")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*since anchor*")


def test_nonsense(suite):
    result = suite.run("--metal-total-tolerance", "much")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-total-tolerance: expected a share such as 5% or 0.05, got 'much'"])
