"""--metal-baselines DIR: where the baseline files live, relative to rootdir."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest


def test_folder_is_made_and_read_again(suite):
    suite.run("--metal-baselines", "perf/stored", "--metal-update-baselines").assert_outcomes(passed=1)
    assert (suite.pytester.path / "perf" / "stored" / "test-machine.json").is_file()
    assert not suite.file.exists()
    result = suite.run("--metal-baselines", "perf/stored")
    result.stdout.fnmatch_lines(["1 gated: 1 within"])


def test_relative_to_rootdir_not_to_where_pytest_was_started(suite, monkeypatch):
    inside = suite.pytester.mkdir("inside")
    monkeypatch.chdir(inside)
    suite.ini(metal_baselines="kept")
    suite.run("..", "--metal-update-baselines").assert_outcomes(passed=1)
    assert (suite.pytester.path / "kept" / "test-machine.json").is_file()
    assert not (inside / "kept").exists()


def test_absolute_folder(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    # with "=": pytest itself takes an existing folder after a blank for a test folder, and looks for rootdir there
    suite.run(f"--metal-baselines={folder}", "--metal-update-baselines").assert_outcomes(passed=1)
    assert [file.name for file in folder.glob("*.json")] == ["test-machine.json"]


def test_file_that_cannot_be_read_ends_the_session_before_anything_is_measured(suite):
    suite.file.parent.mkdir()
    suite.file.write_text('{"format": 1, "workloads": 3}')
    result = suite.run("--metal-update-baselines")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *baselines/test-machine.json: $*"])
    assert suite.file.read_text() == '{"format": 1, "workloads": 3}'
    assert suite.trained() == []


def test_file_in_place_of_the_folder_is_one_sentence(suite):
    (suite.pytester.path / "taken").write_text("")
    result = suite.run("--metal-baselines=taken", "--metal-update-baselines")
    said = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert "taken" in said
    assert "INTERNALERROR" not in said


@pytest.mark.parametrize("at", ["a file", "/proc/nope"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(suite, at):
    if at.startswith("/") and not Path("/proc").is_dir():
        pytest.skip("Linux' own")
    (suite.pytester.path / "a file").write_text("")
    result = suite.run(f"--metal-baselines={at}", "--metal-update-baselines")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *: cannot be *; * another --metal-baselines"])
    assert suite.trained() == []


def test_a_name_that_is_too_long_is_told(suite):
    result = suite.run("--metal-baselines", "x" * 300, "--metal-update-baselines")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *: cannot be read: File name too long; *use another --metal-baselines"])


def test_a_blank_before_a_folder_elsewhere_would_take_the_ini_file_away(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    result = suite.run("--metal-baselines", str(folder), "--metal-update-baselines")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: write --metal-baselines={folder} with an equals sign: after a blank *"])
    assert not list(folder.iterdir())


def test_it_is_said_before_a_conftest_breaks_that_misses_its_ini_file(suite, tmp_path_factory):
    (suite.pytester.path / "conftest.py").write_text("import found_by_the_ini_file\n")
    result = suite.run("--metal-baselines", str(tmp_path_factory.mktemp("elsewhere")))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: write --metal-baselines=* with an equals sign: after a blank *"])


def test_an_ini_file_that_was_named_is_not_hidden(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    ini = suite.pytester.path / "tox.ini"
    kept = ini.rename(folder / "other.ini")
    suite.run(
        "-c", str(kept), "--rootdir=.", "--metal-baselines", str(folder), "--metal-update-baselines"
    ).assert_outcomes(passed=1)


def test_the_command_that_accepts_is_one_that_works(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    suite.run(f"--metal-baselines={folder}", "--metal-update-baselines").assert_outcomes(passed=1)
    suite.set(seconds=0.2)
    result = suite.run(f"--metal-baselines={folder}")
    (command,) = (line.partition("accept it with")[2] for line in result.stdout.lines if "accept it with" in line)
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    suite.run(*arguments).assert_outcomes(passed=1)
    suite.run(f"--metal-baselines={folder}").assert_outcomes(passed=1)


def test_a_blank_before_a_folder_of_the_project_is_harmless(suite, monkeypatch):
    suite.pytester.mkdir("kept")
    suite.run("--metal-baselines", "kept", "--metal-update-baselines").assert_outcomes(passed=1)
    monkeypatch.chdir(suite.pytester.mkdir("inside"))
    suite.run("--metal-baselines", "kept", "..").assert_outcomes(passed=1)
