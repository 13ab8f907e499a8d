"""`--metal-history`: every run of a session, kept in an SQLite file from which its sessions' history is read."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest
from signals import ended_by

from pytest_metalperf.history import session as of_session
from pytest_metalperf.history import store
from pytest_metalperf.report import document

TWO = """
def test_a(metal_bench):
    metal_bench("fake-model", name="a")
def test_b(metal_bench):
    metal_bench("fake-model", name="b")
"""
ID = "fake-model[b8]@cpu:fake"


def rows(suite, what: str = "workload, in_turn", name: str = "past.db") -> list[tuple]:
    """What the file holds of runs, in their order, with their sessions."""
    with sqlite3.connect(suite.pytester.path / name) as database:
        found = database.execute(
            f"SELECT {what} FROM runs JOIN sessions ON sessions.key = runs.session ORDER BY runs.key"
        ).fetchall()
    database.close()
    return found


def test_every_run_of_a_session_is_stored_with_what_it_was_measured_on(suite):
    suite.set(version="1.1", joules=5.0, peak=10**9, work={"operations": {"Mul": 3}, "flop": 1e9})
    suite.run("--metal-history=past.db", "--metal-update-baselines").assert_outcomes(passed=1)
    found = rows(
        suite, "workload, device, machine, state, versions, joules_per_batch, peak_memory_bytes, flop, in_turn"
    )
    assert len(found) == 3
    assert set(found) == {(ID, "cpu", "test-machine", "finished", '{"fake":"1.1"}', 5.0, 10**9, 1e9, 0)}
    for seconds, lower, upper, first in rows(
        suite, "seconds_per_batch, lower_quartile, upper_quartile, first_batch_seconds"
    ):
        assert lower <= seconds * 1.01 <= upper * 1.02
        assert seconds == pytest.approx(0.1, rel=0.02)
        assert first > 0
    assert len({seconds for (seconds,) in rows(suite, "seconds_per_batch")}) == 3


def test_sessions_are_added_to_those_before(suite):
    for _ in range(2):
        suite.run("--metal-history=past.db")
    suite.ini(metal_history="past.db")
    suite.run()
    assert len(set(rows(suite, "id"))) == 3


def test_it_is_what_the_sessions_file_says(suite, monkeypatch):
    suite.write(TWO)
    suite.run("--metal-history=past.db", "--metal-json=out.json")
    found = document.read(suite.pytester.path / "out.json")
    assert rows(suite, "workload, seconds_per_batch") == [
        (row.workload.id, run.seconds_per_batch) for row in found.results for run in row.runs
    ]
    ((started, commit),) = set(rows(suite, 'started, "commit"'))
    assert (started, commit) == (found.session.started, found.session.commit)


def test_two_tests_of_one_workload_share_their_runs(suite):
    suite.write(TWO.replace('name="a"', 'name="b"'))
    suite.run("--metal-history=past.db")
    assert rows(suite) == [("b[b8]@cpu:fake", 0)]


def test_what_is_no_run_of_training_alone_is_left_out(suite):
    suite.write(
        """
def build():
    raise ValueError("broken")
def test_broken(metal_bench):
    metal_bench(build, name="broken")
def test_long(metal_bench):
    metal_bench("fake-model", name="long", sustained="5s")
def test_it(metal_bench):
    metal_bench("fake-model")
