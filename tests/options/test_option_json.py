"""`--metal-json`: everything that a session measured, in a file that is written as it goes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import jsonschema
import msgspec
import pytest
from signals import ended_by

from pytest_metalperf.baselines import writing
from pytest_metalperf.report import document
from pytest_metalperf.report import json as report

TWO = """
def test_a(metal_bench):
    metal_bench("fake-model", name="a")
def test_b(metal_bench):
    metal_bench("fake-model", name="b")
"""


def written(suite, name: str = "out.json") -> document.Document:
    """The file of a session, which must be valid by the published schema, and read back to the same."""
    data = (suite.pytester.path / name).read_bytes()
    found = document.parse(data, name)
    jsonschema.Draft202012Validator(json.loads(document.schema())).validate(json.loads(data))
    assert msgspec.json.decode(data) == msgspec.to_builtins(found)  # nothing is dropped, nothing filled in
    return found


def test_a_gated_session(suite):
    suite.run("--metal-update-baselines")
    suite.set(trace=[[0.0, 1980.0, 300.0, 41.0, 0.9], [0.5, None, None, None, None]], version="1.1", joules=5.0)
    result = suite.run("--metal-json=out.json", "--metal-metrics", "energy=5%")
    found = written(suite)
    (row,) = found.results
    assert isinstance(row, document.Measurement)
    assert (row.nodeid, row.verdict, row.workload.id) == (
        "test_suite.py::test_it[cpu]",
        "within",
        "fake-model[b8]@cpu:fake",
    )
    assert found.session.state == "finished"
    assert (found.machine.id, found.options.metal) == ("test-machine", "on")
    assert row.workload.axes["precision"] == "float32"
    assert len(row.runs) == 1
    assert len(row.runs[0].samples) >= 10
    assert row.runs[0].trace == [[0.0, 1980.0, 300.0, 41.0, 0.9], [0.5, None, None, None, None]]
    assert row.seconds_per_batch == pytest.approx(0.1, rel=0.02)
    assert row.judgement is not None
    assert row.judgement.change_low < row.judgement.change < row.judgement.change_high
    assert row.judgement.visible > row.asked.tolerance == 0.05
    assert len(row.baseline.runs) == 3
    assert row.baseline.anchor.seconds_per_batch == pytest.approx(0.1, rel=0.02)
    assert row.changes.packages == "fake 1.0 -> 1.1"
    assert [(one.name, one.unit, one.verdict) for one in row.metrics] == [("energy", "J/batch", "inconclusive")]
    assert "--metal-json" not in row.commands.repeat
    assert row.commands.repeat.startswith('pytest "test_suite.py::test_it[cpu]"')
    assert found.gate.alarm_rate == 0.001
    assert found.cost.runs == 1
    result.stdout.fnmatch_lines(["1 gated: 1 within*"])


def test_a_slower_one_says_how_to_accept_it(suite):
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.2)
    suite.run("--metal-json=out.json", "--metal-confirm=stored").assert_outcomes(failed=1)
    (row,) = written(suite).results
    assert row.verdict == "slower"
    assert row.commands.accept == f"{row.commands.repeat} --metal-update-baselines"
    assert row.judgement.change == pytest.approx(1.0, rel=0.1)
    assert len(row.runs) > 1


def test_what_was_not_measured_and_why(suite):
    suite.write(
        TWO
        + """
def build():
    raise ValueError("no <img onerror=alert(1)> \\n such thing")
def test_broken(metal_bench):
    metal_bench(build, name="broken \U0001f600")
