"""--metal-machine NAME: baselines of a machine that is named by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pytest_metalperf.session
from pytest_metalperf.baselines.file import Store
from pytest_metalperf.worker.machine import machine_facts


def files(suite):
    return sorted(file.name for file in (suite.pytester.path / "baselines").glob("*.json"))


def test_name_is_the_file(suite):
    suite.run("--metal-machine=runner-a", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    result = suite.run("--metal-machine=runner-b", "--metal-update-baselines", "--metal-runs=1")
    result.stdout.fnmatch_lines(["stored in runner-b.json:", "measured on runner-b with*"])
    assert files(suite) == ["runner-a.json", "runner-b.json"]


def test_by_default_named_by_its_facts(suite):
    suite.ini(metal_machine=None)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
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


@pytest.mark.parametrize(
    ("stored", "near"),
    [
        (["linux-xeon-8cpu-20gb"], "linux-xeon-8cpu-20gb"),
        (["linux-xeon-8cpu-8gb", "linux-xeon-8cpu-22gb"], "linux-xeon-8cpu-22gb"),
        (["linux-xeon-8cpu-24gb"], ""),
        (["linux-xeon-4cpu-20gb", "linux-xeon-8cpu-20gb-nvidia-h100-80gb-hbm3"], ""),
    ],
)
def test_no_baseline_names_the_machine_that_differs_in_memory_alone(suite, monkeypatch, stored, near):
    suite.ini(metal_machine=None)
    (suite.pytester.path / "baselines").mkdir()
    for name in stored:
        (suite.pytester.path / "baselines" / f"{name}.json").write_text("{}")
    facts = replace(machine_facts(), id="linux-xeon-8cpu-24gb")
    monkeypatch.setattr(pytest_metalperf.session, "machine_facts", lambda: facts)
    if stored == ["linux-xeon-8cpu-24gb"]:
        (suite.pytester.path / "baselines" / f"{stored[0]}.json").unlink()
    result = suite.run("--metal-on-missing=fail")
    result.assert_outcomes(failed=1)
    if near:
        result.stdout.fnmatch_lines([f"*stored *{near}.json*memory alone", f"*--metal-machine {near}"])
    else:
        result.stdout.no_fnmatch_line("*memory alone*")


def test_the_memory_of_a_gpu_is_not_the_machines(tmp_path):
    for name in ("linux-xeon-8cpu-20gb-h100-80gb-hbm3", "linux-xeon-8cpu-24gb-h100-94gb-hbm3"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert Store(tmp_path, "linux-xeon-8cpu-24gb-h100-80gb-hbm3").near() == "linux-xeon-8cpu-20gb-h100-80gb-hbm3"
