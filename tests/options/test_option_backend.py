"""--metal-backend NAMES: with several, each test runs once per device and backend."""

from __future__ import annotations

import sys

import pytest

from pytest_metalperf import session, settings

TWO = """
from fake_backend import Fake, build

def pytest_metalperf_backends():
    return {"fake": Fake, "other": Fake}

def pytest_metalperf_models():
    from pytest_metalperf import Model
    return [Model("fake-model", build)]
"""


def test_one_backend_stays_out_of_the_test_id(suite):
    suite.run("--collect-only", "-q").stdout.fnmatch_lines(["test_suite.py::test_it[[]cpu[]]"])


def test_several_are_tests_and_entries_of_their_own(suite):
    suite.pytester.makeconftest(TWO)
    arguments = "--metal-backend=fake,other", "--metal-update-baselines"
    result = suite.run(*arguments, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_it[[]cpu-fake[]] *", "*::test_it[[]cpu-other[]] *"])
    assert sorted(suite.stored) == ["fake-model@cpu:fake", "fake-model@cpu:other"]


def test_missing_gpu_is_asked_of_each(suite):
    suite.pytester.makeconftest(TWO)
    result = suite.run("--metal-backend=fake,other", "--metal-devices=gpu", "-rs")
    result.assert_outcomes(skipped=2)


def test_marker_chooses(suite):
    suite.pytester.makeconftest(TWO)
    suite.write(
        "import pytest\n@pytest.mark.metal_bench(backend='other')\ndef test_it(metal_bench):\n    metal_bench('fake-model')\n"
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["fake-model@cpu:other"]


def test_another_backend_in_a_call_is_an_error_that_names_the_marker(suite):
    suite.pytester.makeconftest(TWO)
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', backend='other')\n")
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*is the test of fake, while its call names other: *metal_bench(backend="other")'])
    assert suite.trained() == []


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("tensorflow", "torch", "jax"), "tensorflow"),
        (("torch",), "torch"),
        (("jax",), "jax"),
        ((), "tensorflow"),
        (("torch", "jax"), "auto"),
    ],
)
def test_auto_is_tensorflow_or_the_one_that_is_installed(monkeypatch, there, chosen):
    monkeypatch.setattr(settings, "installed", lambda: there)
    assert settings.Settings().backends == (chosen,)
    assert settings.Settings(backend=("auto", "torch")).backends == tuple(dict.fromkeys((chosen, "torch")))


def test_auto_takes_a_folder_of_the_name_for_no_framework(tmp_path, monkeypatch):
    for name in settings.FRAMEWORKS:
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    for name in settings.FRAMEWORKS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert settings.installed.__wrapped__() == ()


def test_auto_with_several_and_no_tensorflow_says_to_name_one(suite, monkeypatch):
    for module in (settings, session):
        monkeypatch.setattr(module, "installed", lambda: ("torch", "jax"))
    suite.ini(metal_backend=None)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*auto cannot choose: torch and jax are installed*metal_backend = torch in the ini file*"]
    )
    assert suite.trained() == []


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_unknown_backend_says_what_there_is(suite, device):
    result = suite.run("--metal-backend=caffe", f"--metal-devices={device}")
    said = result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.TESTS_FAILED)
    assert "'caffe'" in said
    assert "fake, jax, mlx, tensorflow, torch" in said
    assert "INTERNALERROR" not in said
    assert suite.trained() == []


def test_a_model_that_is_written_for_one_backend_says_so_on_another(suite):
    suite.write("def test_it(metal_bench):\n    metal_bench('gpt-torch')\n")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*gpt-torch is written for torch alone, and this test trains on fake: mark it with"
            ' @pytest.mark.metal_bench(backend="torch"), or give --metal-backend torch'
        ]
    )