"""
    )
    suite.run("--metal-json=out.json", "--metal-devices", "cpu,gpu")
    found = written(suite)
    assert [row.error != "" for row in found.results] == [False, False, True]
    assert "no <img onerror=alert(1)>" in found.results[-1].error
    assert found.results[-1].verdict == ""
    assert {one.how for one in found.not_measured} == {"skipped"}
    assert found.not_measured[0].nodeid == "test_suite.py::test_a[gpu]"
    assert set(found.unavailable) == {"gpu:fake"}


def test_pairs_of_a_speedup(suite):
    suite.set(gpus=["gpu"], memory={"cpu": 10**9, "gpu": 5 * 10**8}, work={"operations": {"Mul": 3}, "flop": 1e9})
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=2)\n")
    suite.run("--metal-json=out.json", "--metal-update-baselines").assert_outcomes(passed=1)
    (row,) = written(suite).results
    assert isinstance(row, document.Speedup)
    assert (row.verdict, row.promise) == ("recorded", "within")
    assert row.ratio.value == pytest.approx(4, rel=0.05)
    assert len(row.pairs) >= 3
    assert all(len(pair.of.samples) == len(pair.over.samples) for pair in row.pairs)
    assert (row.of_peak_memory_bytes, row.over_peak_memory_bytes) == (5e8, 1e9)
    assert row.pairs[0].of.work.operations == {"Mul": 3}


def test_a_sustained_run_and_a_smoke_run(suite):
    suite.run("--metal-json=out.json", "--metal-sustained=5s")
    (row,) = written(suite).results
    assert row.sustained.ratio == pytest.approx(1, rel=0.1)
    assert row.asked.sustained == 5
    suite.run("--metal-json=out.json", "--metal=smoke")
    found = written(suite)
    assert (found.options.metal, found.results[0].verdict) == ("smoke", "")


def test_both_sides_of_a_comparison(suite):
    suite.pytester.run("git", "init", "-q")
    for words in (("add", "-A"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")):
        suite.pytester.run("git", *words)
    suite.run("--metal-json=out.json", "--metal-against=HEAD")
    found = written(suite)
    (row,) = found.results
    assert row.verdict == "within"
    assert len(row.reference.runs) == len(row.runs) == found.cost.pairs >= 3
    assert row.baseline is None
    assert len(found.session.commit) == 40
    assert found.other_runs == []


def test_work_that_runs_have_in_common_is_said_once(suite):
    suite.set(work={"operations": {"Mul": 3, "Varies": "pid"}, "flop": 1e9})
    suite.run("--metal-json=out.json", "--metal-update-baselines")
    (row,) = written(suite).results
    assert row.work.flop == 1e9
    assert row.work.varying == ["operations Varies"]
    assert len({run.work.operations["Varies"] for run in row.runs}) == 3
    suite.set(work={"operations": {"Mul": 4}, "flop": 1e9})
    suite.run("--metal-json=out.json")
    (row,) = written(suite).results
    assert [run.work for run in row.runs] == [None]
    assert row.changes.work == ["operations 3 -> 4 (Mul 3 -> 4)"]
    assert (row.work_before.operations, row.work.operations) == ({"Mul": 3}, {"Mul": 4})


def test_a_session_without_tests_of_ours_is_an_empty_one(suite):
    suite.run("--metal-json=out.json")
    assert len(written(suite).results) == 1
    suite.write("def test_plain(): pass\n")
    suite.run("--metal-json=out.json").assert_outcomes(passed=1)
    found = written(suite)
    assert (found.results, found.gate, found.session.state) == ([], None, "finished")


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--metal-plan",)])
def test_what_measures_nothing_leaves_the_file_as_it_is(suite, arguments):
    suite.run("--metal-json=out.json")
    before = (suite.pytester.path / "out.json").read_bytes()
    suite.run("--metal-json=out.json", *arguments)
    assert (suite.pytester.path / "out.json").read_bytes() == before


def test_a_session_that_stops_at_its_first_failure_is_no_whole_one(suite):
    suite.write(TWO.replace('name="a")', 'name="a")\n    assert False'))
    suite.run("--metal-json=out.json", "-x")
    found = written(suite)
    assert [row.workload.name for row in found.results] == ["a"]
    assert found.session.state == "interrupted"


def test_the_file_is_beside_where_pytest_was_started_and_its_folder_is_made(suite, monkeypatch):
    monkeypatch.chdir(suite.pytester.mkdir("inside"))
    suite.run("..", "--metal-json=new/out.json")
    assert written(suite, "inside/new/out.json").results
    assert [path.name for path in (suite.pytester.path / "inside" / "new").iterdir()] == ["out.json"]


@pytest.mark.parametrize("at", ["folder", "taken/out.json", "/proc/nope/out.json", "pipe"])
def test_a_file_that_cannot_be_written_is_found_before_anything_is_measured(suite, at):
    if at.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("Linux' own")
    suite.pytester.mkdir("folder")
    (suite.pytester.path / "taken").write_text("")
    os.mkfifo(suite.pytester.path / "pipe")
    result = suite.run(f"--metal-json={at}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-json: * cannot be written: *; name another file"])
    assert suite.trained() == []


def test_a_folder_that_another_process_locks_is_one_sentence(suite, monkeypatch):
    monkeypatch.setattr(writing, "SECONDS", 0.05)
    with writing.locked(suite.pytester.path):
        result = suite.run("--metal-json=out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-json: * cannot be written: another process writes into its folder; *"])


def test_a_disk_that_becomes_full_is_told_and_fails_no_test(suite, monkeypatch):
    suite.write(TWO)
    puts = []

    def put(path, data, **how):
        puts.append(data)
        if len(puts) > 2:
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(report, "put", put)
    result = suite.run("--metal-json=out.json")
    result.assert_outcomes()
    result.stdout.fnmatch_lines(["--metal-json: *out.json cannot be written: No space left on device; it holds what *"])
    assert [row.workload.name for row in written(suite).results] == ["a"]


def test_results_that_come_faster_than_they_can_be_written_wait_for_the_end(suite, monkeypatch):
    suite.write(TWO)
    states = []
    monkeypatch.setattr(report, "FREE", -1.0)
    monkeypatch.setattr(
        report, "put", lambda path, data, **how: (states.append(how["durable"]), path.write_bytes(data))
    )
    suite.run("--metal-json=out.json")
    assert states == [False, True]
    assert [row.workload.name for row in written(suite).results] == ["a", "b"]


def test_what_a_kill_in_the_middle_of_writing_leaves_is_removed_by_the_next_session(suite):
    (suite.pytester.path / ".unfinished-abc").write_text("{")
    suite.run("--metal-json=out.json")
    assert not list(suite.pytester.path.glob(".unfinished-*"))


def test_a_child_of_metal_live_writes_no_file_of_its_own(suite):
    suite.ini(metal_json="out.json")
    suite.write("def test_it(metal_live):\n    metal_live(lambda: 0.5, name='step')\n")
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    assert [row.verdict for row in written(suite).results] == ["recorded"]


def test_a_test_that_is_run_again_has_one_row(suite):
    suite.write(TWO)
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.13)
    suite.run("--metal-json=out.json", "--metal-confirm=stored")
    found = written(suite)
    assert sorted(row.workload.name for row in found.results) == ["a", "b"]
    assert found.not_measured == []
    assert found.other_runs == []


def test_a_session_that_ends_before_a_test_is_run_again_keeps_its_runs(suite):
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.2)
    suite.write(
        """
