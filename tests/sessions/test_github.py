"""What GitHub Actions shows of a session: a summary on the job's page, an annotation for each test that failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from markdown_it import MarkdownIt

from pytest_metalperf.report import github

RENDERER = MarkdownIt("commonmark").enable("table")
TWO = """
from fake_backend import FakeModel, wish

def build(batch_size=8):
    return FakeModel(wish("seconds", 0.1), batch_size)

def steady(batch_size=8):
    return FakeModel(0.1, batch_size)

def test_steady(metal_bench):
    metal_bench(steady, name="steady")

def test_it(metal_bench):
    metal_bench(build, name={name!r})
"""
HOSTILE = "a|b `c` <img src=x onerror=alert(1)> **d** _e_ $f$ &lt; https://g.h \\| 🚀 ```" + "n" * 240


class Job:
    """A job of GitHub Actions: the variables, and the file that its page shows."""

    def __init__(self, suite, monkeypatch):
        self.suite = suite
        self.file = suite.pytester.path / "summary.md"
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.pytester.path))
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(self.file))

    def run(self, *arguments):
        return self.suite.run("-p", "no:benchmark", *arguments)

    @property
    def text(self):
        return self.file.read_text(encoding="utf-8")

    @property
    def rows(self):
        """The cells of the table, as a reader sees them."""
        tokens = RENDERER.parse(self.text)
        found, cells = [], []
        for token in tokens:
            if token.type == "tr_open":
                cells = []
                found.append(cells)
            elif token.type == "inline" and found and token.level > 2:
                cells.append("".join(child.content for child in token.children))
        return [row for row in found if row]

    @property
    def html(self):
        return RENDERER.render(self.text)


@pytest.fixture
def job(suite, monkeypatch):
    suite.set(jitter=0)
    return Job(suite, monkeypatch)


@pytest.fixture
def stored(job):
    """Two workloads with baselines, and an empty page."""
    job.suite.write(TWO.format(name="it"))
    job.run("--metal-update-baselines").assert_outcomes(passed=2)
    job.file.unlink()
    return job


def commands(result):
    return [line for line in result.stdout.lines if line.startswith("::")]


# the summary


def test_the_slower_one_comes_first_with_its_interval_and_its_commands(stored):
    stored.suite.set(seconds=0.2, jitter=0)
    result = stored.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert stored.text.startswith("### Training performance: 1 slower, 1 within\n")
    head, slower, within = stored.rows
    assert head == ["verdict", "workload", "now", "baseline", "change (95 % interval)", "visible"]
    assert slower[:2] == ["slower", "it[b8]@cpu:fake"]
    assert within[:2] == ["within", "steady[b8]@cpu:fake"]
    terminal = next(line for line in result.stdout.lines if line.startswith("it[b8]") and line.endswith("slower"))
    for figure in (slower[2], slower[3], slower[5], slower[4].partition(" (")[0]):
        assert figure in terminal
    pytest.LineMatcher([slower[4]]).fnmatch_lines(["+* % (+* % to +* %)"])
    pytest.LineMatcher(stored.text.splitlines()).fnmatch_lines(
        [
            "slower: `it[[]b8[]]@cpu:fake`",
            "```",
            'repeat it with  pytest "test_suite.py::test_it[[]cpu[]]"',
            'accept it with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-update-baselines',
            "```",
            "Measured on `test-machine` with `fake 1.0`.",
        ],
        consecutive=False,
    )
    assert "Not judged" not in stored.text


def test_a_name_is_text_and_no_markup(job):
    job.suite.write(TWO.format(name=HOSTILE))
    job.run("--metal-update-baselines").assert_outcomes(passed=2)
    job.file.unlink()
    job.suite.set(seconds=0.2, jitter=0)
    job.run().assert_outcomes(passed=1, failed=1)
    assert len(HOSTILE) > 300
    assert [row[1] for row in job.rows[1:]] == [f"{HOSTILE}[b8]@cpu:fake", "steady[b8]@cpu:fake"]
    assert {len(row) for row in job.rows} == {6}
    for markup in ("<img", "<em>", "<a "):
        assert markup not in job.html
    assert "<strong>d" not in job.html


def test_what_was_not_judged_is_listed_with_the_reason(job):
    job.suite.write(
        """
        import pytest

        def test_new(metal_bench):
            metal_bench("fake-model")

        def test_unknown(metal_bench):
            metal_bench("no-such-model")

        @pytest.mark.parametrize("x", [pytest.param(1, id="<b>a|b</b>")])
        def test_own(metal_bench, x):
            metal_bench("fake-model")
            assert x == 2, "first line\\n<script>"

        def test_elsewhere():
            assert False
        """
    )
    job.run("--metal-devices=cpu,gpu").assert_outcomes(failed=2, errors=1, skipped=3)
    assert job.text.startswith("### Training performance: 1 error, 1 failed, 2 no baseline\n")
    lines = job.text.splitlines()
    pytest.LineMatcher(lines).fnmatch_lines(
        [
            "- error `test_suite.py::test_unknown[[]cpu[]]`: `unknown model 'no-such-model': there are *`",
            "- failed `test_suite.py::test_own[[]*<b>a|b</b>*[]]`: `AssertionError: first line`",
            "- no baseline `fake-model[[]b8[]]@cpu:fake`: `nothing of this machine in test-machine.json; to record it add"
            " --metal-update-baselines --metal-update-mode missing`",
            "- skipped `test_suite.py::test_new[[]gpu[]]`, *: `there is no gpu for Fake here (there is cpu)`",
            "error: `test_suite.py::test_unknown[[]cpu[]]`",
            'repeat it with  pytest "test_suite.py::test_unknown[[]cpu[]]" --metal-devices cpu,gpu',
        ]
    )
    assert "test_elsewhere" not in job.text
    assert "<b>" not in job.html
    assert "<script>" not in job.html


def test_where_a_missing_baseline_fails_the_command_that_records_is_there(job, monkeypatch):
    monkeypatch.setenv("CI", "true")
    job.suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n")
    job.run().assert_outcomes(failed=1)
    assert 'accept it with  pytest "test_suite.py::test_it[cpu]" --metal-update-baselines\n' in job.text


def test_an_error_says_what_broke(job):
    job.suite.set(nan="fake-model", jitter=0)
    job.suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n")
    result = job.run()
    result.assert_outcomes(errors=1)
    assert job.rows[1][:3] == ["error", "fake-model[b8]@cpu:fake", "-"]
    pytest.LineMatcher(job.text.splitlines()).fnmatch_lines(["- error `fake-model[[]b8[]]@cpu:fake`: `*nan*`"])
    (command,) = commands(result)
    assert ",title=error%3A fake-model[b8]@cpu%3Afake::fake-model[b8]@cpu:fake: " in command


def test_speedups_metrics_and_sustained_runs_have_rows(job):
    job.suite.write(
        """
        def test_bench(metal_bench):
            metal_bench("fake-model", metrics={"memory": "5%"})

        def test_pays(metal_speedup):
            metal_speedup("fake-model", at_least=3)

        def test_long(metal_bench):
            metal_bench("fake-model", sustained="30")
        """
    )
    wishes = {"gpus": ["gpu"], "jitter": 0, "gpu_factor": 1 / 6}
    job.suite.set(peak=1e9, **wishes)
    job.run("--metal-update-baselines").assert_outcomes(passed=3)
    job.file.unlink()
    job.suite.set(peak=1.2e9, **{**wishes, "gpu_factor": 1 / 4})
    job.run().assert_outcomes(passed=1, failed=2)
    assert job.text.startswith("### Training performance: 1 slower, 2 within; 1 metric gated: 1 more\n")
    rows = {row[1]: row for row in job.rows[1:]}
    speedup = rows["fake-model[b8]@gpu:fake over fake-model[b8]@cpu:fake"]
    assert speedup[0] == "slower"
    assert speedup[2].startswith("4x (")
    assert speedup[3] == "6x, at least 3x"
    assert speedup[4].startswith("-33.3 % (-")
    memory = rows["fake-model[b8]@cpu:fake: memory"]
    assert [memory[0], *memory[2:4]] == ["more", "1.200 GB", "1.000 GB"]
    assert memory[4].startswith("+20.0 % (+")
    long = rows["fake-model[b8]@cpu:fake sustained 30 s"]
    assert [long[0], *long[2:4]] == ["within", "0.1000 s", "-"]
    assert long[4].startswith("+0.0 % (")
    assert {row[0] for row in job.rows[1:3]} == {"slower", "more"}
    assert job.text.count("accept it with  ") == 2


def test_without_a_performance_test_nothing_is_written(job):
    job.suite.write("def test_it():\n    assert False\n")
    assert commands(job.run()) == []
    assert not job.file.exists()


@pytest.mark.parametrize("flag", ["--metal=off", "--metal-plan", "--collect-only"])
def test_where_nothing_is_measured_nothing_is_written(job, flag):
    job.run(flag)
    assert not job.file.exists()


def test_what_stands_in_the_file_stays(job):
    job.file.write_text("another tool's")
    job.suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n")
    job.run()
    job.run()
    assert job.text.startswith("another tool's\n### Training performance: 1 no baseline\n")
    assert job.text.count("### Training performance") == 2


def test_a_full_file_is_left_as_it_is(job):
    job.file.write_bytes(b"x" * (github.LIMIT - 20))
    job.suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n")
    result = job.run()
    assert result.ret == 0
    assert job.file.stat().st_size == github.LIMIT - 20
    result.stdout.fnmatch_lines(
        ["GITHUB_STEP_SUMMARY: *summary.md has 1048556 bytes, and GitHub shows no more than 1048576: nothing was added"]
    )


@pytest.mark.parametrize(("name", "reason"), [("", "Is a directory"), ("none/summary.md", "No such file or directory")])
def test_a_file_that_cannot_be_written_is_a_sentence_and_fails_nothing(job, monkeypatch, name, reason):
    path = job.suite.pytester.path / name
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    job.suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\n")
    result = job.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [f"GITHUB_STEP_SUMMARY: {path} cannot be written ({reason}): name another file, or unset it"]
    )


def test_a_relative_path_is_of_where_pytest_was_started(job, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    job.suite.write(
        "def test_it(metal_bench, tmp_path):\n    metal_bench('fake-model')\n    import os\n    os.chdir(tmp_path)\n"
    )
    job.run()
    assert job.file.exists()


def test_tests_that_a_session_did_not_get_to_are_named(stored):
    stored.suite.set(seconds=0.2, jitter=0)
    stored.suite.write(TWO.format(name="it") + "\ndef test_last(metal_bench):\n    metal_bench('fake-model')\n")
    stored.run("-x")
    assert "- not run `test_suite.py::test_last[cpu]`: `the session ended before`" in stored.text


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_a_cancelled_job_leaves_what_it_has_measured(job, end):
    job.suite.write(
        "import time\nfrom fake_backend import FakeModel\n"
        "def build(number):\n"
        "    if number:\n"
        "        open('second', 'w').close()\n"
        "        time.sleep(300)\n"
        "    return FakeModel(0.1)\n\n"
        "def test_first(metal_bench):\n    metal_bench(build, name='first', number=0)\n\n"
        "def test_second(metal_bench):\n    metal_bench(build, name='second', number=1)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:benchmark", "--metal-update-baselines", "--metal-runs=1"]
    with subprocess.Popen(command, cwd=job.suite.pytester.path, stdout=subprocess.PIPE, text=True) as session:
        until = time.monotonic() + 60
        while not (job.suite.pytester.path / "second").exists() and time.monotonic() < until:
            time.sleep(0.02)
        session.send_signal(end)
        session.communicate(timeout=30)
    assert session.returncode == pytest.ExitCode.INTERRUPTED
    assert job.rows[1][:2] == ["recorded", "first[number=0]@cpu:fake"]
    assert "- not run `test_suite.py::test_second[cpu]`: `the session ended before`" in job.text


def test_children_of_metal_live_leave_the_page_to_their_parent(job):
    job.suite.write("def test_it(metal_live):\n    metal_live(lambda: 1.0, name='step')\n")
    job.run("--metal-update-baselines", "--metal-runs=1", "--metal-batches=1").assert_outcomes(passed=1)
    assert job.text.count("###") == job.text.count("### Training performance: 1 recorded") == 1


def test_a_test_that_another_plugin_runs_again_counts_by_its_last_attempt(stored):
    with (stored.suite.pytester.path / "conftest.py").open("a") as file:
        file.write(
            "\ndef pytest_runtest_logreport(report):\n"
            "    if report.failed:\n        report.outcome = 'rerun'\n"  # as pytest-rerunfailures does
        )
    stored.suite.set(seconds=0.2, jitter=0)
    assert commands(stored.run()) == []


# annotations


def test_a_slower_test_is_annotated_where_it_stands(stored):
    stored.suite.set(seconds=0.2, jitter=0)
    (command,) = commands(stored.run())
    lines = (stored.suite.pytester.path / "test_suite.py").read_text().splitlines()
    line = lines.index("def test_it(metal_bench):") + 1
    assert command.startswith(
        f"::error file=test_suite.py,line={line},title=slower%3A it[b8]@cpu%3Afake::it[b8] on cpu (fake) is "
    )
    assert "%0A  baseline  0.1000 s/batch " in command
    assert "allowed   +5.0 %25 " in command
    assert command.endswith('%0Arepeat it with  pytest "test_suite.py::test_it[cpu]"')


def test_properties_are_escaped_and_a_name_starts_no_command_of_its_own(job):
    job.suite.write(TWO.format(name="a,b: 100%"))
    job.run("--metal-update-baselines").assert_outcomes(passed=2)
    job.suite.set(seconds=0.2, jitter=0)
    (command,) = commands(job.run())
    assert ",title=slower%3A a%2Cb%3A 100%25[b8]@cpu%3Afake::a,b: 100%25[b8] on cpu" in command


def test_an_assertion_of_the_test_itself_is_annotated_too(job):
    job.suite.write(
        "def test_it(metal_bench):\n    metal_bench('fake-model')\n    assert False, 'one\\n::error ::two'\n"
    )
    (command,) = commands(job.run())
    assert command.startswith(
        "::error file=test_suite.py,line=1,title=failed%3A test_suite.py%3A%3Atest_it[cpu]::AssertionError: one%0A"
    )


def test_a_file_is_named_from_the_repository_s_folder(stored, monkeypatch):
    monkeypatch.setenv("GITHUB_WORKSPACE", str(stored.suite.pytester.path.parent))
    stored.suite.set(seconds=0.2, jitter=0)
    (command,) = commands(stored.run())
    assert command.startswith(f"::error file={stored.suite.pytester.path.name}/test_suite.py,line=")


def test_where_another_plugin_annotates_it_is_left_to_that(stored):
    with (stored.suite.pytester.path / "conftest.py").open("a") as file:
        file.write(
            f"\ndef pytest_configure(config):\n    config.pluginmanager.register(object(), {github.ANNOTATES!r})\n"
        )
    stored.suite.set(seconds=0.2, jitter=0)
    assert commands(stored.run()) == []
    assert stored.rows[1][0] == "slower"


def test_nothing_is_annotated_elsewhere(stored, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS")
    stored.suite.set(seconds=0.2, jitter=0)
    assert commands(stored.run()) == []


def test_what_passes_is_not_annotated(stored):
    assert commands(stored.run()) == []


def test_our_own_tests_write_nothing_on_the_page_of_their_job():
    assert not {"GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"} & set(os.environ)


def test_two_tests_that_fail_for_one_workload_are_one_row_and_two_annotations(stored):
    stored.suite.write(TWO.format(name="it") + "\ndef test_again(metal_bench):\n    metal_bench(build, name='it')\n")
    stored.suite.set(seconds=0.2, jitter=0)
    result = stored.run()
    result.assert_outcomes(passed=1, failed=2)
    assert stored.text.startswith("### Training performance: 2 slower, 1 within\n")
    assert [row[0] for row in stored.rows[1:]] == ["slower", "within"]
    assert [",title=slower%3A it[b8]@" in command for command in commands(result)] == [True, True]


def test_a_suspect_that_was_not_run_again_is_told(job):
    source = TWO.replace("def test_steady", "def test_later").format(name="it")
    first, later = source.index("def test_later"), source.index("def test_it")
    source = source[:first] + source[later:] + "\n" + source[first:later]
    job.suite.write(source)
    job.run("--metal-update-baselines").assert_outcomes(passed=2)
    job.file.unlink()
    job.suite.write("import pytest\n" + source + "def test_exit():\n    pytest.exit('enough')\n")
    job.suite.set(seconds=0.12, jitter=0)
    job.run()
    lines = job.text.splitlines()
    pytest.LineMatcher(lines).fnmatch_lines(
        ["- not confirmed `test_suite.py::test_it[[]cpu[]]`: `it* on cpu (fake) looks * slower`"]
    )
    assert "not run" not in job.text
