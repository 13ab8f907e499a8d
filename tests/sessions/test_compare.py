"""`python -m pytest_metalperf compare before.json after.json`: the gate on two sessions that have ended."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from pytest_metalperf import __main__ as package
from pytest_metalperf.report import document

SEVERAL = """
import pytest
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_it(metal_bench, name):
    metal_bench("fake-model", name=name)
"""
STORED = "--metal-confirm=stored"


@pytest.fixture
def compare(suite, capsys, monkeypatch):
    """The command in the suite's folder: its exit code, what it printed, and its errors."""
    monkeypatch.chdir(suite.pytester.path)

    def run(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        code = package.main(["compare", *arguments])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return run


def session(suite, name: str, *arguments: str) -> document.Document:
    suite.run(f"--metal-json={name}", *arguments)
    return document.read(suite.pytester.path / name)


def recorded(suite, name: str = "before.json", *arguments: str) -> document.Document:
    return session(suite, name, "--metal-update-baselines", "--metal-update-mode=all", *arguments)


@pytest.mark.parametrize(
    ("seconds", "jitter", "verdict", "code"),
    [(0.1, 0.002, "within", 0), (0.2, 0.002, "slower", 1), (0.05, 0.002, "faster", 0)],
)
def test_the_verdict_is_the_one_that_the_gate_gave_live(suite, compare, seconds, jitter, verdict, code):
    suite.write(SEVERAL)
    recorded(suite)
    suite.set(seconds=seconds, jitter=jitter)
    live = session(suite, "after.json", STORED)
    assert {row.verdict for row in live.results} == {verdict}
    offline = compare("before.json", "after.json")
    assert offline.code == code, offline
    assert offline.out.endswith(f"3 compared: 3 {verdict}\n")
    for row in live.results:
        shown = next(line for line in offline.out.splitlines() if line.startswith(f"{row.workload.label}  "))
        assert shown.split()[-1] == verdict


def test_what_all_workloads_share_is_taken_back_as_it_is_live(suite, compare):
    suite.write(SEVERAL.replace('"c"]', '"c", "d"]'))
    recorded(suite)
    suite.set(seconds=0.2)
    live = session(suite, "after.json", STORED)
    assert {row.verdict for row in live.results} == {"inconclusive"}
    offline = compare("before.json", "after.json")
    assert offline.code == 0
    assert re.search(r"3 other workloads on cpu are \S+ % slower too", offline.out)
    assert offline.out.endswith("4 compared: 4 inconclusive\n")


def test_its_figures_are_those_of_the_gate_to_the_last_digit(suite):
    from pytest_metalperf.compare.judged import compared
    from pytest_metalperf.compare.sessions import entries_of

    suite.write(SEVERAL)
    before = recorded(suite)
    suite.set(seconds=0.13, jitter=0.01)
    after = session(suite, "after.json", STORED)
    found = compared(entries_of([before]), after)
    assert len(found.results) == 3
    for row, result in zip(after.results, found.results, strict=True):
        judgement = result.judgement
        assert (judgement.verdict, judgement.change, judgement.change_low, judgement.change_high) == (
            row.judgement.verdict,
            row.judgement.change,
            row.judgement.change_low,
            row.judgement.change_high,
        )
        assert (judgement.smallest_visible, judgement.run_sd) == (row.judgement.visible, row.judgement.run_sd)


def test_what_is_slower_is_told_as_a_failure_is(suite, compare):
    recorded(suite)
    suite.set(seconds=0.2, version="1.1")
    session(suite, "after.json", STORED)
    found = compare("before.json", "after.json")
    assert re.search(r"fake-model\[b8\] on cpu \(fake\) is \d\.\d\d times slower than before\n", found.out)
    assert "  changed   fake 1.0 -> 1.1\n" in found.out
    assert "accept it with" not in found.out


def test_metrics_and_work_are_judged_as_they_were_asked_for(suite, compare):
    suite.set(peak=10**9, work={"operations": {"Mul": 3}})
    recorded(suite)
    suite.set(peak=2 * 10**9, work={"operations": {"Mul": 3}})
    live = session(suite, "after.json", STORED, "--metal-metrics=memory=5%")
    assert live.results[0].metrics[0].verdict == "more"
    found = compare("before.json", "after.json")
    assert found.code == 1
    assert "takes 100 % more memory than before" in found.out
    suite.set(peak=10**9, work={"operations": {"Mul": 4}})
    session(suite, "after.json", STORED)
    found = compare("before.json", "after.json")
    assert (found.code, "other work: operations 3 -> 4" in found.out) == (0, True)
    session(suite, "after.json", STORED, "--metal-strict-work")
    assert compare("before.json", "after.json").code == 1


def test_speedups(suite, compare):
    suite.set(gpus=["gpu"])
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=2)\n")
    recorded(suite)
    suite.set(gpus=["gpu"], gpu_factor=0.4)
    live = session(suite, "after.json")
    assert live.results[0].verdict == "slower"
    found = compare("before.json", "after.json")
    assert found.code == 1
    assert found.out.endswith("1 compared: 1 slower\n")


