"""--metal-update-mode changed|missing|extend|all: what --metal-update-baselines stores, and what it leaves alone."""

from __future__ import annotations

import pytest

OLD, NEW, SAME = "old@cpu:fake", "new@cpu:fake", "same@cpu:fake"


@pytest.fixture
def changed(suite):
    """A suite of three tests, of which `same` has its baseline, `old` became slower since, and `new` has none."""
    suite.write(
        """
        from fake_backend import FakeModel, wish
        def test_same(metal_bench):
            metal_bench(lambda: FakeModel(0.1), name="same")
        def test_old(metal_bench):
            metal_bench(lambda: FakeModel(wish("old", 0.1)), name="old")
        def test_new(metal_bench):
            metal_bench(lambda: FakeModel(0.1), name="new")
        """
    )
    suite.ini(metal_runs=2)
    suite.run("--metal-update-baselines", "-k", "same or old").assert_outcomes(passed=2, deselected=1)
    suite.set(old=0.2)
    return suite


def sessions(entry):
    return len({run["session"] for run in entry["runs"]})


def test_changed_is_the_default_and_stores_what_is_slower_or_new(changed):
    before = changed.stored
    changed.run("--metal-update-baselines").assert_outcomes(passed=3)
    after = changed.stored
    assert after[SAME] == before[SAME]
    assert after[OLD]["runs"][0]["seconds_per_batch"] == pytest.approx(0.2, rel=0.05)
    assert after[OLD]["anchor"] == before[OLD]["anchor"]
    assert NEW in after


def test_missing_stores_only_what_is_new_and_still_gates(changed):
    before = changed.stored
    result = changed.run("--metal-update-baselines", "--metal-update-mode", "missing")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["old*slower than its baseline*", "2 gated: 1 within, 1 slower; not gated: 1 recorded"])
    after = changed.stored
    assert (after[SAME], after[OLD]) == (before[SAME], before[OLD])
    assert NEW in after


def test_extend_adds_runs_of_another_session(changed):
    before = changed.stored
    changed.run("--metal-update-baselines", "--metal-update-mode=extend").assert_outcomes(passed=3)
    after = changed.stored
    for name in (SAME, OLD):
        assert after[name]["runs"][:2] == before[name]["runs"]
        assert len(after[name]["runs"]) == 4
        assert sessions(after[name]) == 2
        assert after[name]["anchor"] == before[name]["anchor"]
    assert len(after[NEW]["runs"]) == 2


def test_all_measures_everything_anew(changed):
    before = changed.stored
    changed.run("--metal-update-baselines", "--metal-update-mode=all").assert_outcomes(passed=3)
    after = changed.stored
    for name in (SAME, OLD):
        assert len(after[name]["runs"]) == 2
        assert not {run["session"] for run in after[name]["runs"]} & {run["session"] for run in before[name]["runs"]}
        assert after[name]["anchor"] == before[name]["anchor"]
    assert len(after[NEW]["runs"]) == 2


def test_part_of_the_suite_leaves_the_rest_alone(changed):
    before = changed.stored
    changed.run("--metal-update-baselines", "--metal-update-mode=all", "-k", "new").assert_outcomes(
        passed=1, deselected=2
    )
    assert {**changed.stored, NEW: None} == {**before, NEW: None}


def test_two_tests_of_one_workload_extend_it_once(suite):
    suite.write(
        """
        def test_a(metal_bench):
            metal_bench("fake-model")
        def test_b(metal_bench):
            metal_bench("fake-model")
        """
    )
    for _ in range(2):
        suite.run("--metal-update-baselines", "--metal-update-mode=extend").assert_outcomes(passed=2)
    (entry,) = suite.stored.values()
    assert (len(entry["runs"]), sessions(entry)) == (6, 2)


def test_unknown_value(suite):
    result = suite.run("--metal-update-mode", "some")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-update-mode: *changed, missing, extend, all*'some'*"])


def test_a_mode_without_an_update_is_refused(suite):
    result = suite.run("--metal-update-mode", "extend")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --metal-update-mode stores nothing by itself: add --metal-update-baselines, *"]
    )


def test_in_the_ini_file_a_mode_may_wait_for_an_update(suite):
    suite.ini(metal_update_mode="extend")
    suite.run().stdout.fnmatch_lines(["0 gated; not gated: 1 no baseline"])
    assert not suite.file.exists()
    for _ in range(2):
        suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert len(entry["runs"]) == 6


def test_runs_that_another_session_stores_meanwhile_are_kept(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    suite.write(
        """
        import json
        from pathlib import Path

        def test_one(metal_bench):
            (file,) = Path("baselines").glob("*.json")
            plain = json.loads(file.read_text())
            (entry,) = plain["workloads"].values()
            other = "20260101T000000-beef"
            entry["runs"].append({**entry["runs"][0], "session": other})
            plain["sessions"][other] = plain["sessions"][entry["runs"][0]["session"]]
            file.write_text(json.dumps(plain))
            metal_bench("fake-model")
        """
    )
    suite.run("--metal-update-baselines", "--metal-update-mode=extend").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert "20260101T000000-beef" in {run["session"] for run in entry["runs"]}
