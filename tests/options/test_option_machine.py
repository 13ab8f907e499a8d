"""--metal-machine NAME: baselines of a machine that is named by hand."""

from __future__ import annotations

import pytest


def files(suite):
    return sorted(file.name for file in (suite.pytester.path / "baselines").glob("*.json"))


def test_name_is_the_file(suite):
    suite.run("--metal-machine=runner-a", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    result = suite.run("--metal-machine=runner-b", "--metal-update-baselines", "--metal-runs=1")
    result.stdout.fnmatch_lines(["stored in runner-b.json:", "measured on runner-b with*"])
    assert files(suite) == ["runner-a.json", "runner-b.json"]


def test_by_default_named_by_its_facts(suite):
    suite.ini(metal_machine=None)
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    (name,) = files(suite)
    assert name == name.lower()
    suite.run().assert_outcomes(passed=1)
    assert files(suite) == [name]


@pytest.mark.parametrize("name", ["../outside", "a/b", "Große Kiste #1"])
def test_any_name_becomes_one_file_in_the_folder(suite, name):
    suite.run(f"--metal-machine={name}", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    assert len(files(suite)) == 1
    assert len(list(suite.pytester.path.rglob("baselines/*.json"))) == 1


def test_name_of_which_nothing_is_left_is_refused(suite):
    result = suite.run("--metal-machine=箱", "--metal-update-baselines", "--metal-runs=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