def test_what_only_one_has_and_what_was_not_judged_is_told_and_fails_under_strict(suite, compare):
    suite.write(SEVERAL)
    recorded(suite)
    suite.write(
        SEVERAL.replace('"c"', '"d"')
        + """
def build():
    raise ValueError("no")
def test_broken(metal_bench):
    metal_bench(build, name="c")
def test_other(metal_bench):
    metal_bench("fake-model", name="a", sustained="5s")
"""
    )
    session(suite, "after.json", STORED)
    found = compare("before.json", "after.json")
    assert found.code == 0
    assert "only after: d[b8]@cpu:fake\n" in found.out
    assert "only before: c[b8]@cpu:fake\n" in found.out
    assert "not compared: c@cpu:fake: broke: the builder of c raised ValueError: no" in found.out
    assert "not compared: a[b8]@cpu:fake: a sustained run, which is judged by itself\n" in found.out
    assert compare("before.json", "after.json", "--strict").code == 1


def test_one_fresh_run_that_looks_slower_is_no_verdict(suite, compare):
    recorded(suite)
    suite.set(seconds=0.2)
    suite.file.unlink()
    session(suite, "after.json")  # which has no baseline, and so takes one run
    found = compare("before.json", "after.json")
    assert found.code == 0
    assert "; 1 run of the 5 that a verdict may take, and a session that has ended takes no more\n" in found.out
    assert compare("before.json", "after.json", "--strict").code == 1


def test_several_earlier_sessions_tell_more_than_one(suite, compare):
    def visible(*names: str) -> float:
        row = next(line for line in compare(*names).out.splitlines() if line.startswith("fake-model"))
        return float(row.split()[-3])

    suite.ini(metal_runs=5)
    for name in ("1.json", "2.json", "3.json", "after.json"):
        recorded(suite, name)
    texts = {name: (suite.pytester.path / name).read_text() for name in ("1.json", "2.json", "3.json")}
    for day, (name, text) in enumerate(texts.items()):  # sessions of one hour count as one
        known = json.loads(text)["session"]["id"]
        (suite.pytester.path / name).write_text(text.replace(known, f"2026010{day + 1}T000000-abcd"))
    assert visible("1.json", "2.json", "3.json", "after.json") < visible("1.json", "after.json")


def test_another_tolerance(suite, compare):
    recorded(suite)
    suite.set(seconds=0.2)
    session(suite, "after.json", STORED)
    assert compare("before.json", "after.json", "--tolerance=200%").code == 0
    with pytest.raises(SystemExit) as end:
        package.main(["compare", "before.json", "after.json", "--tolerance=5"])
    assert end.value.code == 2


def test_sessions_of_different_machines(suite, compare):
    recorded(suite)
    suite.ini(metal_machine="another machine")
    suite.set(seconds=0.2)
    recorded(suite, "after.json")
    found = compare("before.json", "after.json")
    assert (found.code, found.out) == (2, "")
    assert "compare: the sessions are of different machines (test-machine, another-machine)" in found.err
    found = compare("before.json", "after.json", "--across-machines")
    assert found.code == 1
    assert "different machines: test-machine, another-machine; a change is theirs as well as the code's\n" in found.out


def test_a_session_that_ended_early_is_told(suite, compare):
    recorded(suite)
    session(suite, "after.json", STORED)
    file = suite.pytester.path / "after.json"
    file.write_text(file.read_text().replace('"state":"finished"', '"state":"running"'))
    found = compare("before.json", "after.json")
    assert found.code == 0
    assert "the later session was killed, or still runs\n" in found.out
    assert compare("before.json", "after.json", "--strict").code == 1


def test_what_cannot_be_compared(suite, compare):
    recorded(suite)
    session(suite, "smoke.json", "--metal=smoke")
    found = compare("before.json", "smoke.json")
    assert found.code == 2
    assert "no workload in common" in found.err
    assert "a smoke run, which trains one batch" in found.out
    found = compare("before.json", "nothing.json")
    assert (found.code, found.out) == (2, "")
    assert (
        found.err
        == "compare: nothing.json: cannot be read: No such file or directory; name a file that --metal-json wrote\n"
    )


def test_a_file_cannot_make_a_terminal_obey(suite, compare):
    recorded(suite)
    session(suite, "after.json", STORED)
    file = suite.pytester.path / "after.json"
    file.write_text(file.read_text().replace('"fake-model', '"\\u001b[31mfake\\nmodel<b>'))
    found = compare("before.json", "after.json")
    assert found.code == 2
    assert "\x1b" not in found.out
    assert "only after: \\x1b[31mfake\\nmodel<b>[b8]@cpu:fake\n" in found.out
    found = compare("after.json", "after.json")
    assert found.code == 0
    assert "\x1b" not in found.out
    assert "\n\\x1b[31mfake\\nmodel<b>[b8]  cpu:fake" in found.out
