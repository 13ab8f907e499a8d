"""The store of a history: a session is stored once, whoever else writes at the time."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.history import store as module
from pytest_metalperf.history.rows import RunRow, SessionRow
from pytest_metalperf.history.store import Busy, HistoryError, Store

SESSION = SessionRow(
    "mac",
    "20260101T080000-abcd",
    "2026-01-01T08:00:00Z",
    "2026-01-01T08:05:00Z",
    "finished",
    "0.1",
    "e",
    "macOS",
    "ab" * 20,
    True,
)
RUN = RunRow("a@cpu:fake", "cpu", False, 0.1, 0.09, 0.11, 1.0, 10, 8, 5, 1e9, 10**9, 1.5, "{}", "{}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "past.db"


def test_what_is_stored_is_read_again(path):
    with Store(path, write=True) as store:
        assert store.add(SESSION, [RUN, replace(RUN, seconds_per_batch=0.2)]) == 2
    with Store(path) as store:
        assert store.workloads() == [("mac", "a@cpu:fake")]
        found = store.runs("mac", "a@cpu:fake")
    assert [astuple(one.session) for one in found] == [astuple(SESSION)] * 2
    assert [one.run for one in found] == [RUN, replace(RUN, seconds_per_batch=0.2)]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LARGE = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=25)
@given(
    TEXT,
    st.none() | TEXT,
    st.none() | st.booleans(),
    st.floats(1e-12, 1e11, exclude_min=True),
    st.none() | LARGE,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_values_are_read_as_they_were_stored(tmp_path_factory, text, commit, clean, seconds, count, joules):
    session = replace(SESSION, machine=text, commit=commit, clean=clean)
    run = replace(RUN, workload=text, seconds_per_batch=seconds, peak_memory_bytes=count, joules_per_batch=joules)
    with Store(tmp_path_factory.mktemp("any") / "past.db", write=True) as store:
        store.add(session, [run])
        (found,) = store.runs(text, text)
    assert (found.session, found.run) == (session, run)


def test_a_session_is_stored_once_and_a_later_file_of_it_completes_it(path):
    later = replace(SESSION, written="2026-01-01T09:00:00Z", state="interrupted")
    with Store(path, write=True) as store:
        assert store.add(replace(SESSION, state="running"), [RUN]) == 1
        assert store.add(replace(SESSION, state="running"), [RUN]) == 0
        assert store.add(later, [RUN, RUN, RUN]) == 2
        assert store.add(SESSION, [RUN]) == 0  # older
        assert store.add(replace(later, written="2027"), [RUN]) == 0  # fewer: nothing stored is lost
        assert len(store.runs("mac", "a@cpu:fake")) == 3
        assert store.add(replace(SESSION, machine="other"), [RUN]) == 1
        assert store.add(replace(SESSION, id="empty"), []) == 0
    with Store(path) as store:
        assert len(store.workloads()) == 2


def test_a_run_that_cannot_be_stored_leaves_nothing_of_its_session(path):
    for wrong in ({"seconds_per_batch": -1.0}, {"seconds_per_batch": float("nan")}, {"batches": 2**70}):
        with Store(path, write=True) as store, pytest.raises(HistoryError, match=r"past\.db: "):
            store.add(SESSION, [RUN, replace(RUN, **wrong)])
    with Store(path) as store:
        assert store.workloads() == []


def test_a_file_that_another_session_is_making_is_no_foreign_one(path, monkeypatch):
    """The other one makes it between what this one asks first and next."""
    connect, others = sqlite3.connect, []

    def other() -> None:
        with Store(path, write=True) as store:
            store.add(SESSION, [RUN])

    def meanwhile(statement: str) -> None:
        if "user_version" in statement and not others:
            others.append(threading.Thread(target=other))
            others[0].start()
            others[0].join(0.5)  # it may have to wait for us

    def watched(*args, **kwargs):
        connection = connect(*args, **kwargs)
        if not others:
            connection.set_trace_callback(meanwhile)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    with Store(path, write=True) as store:
        others[0].join()
        assert len(store.runs(SESSION.machine, RUN.workload)) == 1


def test_sessions_that_write_at_once_wait_for_each_other(path):
    problems = []

    def session(number: int) -> None:
        try:
            with Store(path, write=True) as store:
                store.add(replace(SESSION, id=f"session {number}"), [RUN] * 5)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with Store(path) as store:
        assert len(store.runs("mac", "a@cpu:fake")) == 40


def test_one_that_is_locked_for_long_is_busy_and_can_be_read_meanwhile(path):
    with Store(path, write=True) as store:
        store.add(SESSION, [RUN])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Busy, match=r"past.db: another process is writing to it: try again when that has ended"):
            Store(path, write=True, seconds=0.0)
        with Store(path) as store:
            assert len(store.runs("mac", "a@cpu:fake")) == 1
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_reader_changes_nothing(path):
    Store(path, write=True).close()
    before = path.read_bytes()
    with Store(path) as store, pytest.raises(HistoryError, match="readonly"):
        store.add(SESSION, [RUN])
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["past.db"]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("filled", [False, True])
def test_a_damaged_file_is_one_sentence_when_it_is_added_to_and_when_it_is_read(path, keep, filled):
    with Store(path, write=True) as store:
        for number in range(40):
            store.add(replace(SESSION, id=f"session {number}"), [RUN] * 10)
    data = path.read_bytes()
    kept = int(len(data) * keep) // 4096 * 4096
    path.write_bytes(data[:kept] + b"\xff" * (len(data) - kept) * filled)
    for ask in (lambda store: store.add(SESSION, [RUN]), lambda store: store.runs("mac", "a@cpu:fake")):
        with pytest.raises(HistoryError, match=r"past\.db: is damaged: "), Store(path, write=True) as store:
            ask(store)


def test_an_older_sqlite_is_named(path, monkeypatch):
    monkeypatch.setattr(module.sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(HistoryError, match=r"a history needs SQLite 3\.37, and this Python has "):
        Store(path, write=True)


def test_a_trend_is_read_through_an_index(path):
    with Store(path, write=True) as store:
        plan = store._connection.execute("EXPLAIN QUERY PLAN " + module._RUNS_OF, ("a", "b")).fetchall()
    assert any("runs_by_workload" in text for *_, text in plan)
    assert not any(text.startswith("SCAN") for *_, text in plan)