import pytest
def test_it(metal_bench):
    metal_bench("fake-model")
def test_more(metal_bench):
    pytest.exit("enough", returncode=2)
"""
    )
    suite.run("--metal-json=out.json", "--metal-confirm=stored")
    found = written(suite)
    assert found.results == []
    assert found.session.state == "interrupted"
    assert [(one.how, one.nodeid) for one in found.not_measured] == [("put off", "test_suite.py::test_it[cpu]")]
    assert "looks " in found.not_measured[0].reason
    assert [(one.id, len(one.runs), one.reference) for one in found.other_runs] == [("fake-model[b8]@cpu:fake", 1, [])]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("by", "state"), [(signal.SIGTERM, "interrupted"), (signal.SIGINT, "interrupted"), (signal.SIGKILL, "running")]
)
def test_what_was_measured_before_a_signal_is_in_the_file(suite, by, state):
    said = ended_by(suite, by, "--metal-json=out.json")
    found = written(suite)
    assert [row.workload.name for row in found.results] == ["a"], said
    assert found.session.state == state


def test_the_published_schema_is_that_of_the_structs():
    """After a change of the Structs: write `document.schema()` there, and raise VERSION where an older file no longer fits."""
    published = json.loads(Path(document.__file__).with_name("document.schema.json").read_bytes())
    assert in_order(published) == in_order(json.loads(document.schema()))
    jsonschema.Draft202012Validator.check_schema(published)


def in_order(schema: object) -> object:
    """The same, whatever order a version of msgspec gives to what may be one of several types."""
    if isinstance(schema, dict):
        plain = {key: in_order(value) for key, value in schema.items()}
        return {**plain, "anyOf": sorted(plain["anyOf"], key=repr)} if "anyOf" in plain else plain
    return [in_order(one) for one in schema] if isinstance(schema, list) else schema


LOADED = """
import sys
def pytest_unconfigure():
    print("loaded", [name for name in sys.modules if name.startswith("pytest_metalperf.report")])
"""


def test_nothing_of_it_is_imported_before_it_is_asked_for(suite):
    suite.pytester.makeconftest((suite.pytester.path / "conftest.py").read_text() + LOADED)
    suite.pytester.makepyfile(test_suite="def test_plain(): pass")
    result = suite.pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*loaded []*"])