"""
    )
    suite.run("--metal-history=past.db")
    assert rows(suite) == [(ID, 0)]
    suite.run("--metal-history=smoke.db", "--metal=smoke")
    assert rows(suite, name="smoke.db") == []


def test_the_other_side_of_a_comparison_is_not_stored_and_its_own_side_is_no_run_alone(suite):
    suite.pytester.run("git", "init", "-q")
    for words in (("add", "-A"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")):
        suite.pytester.run("git", *words)
    suite.run("--metal-history=past.db", "--metal-json=out.json", "--metal-against=HEAD")
    (row,) = document.read(suite.pytester.path / "out.json").results
    assert len(row.reference.runs) == len(row.runs)
    assert rows(suite, "seconds_per_batch, in_turn") == [(run.seconds_per_batch, 1) for run in row.runs]
    with store.Store(suite.pytester.path / "past.db") as history:
        assert history.workloads() == []
        assert history.runs("test-machine", ID) == []


def test_a_replay_leaves_the_first_look_alone(project):
    project.write(0.13)
    project.suite.run("--metal-history=past.db", "--metal-json=out.json", "--metal-devices=cpu")
    found = document.read(project.path / "out.json")
    (row,) = found.results
    assert row.replay is not None
    (other,) = found.other_runs
    stored = rows(project.suite, "in_turn, seconds_per_batch")
    assert [one for one in stored if one[0] == 0] == [(0, run.seconds_per_batch) for run in other.runs]
    assert [one for one in stored if one[0] == 1] == [(1, run.seconds_per_batch) for run in row.runs]
    theirs = {run.seconds_per_batch for run in row.reference.runs}
    assert not theirs & {seconds for _, seconds in stored}


def test_both_variants_of_a_speedup_took_turns(suite):
    suite.set(gpus=["gpu"])
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=2)\n")
    suite.run("--metal-history=past.db")
    assert set(rows(suite)) == {("fake-model[b8]@cpu:fake", 1), ("fake-model[b8]@gpu:fake", 1)}


def test_children_of_metal_live_store_nothing_of_their_own(suite):
    suite.ini(metal_history="past.db")
    suite.write("def test_it(metal_live):\n    metal_live(lambda: 0.5, name='step')\n")
    suite.run("--metal-update-baselines", "--metal-runs=2").assert_outcomes(passed=1)
    assert len(set(rows(suite, "id"))) == 1


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--metal-plan",), ("--metal=off",)])
def test_what_measures_nothing_stores_nothing(suite, arguments):
    suite.run("--metal-history=past.db")
    before = rows(suite, "*")
    suite.run("--metal-history=past.db", *arguments)
    assert rows(suite, "*") == before


def test_a_session_that_stops_at_its_first_failure_keeps_what_it_measured(suite):
    suite.write(TWO.replace('name="a")', 'name="a")\n    assert False'))
    suite.run("--metal-history=past.db", "-x")
    assert rows(suite, "workload, state") == [("a[b8]@cpu:fake", "interrupted")]


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("folder", "cannot be opened: it is no regular file; name another file"),
        ("taken/past.db", "cannot be opened: *; name another file"),
        ("loop", "cannot be opened: Too many levels of symbolic links; name another file"),
        ("pipe", "cannot be opened: it is no regular file; name another file"),
        ("text", "is no history of pytest-metalperf: name another file"),
        ("foreign", "is no history of pytest-metalperf: name another file"),
        ("newer", "is of version 2, and this pytest-metalperf reads version 1: upgrade pytest-metalperf"),
        ("changed", "its tables were changed: take an unchanged copy, or name another file"),
    ],
)
def test_what_cannot_be_written_is_found_before_anything_is_measured(suite, at, why):
    here = suite.pytester.path
    (here / "folder").mkdir()
    for name in ("taken", "text"):
        (here / name).write_text("some notes\n" * 100)
    (here / "loop").symlink_to("loop")
    os.mkfifo(here / "pipe")
    changes = {
        "foreign": "CREATE TABLE mine (x)",
        "newer": "PRAGMA user_version = 2",
        "changed": "ALTER TABLE runs ADD COLUMN mine INTEGER",
    }
    for name, sql in changes.items():
        if name != "foreign":
            store.Store(here / name, write=True).close()
        database = sqlite3.connect(here / name)
        database.execute(sql)
        database.commit()
        database.close()
    before = (here / at).read_bytes() if (here / at).is_file() else b""
    result = suite.run(f"--metal-history={at}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --metal-history: *{at}: {why}"])
    assert suite.trained() == []
    assert ((here / at).read_bytes() if (here / at).is_file() else b"") == before


def test_a_history_that_another_writes_to_is_waited_for_and_costs_no_verdict(suite, monkeypatch):
    store.Store(suite.pytester.path / "past.db", write=True).close()
    other = sqlite3.connect(suite.pytester.path / "past.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(of_session, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(of_session, "LOOK_SECONDS", 0.01)
    result = suite.run("--metal-history=past.db")
    result.assert_outcomes()
    assert suite.trained()
    result.stdout.fnmatch_lines(
        ["--metal-history: nothing of this session was stored: *past.db: another process is writing to it: *"]
    )
    other.execute("ROLLBACK")
    other.close()
    assert rows(suite) == []


def test_a_disk_that_becomes_full_is_told_and_costs_no_verdict(suite, monkeypatch):
    def add(*_):
        raise store.HistoryError("past.db: database or disk is full")

    suite.run("--metal-history=past.db")
    monkeypatch.setattr(store.Store, "add", add)
    result = suite.run("--metal-history=past.db")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["--metal-history: nothing of this session was stored: past.db: database or disk is full"]
    )
    assert len(rows(suite)) == 1


def test_a_blank_before_a_file_elsewhere_hides_the_ini_file(suite, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "past.db"
    store.Store(path, write=True).close()
    result = suite.run("--metal-history", str(path))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: write --metal-history=*past.db with an equals sign: *"])


@pytest.mark.processes
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_what_was_measured_before_a_signal_is_stored(suite, by):
    said = ended_by(suite, by, "--metal-history=past.db")
    assert rows(suite, "workload, state") == [("a[b8]@cpu:fake", "interrupted")], said


LOADED = """
import sys
def pytest_unconfigure():
    names = ("pytest_metalperf.history", "sqlite3", "ruptures")
    print("loaded", [name for name in sys.modules if name.startswith(names)])
"""


def test_nothing_of_it_is_imported_before_it_is_asked_for(suite):
    suite.pytester.makeconftest((suite.pytester.path / "conftest.py").read_text() + LOADED)
    result = suite.pytester.runpytest_subprocess("-p", "no:cov")
    result.stdout.fnmatch_lines(["*loaded []*"])


def test_a_session_that_stores_needs_no_ruptures(suite):
    suite.pytester.makeconftest((suite.pytester.path / "conftest.py").read_text() + LOADED)
    result = suite.pytester.runpytest_subprocess("-p", "no:cov", "--metal-history=past.db")
    result.stdout.fnmatch_lines(["*loaded *sqlite3*"])
    result.stdout.no_fnmatch_line("*loaded *ruptures*")


def test_its_folder_is_made_beside_where_pytest_was_started(suite, monkeypatch):
    monkeypatch.chdir(suite.pytester.mkdir("inside"))
    suite.run("..", "--metal-history=new/past.db")
    assert len(rows(suite, name="inside/new/past.db")) == 1
    assert [path.name for path in Path("new").iterdir()] == ["past.db"]
