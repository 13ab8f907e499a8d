"""--metal-update-baselines: store what is measured, say old -> new, keep the anchor; nothing is stored without it."""

from __future__ import annotations

import errno
from types import SimpleNamespace

ID = "fake-model[b8]@cpu:fake"


def test_nothing_is_stored_without_it(suite):
    suite.run("--metal-update-mode", "all")
    assert not suite.file.exists()


def test_ini_key(suite):
    suite.ini(metal_update_baselines="true")
    suite.run().assert_outcomes(passed=1)
    assert list(suite.stored) == [ID]


def test_faster_is_stored_and_said_and_its_anchor_stays(suite):
    result = suite.run("--metal-update-baselines")
    result.stdout.fnmatch_lines(
        ["stored in test-machine.json:", f"*{ID.replace('[', '[[]')}: new 0.* s/batch (3 runs)"]
    )
    before = suite.stored[ID]
    suite.set(seconds=0.05)
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*fake-model*0.* -> 0.0* s/batch (-* %*"])
    after = suite.stored[ID]
    assert after["anchor"] == before["anchor"]
    assert all(abs(run["seconds_per_batch"] - 0.05) < 0.002 for run in after["runs"])
    assert {run["session"] for run in after["runs"]}.isdisjoint(run["session"] for run in before["runs"])


def test_what_broke_leaves_its_entry_alone(suite):
    suite.write(
        """
        def test_broken(metal_bench):
            metal_bench("fake-model", name="broken")
        def test_new(metal_bench):
            metal_bench("fake-model", name="new")
        """
    )
    suite.run("--metal-update-baselines", "-k", "broken").assert_outcomes(passed=1, deselected=1)
    before = suite.stored
    suite.set(nan="broken")
    suite.run("--metal-update-baselines", "--metal-update-mode", "all").assert_outcomes(errors=1, passed=1)
    after = suite.stored
    assert sorted(after) == ["broken[b8]@cpu:fake", "new[b8]@cpu:fake"]
    assert after["broken[b8]@cpu:fake"] == before["broken[b8]@cpu:fake"]


def test_recording_counts_as_recorded_not_as_gated(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")  # what is recorded now is not missing
    result = suite.run("--metal-update-baselines", "--metal-strict")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*fake-model*recorded", "0 gated; not gated: 1 recorded"])


def test_a_folder_without_locks_is_told(suite, monkeypatch):
    def refuse(descriptor, mode):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(
        "pytest_metalperf.baselines.writing.fcntl", SimpleNamespace(LOCK_EX=2, LOCK_NB=4, LOCK_UN=8, flock=refuse)
    )
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  */baselines has no locks: do not store from two sessions at once"])
    assert suite.stored
