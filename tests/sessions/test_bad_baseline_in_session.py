"""A baseline file that cannot be read, through pytest: exit code 4, one sentence, nothing measured, the file untouched."""

from __future__ import annotations

import json

import pytest

VALID = {"format": 1, "machine": {"id": "test-machine"}, "workloads": {}}
RUN = {
    "seconds_per_batch": "0.1",
    "lower_quartile": 0.1,
    "upper_quartile": 0.1,
    "batches": 10,
    "first_batch_seconds": 0.1,
    "session": "s",
    "recorded": "2026-01-01",
}
WRONG_TYPE = {"w@cpu:fake": {"anchor": {"seconds_per_batch": 0.1, "recorded": "2026-01-01"}, "runs": [RUN]}}

NOTING = """
from fake_backend import FakeModel
def builder():
    open("built", "w").close()
    return FakeModel(0.1)
def test_it(metal_bench):
    open("tested", "w").close()
    metal_bench(builder)
"""


@pytest.mark.parametrize("flags", [[], ["--metal-update-baselines", "--metal-update-mode=all"], ["--metal=smoke"]])
def test_file_that_cannot_be_read_ends_the_session(suite, flags):
    check(suite, json.dumps({**VALID, "workloads": WRONG_TYPE}), "expected a number, got a string", *flags)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ('{"format": 1, "workl', "line 1, column "),
        ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> faster\n", "line 1: holds an unresolved merge conflict"),
        (json.dumps({**VALID, "format": 7}), "by a newer pytest-metalperf"),
        (json.dumps({**VALID, "machine": {"id": "mac"}}), "holds the baselines of 'mac', not of 'test-machine'"),
        (json.dumps({**VALID, "speed": 3}), "if it was written by a newer pytest-metalperf, upgrade this one"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "fetch that with git lfs pull"),
        ('{"name": "something else"}', "is no baseline file of pytest-metalperf"),
    ],
)
def test_sentence_names_file_and_place(suite, text, sentence):
    check(suite, text, sentence)


def check(suite, text: str, sentence: str, *flags: str) -> None:
    suite.write(NOTING)
    suite.file.parent.mkdir()
    suite.file.write_text(text)
    before = suite.file.stat()
    result = suite.run(*flags)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (said,) = [line for line in result.stderr.lines if line]
    assert said.startswith(f"ERROR: {suite.file}: ")
    assert sentence in said
    assert not (suite.pytester.path / "tested").exists()
    assert not (suite.pytester.path / "built").exists()
    assert suite.file.read_text() == text
    assert suite.file.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in suite.file.parent.iterdir()] == [suite.file.name]


@pytest.mark.parametrize("flags", [["--metal=off"], ["--collect-only"], ["-m", "not metal_bench"]])
def test_session_that_needs_no_baseline_does_not_mind(suite, flags):
    suite.write("def test_other():\n    pass\n\ndef test_it(metal_bench):\n    metal_bench('fake-model')\n")
    suite.file.parent.mkdir()
    suite.file.write_text("broken")
    assert suite.run(*flags).ret == 0


def test_file_broken_while_the_session_runs_is_an_error_of_that_test(suite):
    suite.write(
        """
        import pathlib
        def test_a(metal_bench):
            metal_bench("fake-model", batch_size=2)
            pathlib.Path("baselines/test-machine.json").write_text("<<<<<<< HEAD")
        def test_b(metal_bench):
            metal_bench("fake-model", batch_size=4)
        """
    )
    result = suite.run("--metal-update-baselines")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*test-machine.json: line 1: holds an unresolved merge conflict; resolve*", "ERROR *::test_b*"]
    )
    assert suite.file.read_text() == "<<<<<<< HEAD"


def test_disk_that_is_full_is_an_error_and_leaves_the_file(suite, monkeypatch):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = suite.file.read_bytes()
    suite.set(seconds=0.3)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = suite.run("--metal-update-baselines", "--metal-update-mode=all")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test-machine.json: cannot be written: No space left on device; nothing was stored*"])
    assert "Traceback" not in result.stdout.str()
    assert suite.file.read_bytes() == before


def test_machine_fact_of_a_plugin_cannot_rename_the_machine(suite):
    conftest = suite.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text() + "\ndef pytest_metalperf_machine_facts():\n    return {'id': 'mine'}\n")
    suite.run("--metal-update-baselines")
    assert suite.run().ret == 0


@pytest.mark.parametrize("seconds", [1e-12, 1e-320, 1e308])
def test_a_figure_that_no_training_has_ends_nothing(suite, seconds):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    (file,) = suite.pytester.path.glob("**/baselines/*.json")
    plain = json.loads(file.read_text())
    (entry,) = plain["workloads"].values()
    entry["runs"][0]["seconds_per_batch"] = seconds
    file.write_text(json.dumps(plain))
    result = suite.run("--metal-plan")
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_a_wrong_value_is_told_with_a_remedy(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    (file,) = suite.pytester.path.glob("**/baselines/*.json")
    plain = json.loads(file.read_text())
    (entry,) = plain["workloads"].values()
    entry["runs"][0]["seconds_per_batch"] = "x"
    file.write_text(json.dumps(plain))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *seconds_per_batch*; restore it with git checkout, or find a whole one with git log"]
    )
    result.stderr.no_fnmatch_line("*delete*")
