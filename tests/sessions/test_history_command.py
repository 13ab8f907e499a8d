"""`python -m pytest_metalperf history FILE`: since when a workload is slower, by what its sessions stored."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pytest_metalperf import __main__ as package
from pytest_metalperf.history import change_points
from pytest_metalperf.history.rows import RunRow, SessionRow
from pytest_metalperf.history.store import Store

ID = "fake-model[b8]@cpu:fake"
RUN = RunRow(
    workload=ID,
    device="cpu",
    in_turn=False,
    seconds_per_batch=0.1,
    lower_quartile=0.1,
    upper_quartile=0.1,
    first_batch_seconds=1.0,
    batches=10,
    examples=8,
    parameters=None,
    flop=None,
    peak_memory_bytes=None,
    joules_per_batch=None,
    versions='{"fake":"1.0"}',
    conditions="{}",
)
NOISE = (0.3, -0.8, 1.1, -0.2, -1.0, 0.7, 0.1, -0.5, 0.9, -0.6)  # percent, again and again


def session_of(number: int, **changes: object) -> SessionRow:
    """One a day."""
    day = f"{1 + number // 28:02d}-{1 + number % 28:02d}"
    plain = SessionRow(
        machine="mac",
        id=f"2026{day.replace('-', '')}T080000-{number:04x}",
        started=f"2026-{day}T08:00:00Z",
        written=f"2026-{day}T08:05:00Z",
        state="finished",
        plugin="0.1.0",
        estimator="today's",
        os="macOS 14.1",
        commit=f"{number:02x}" * 20,
        clean=True,
    )
    return replace(plain, **changes)


def seconds(number: int, step: int = 10, by: float = 0.06) -> float:
    """Of a series that becomes slower once."""
    return 0.1 * (1 + NOISE[number % len(NOISE)] / 100) * (1 + by * (number >= step))


@pytest.fixture
def past(tmp_path, monkeypatch):
    """A store with sessions that become slower, which a test may change."""
    monkeypatch.chdir(tmp_path)

    def make(count: int = 20, of_session=lambda number: {}, of_run=lambda number: {}) -> None:
        with Store(tmp_path / "past.db", write=True) as store:
            for number in range(count):
                run = replace(RUN, **{"seconds_per_batch": seconds(number), **of_run(number)})
                store.add(session_of(number, **of_session(number)), [run])

    return make


@pytest.fixture
def history(capsys):
    """The command: its exit code, what it printed, and its errors."""

    def run(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        code = package.main(["history", *arguments])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return run


def test_a_change_is_told_with_commits_and_dates_and_size(past, history):
    past()
    found = history("past.db")
    assert found.code == 0
    head, span, change, differs, last = found.out.splitlines()
    assert head == f"{ID} on mac"
    assert span == (
        "  2026-01-01 to 2026-01-20: 20 sessions, 20 runs; 0.1003 s/batch at 0000000000, 0.1054 at 1313131313"
    )
    assert change.startswith("  +6.0 % (+")
    assert change.endswith(" between 0909090909 (2026-01-10) and 0a0a0a0a0a (2026-01-11)")
    assert differs == "    differs: code"
    assert last == "1 workload, 1 with changes"


@pytest.mark.parametrize(
    ("of_session", "of_run", "differs"),
    [
        ({"os": "macOS 14.2"}, {}, "code; system: macOS 14.1 -> macOS 14.2"),
        ({}, {"versions": '{"fake":"1.1"}'}, "code; packages: fake 1.0 -> 1.1"),
        ({}, {"flop": 2e9}, "code; FLOP 1e+09 -> 2e+09"),
        ({}, {"conditions": '{"other_load":0.9}'}, "code; conditions: none -> other_load"),
        ({"clean": False}, {}, "code"),
        ({"commit": None, "clean": None}, {}, "code unknown"),
    ],
)
def test_what_else_changed_there_is_named(past, history, of_session, of_run, differs):
    before = {"flop": 1e9} if "flop" in of_run else {}
    past(20, lambda n: of_session if n >= 10 else {}, lambda n: of_run if n >= 10 else before)
    assert f"    differs: {differs}\n" in history("past.db").out


def test_a_change_on_one_commit_is_not_the_codes(past, history):
    past(20, lambda number: {"commit": "ab" * 20})
    found = history("past.db").out
    assert "    differs: nothing that is known: the same commit on both sides\n" in found


def test_four_commits_of_one_slow_hour_are_no_change(past, history):
    """Each hour has a level of its own, and four commits: a step that lasts for three hours is one of hours."""
    levels = (0.0, 2.0, -1.5, 1.8, -2.2, 0.5, 2.1, -1.0, 1.2, -2.0)

    def of_session(number: int) -> dict:
        day, minute = f"{1 + number // 4:02d}", number % 4
        return {"id": f"202601{day}T080{minute}00-{number:04x}", "started": f"2026-01-{day}T08:0{minute}:00Z"}

    past(
        40,
        of_session,
        lambda number: {"seconds_per_batch": 0.1 * (1 + levels[number // 4] / 100) * (1 + NOISE[number % 10] / 1000)},
    )
    assert history("past.db").out.endswith("1 workload, 0 with changes\n")


def test_machines_are_never_mixed(past, history):
    past(20, lambda number: {"machine": f"mac-{number // 10}"})
    found = history("past.db").out
    assert found.count(f"{ID} on mac-") == 2
    assert found.endswith("2 workloads, 0 with changes\n")


def test_runs_under_unusual_conditions_and_of_another_estimator_are_left_out_and_counted(past, history):
    past(
        20,
        lambda number: {"estimator": "mean"} if number < 3 else {},
        lambda number: {"conditions": '{"power":"battery"}', "seconds_per_batch": 0.3} if number == 15 else {},
    )
    found = history("past.db").out
    assert "16 sessions, 16 runs" in found
    assert "  left out: 3 runs of another estimator\n" in found
    assert "  left out: 1 run under conditions that most runs did not have (power)\n" in found


def test_sessions_of_one_commit_in_one_hour_are_one_point(past, history):
    past(6, lambda n: {"commit": "ab" * 20, "id": f"20260101T080{n}00-aaaa", "clean": True})
    (found,) = json.loads(history("past.db", "--json").out)
    assert (len(found["points"]), found["points"][0]["runs"], len(found["points"][0]["sessions"])) == (1, 6, 6)
    past(6, lambda n: {"commit": "ab" * 20, "id": f"20260101T080{n}00-bbbb", "clean": False})
    (found,) = json.loads(history("past.db", "--json").out)
    assert len(found["points"]) > 6  # what was not committed may be different code each time


def test_a_session_that_was_renamed_by_hand_ends_an_hour(past, history):
    past(20, lambda n: {"id": "20260101T0810xx" if n == 10 else f"20260101T08{n:02d}00-aaaa"})
    found = history("past.db")
    assert (found.code, found.err) == (0, "")


def test_a_pattern_picks_workloads_and_brackets_are_part_of_an_id(past, history):
    past(3)
    assert history("past.db", "--workload", "fake-model[[]*").code == 2
    assert history("past.db", "--workload", "fake-model[b8]*").code == 0
    found = history("past.db", "--workload", "other*")
    assert (found.code, found.out, found.err) == (2, "", "history: past.db has no workload other*\n")


def test_json_says_all_of_it(past, history):
    past()
    (found,) = json.loads(history("past.db", "--json").out)
    (change,) = found["changes"]
    assert (change["before"], change["after"], change["likely"]) == (9, 10, 10)
    assert change["change_low"] < change["change"] < change["change_high"]
    assert found["points"][9]["commit"] == "09" * 20


def test_sessions_of_the_past_are_imported_once(suite, history, monkeypatch):
    monkeypatch.chdir(suite.pytester.path)
    suite.run("--metal-json=a.json", "--metal-update-baselines")
    suite.run("--metal-json=b.json")
    first = history("past.db", "a.json", "b.json")
    assert first.code == 0
    said = first.out.splitlines()
    assert said[0].startswith("a.json: 3 new runs of session ")
    assert said[1].startswith("b.json: 1 new run of session ")
    again = history("past.db", "a.json", "b.json", "--json")
    assert [line.partition(" of ")[0] for line in again.err.splitlines()] == [
        "a.json: nothing new",
        "b.json: nothing new",
    ]
    suite.run("--metal-json=c.json", "--metal-history=past.db")
    assert "c.json: nothing new of session" in history("past.db", "c.json").out


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (
            "nothing.json",
            "nothing.json: cannot be read: No such file or directory; name a file that --metal-json wrote",
        ),
        ("past.db", "past.db: is damaged: "),
    ],
)
def test_of_files_of_which_one_is_none_nothing_is_stored(suite, history, monkeypatch, file, why):
    monkeypatch.chdir(suite.pytester.path)
    suite.run("--metal-json=a.json")
    Store(suite.pytester.path / "past.db", write=True).close()
    found = history("past.db", "a.json", file)
    assert found.code == 2
    assert found.err.startswith(f"history: {why}")
    assert found.err.count("\n") == 1
    assert history("past.db").out == "0 workloads, 0 with changes\n"


def test_a_killed_sessions_file_is_completed_by_its_last(suite, history, monkeypatch):
    monkeypatch.chdir(suite.pytester.path)
    suite.run("--metal-json=a.json", "--metal-update-baselines")
    whole = json.loads((suite.pytester.path / "a.json").read_text())
    part = json.loads(json.dumps(whole))
    part["results"][0]["runs"] = part["results"][0]["runs"][:1]
    part["session"].update(state="running", written="2020-01-01T00:00:00Z")
    (suite.pytester.path / "part.json").write_text(json.dumps(part))
    assert "part.json: 1 new run" in history("past.db", "part.json").out
    assert "a.json: 2 new runs" in history("past.db", "a.json").out
    assert "part.json: nothing new" in history("past.db", "part.json").out
    assert "1 session, 3 runs" in history("past.db").out


def test_without_ruptures_one_sentence_names_the_extra_and_what_was_named_is_stored(suite, history, monkeypatch):
    monkeypatch.chdir(suite.pytester.path)
    suite.run("--metal-json=a.json")
    monkeypatch.setitem(__import__("sys").modules, "ruptures", None)
    found = history("past.db", "a.json")
    assert found.code == 2
    assert found.out.startswith("a.json: 1 new run")
    assert found.err == ("history: change points need the package ruptures: pip install 'pytest-metalperf[history]'\n")


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("nothing.db", "nothing.db: cannot be opened: No such file or directory; name another file"),
        (".", ".: cannot be opened: it is no regular file; name another file"),
        ("text", "text: is no history of pytest-metalperf: name another file"),
        ("empty", "empty: is no history of pytest-metalperf: name another file"),
        ("cut", "cut: is damaged: *; restore a copy, or import the files of --metal-json into another"),
        ("zeros", "zeros: is damaged: *; restore a copy, or import the files of --metal-json into another"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(past, history, tmp_path, at, why):
    past(60)
    data = (tmp_path / "past.db").read_bytes()
    (tmp_path / "text").write_text("some notes\n" * 100)
    (tmp_path / "empty").write_text("")
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "zeros").write_bytes(data[:4096] + bytes(len(data) - 4096))
    found = history(at)
    assert (found.code, found.out) == (2, "")
    start, _, end = why.partition("*")
    assert found.err.startswith(f"history: {start}"), found.err
    assert found.err.endswith(f"{end}\n")
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("seconds_per_batch = -1", "has a run of -1.0 seconds a batch in session "),
        ("seconds_per_batch = 9e999", "has a run of inf seconds a batch in session "),
        ("seconds_per_batch = 0", "has a run of 0.0 seconds a batch in session "),
        ("conditions = 'no JSON'", "holds a run whose versions or conditions are no JSON: take an unchanged copy"),
        ("versions = '[1]'", "holds a run whose versions or conditions are no JSON: take an unchanged copy"),
    ],
)
def test_what_was_written_by_hand_is_one_sentence(past, history, tmp_path, change, why):
    past(5)
    database = sqlite3.connect(tmp_path / "past.db")
    database.execute("PRAGMA ignore_check_constraints = ON")
    database.execute(f"UPDATE runs SET {change} WHERE key = 3")
    database.commit()
    database.close()
    found = history("past.db")
    assert (found.code, found.out) == (2, "")
    assert why in found.err
    assert found.err.count("\n") == 1


HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runs; --",
    "\U0001f600" * 50,
    "x" * 300,
    "a\nb\0c",
)


def test_names_of_any_kind_are_shown_as_text(past, history):
    past(
        20, lambda number: {"machine": HOSTILE[0], "os": HOSTILE[number >= 10]}, lambda number: {"workload": HOSTILE[0]}
    )
    for name in HOSTILE[1:]:
        past(
            3,
            lambda number, name=name: {"machine": name, "id": f"{name} {number}"},
            lambda number, name=name: {"workload": name},
        )
    found = history("past.db")
    assert found.code == 0
    assert found.out.isprintable() or all(line.isprintable() for line in found.out.splitlines())
    assert "\\x1b[31mred" in found.out
    assert found.out.endswith("6 workloads, 1 with changes\n")
    assert len(json.loads(history("past.db", "--json").out)) == 6


def test_a_file_that_may_only_be_read_is_read(past, history, tmp_path):
    past()
    (tmp_path / "past.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        found = history("past.db")
    finally:
        tmp_path.chmod(0o755)
    assert found.code == 0, found.err
    assert [path.name for path in tmp_path.iterdir()] == ["past.db"]


def test_fewer_than_four_points_have_no_change():
    assert change_points.find_steps([], []) == []
    assert change_points.find_steps([[0.1], [0.1], [0.9]], [1, 2, 3]) == []
