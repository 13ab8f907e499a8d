"""Names and texts that others choose: bytes that are no UTF-8, megabytes, what is no text at all. Each costs one sentence."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from pytest_metalperf.references.git import revision
from pytest_metalperf.worker.log import failed_work, lines_of
from pytest_metalperf.worker.problems import readable
from pytest_metalperf.worker.values import reported

NO_UTF_8 = os.fsdecode(b"\xff\xfe")
only_where_names_are_bytes = pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 on a Mac")


@only_where_names_are_bytes
def test_git_may_print_a_file_s_name_that_is_no_utf_8(tmp_path):
    """What had been measured for minutes was lost, since git's words could not be decoded."""
    (tmp_path / NO_UTF_8).write_text("")
    who = ("-c", "user.name=n", "-c", "user.email=e")
    commands = (["init", "-q"], ["config", "core.quotepath", "off"], ["add", "."], [*who, "commit", "-q", "-m", "m"])
    for words in commands:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (tmp_path / NO_UTF_8).write_text("changed")
    assert revision(tmp_path).commit is not None
    assert revision(tmp_path).clean is False


@pytest.mark.processes
@only_where_names_are_bytes
def test_a_folder_that_no_worker_can_be_told_of_is_named(suite):
    folder = suite.pytester.path / NO_UTF_8
    folder.mkdir()
    for name in ("conftest.py", "fake_backend.py", "test_suite.py", "tox.ini"):
        (suite.pytester.path / name).rename(folder / name)
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=folder, capture_output=True, check=False)
    assert b"1 error" in done.stdout
    assert (
        rb"\udcff\udcfe' is no UTF-8 text, and a worker cannot be told of it: rename that file or folder" in done.stdout
    )


@pytest.mark.parametrize("facts", ["{'rack': '\\udcff'}", "{'rack': 3}", "{3: 'rack'}", "{'a\\nb': 'rack'}"])
def test_facts_of_a_machine_that_cannot_be_stored_are_refused_before_anything_is_measured(suite, facts):
    with (suite.pytester.path / "conftest.py").open("a") as file:
        file.write(f"\ndef pytest_metalperf_machine_facts():\n    return {facts}\n")
    result = suite.run("--metal-update-baselines")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: pytest_metalperf_machine_facts: expected printable texts, got (*"])
    assert suite.trained() == []


def test_a_long_text_keeps_its_beginning_its_end_and_the_length_that_somebody_reads():
    text = "first\n" + "line\n" * 100_000 + "l" * 10_000_000 + "\nlast"
    shown = readable(text)
    assert shown.startswith("first\n")
    assert shown.endswith("\nlast")
    assert "\n… 99943 lines …\n" in shown
    assert len(shown) < 1_000


def test_what_somebody_reads_anyway_stays_as_it_is():
    text = "\n".join(f"line {number}" for number in range(60))
    assert readable(text) == text


def test_a_log_without_a_line_s_end_is_read_in_pieces_and_its_failure_is_found():
    log = io.StringIO("x" * 1_000_000 + "\nCUDA_ERROR_LAUNCH_FAILED\n")
    assert max(map(len, lines_of(log))) < 100_000
    log.seek(0)
    assert failed_work(lines_of(log)) == "CUDA_ERROR_LAUNCH_FAILED"


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--metal-baselines=~nosuchuser/x", "*--metal-baselines: ~nosuchuser/x: *home directory*"),
        ("--metal-against=~nosuchuser/x", "*--metal-against ~nosuchuser/x: *home directory*"),
        ("--metal-against=" + "x" * 5000, "*--metal-against xxx*: File name too long"),
    ],
)
def test_a_path_that_no_system_takes_is_one_sentence(suite, flag, sentence):
    result = suite.run(flag)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])


@pytest.mark.parametrize("value", ["garbage", "{}", "[1]", "[" * 100_000])
def test_a_variable_of_ours_that_somebody_set_is_named(suite, monkeypatch, value):
    monkeypatch.setenv("PYTEST_METALPERF_LIVE", value)
    suite.run("-p", "no:cacheprovider").stdout.fnmatch_lines(
        ["PYTEST_METALPERF_LIVE is for child processes of metal_live, and is set here: unset it"]
    )


@pytest.mark.parametrize("value", ["/", ".", "/no/such/folder/lock"])
def test_a_lock_that_is_no_file_is_named(suite, monkeypatch, value):
    """It was measured without one, and nobody was told."""
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", value)
    suite.run().stdout.fnmatch_lines(
        [f"*PYTEST_METALPERF_LOCK={value}: is no file in a folder: name another, or unset it"]
    )


def test_a_list_that_holds_itself_twice_is_looked_at_in_part(suite):
    looped: list[object] = []
    looped += [looped, looped]
    assert list(reported({"loss": 1.0, "logs": looped, "last": 2.0}))[0] == ("loss", 1.0)  # noqa: RUF015 - all of them are taken


def test_git_that_fails_and_says_that_it_did_not_names_no_commit(tmp_path, monkeypatch):
    """Where SIGCHLD is ignored, as by some CI agents, every process seems to end well."""
    monkeypatch.setattr("pytest_metalperf.references.git.asked", lambda folder, *words: "")
    assert revision(tmp_path) == (None, None)
