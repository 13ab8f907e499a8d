"""What our tests need installed: a job that must have a framework fails without it, and no test is left out of all jobs."""

from __future__ import annotations

import configparser
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOBS = configparser.ConfigParser(interpolation=None)
JOBS.read(ROOT / "tox.ini")


@pytest.fixture
def conftest(request):
    return request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("needed", "message"),
    [
        ("torch", "TESTS_NEED names 'torch', and not installed are: torch, keras"),
        ("tensorflow jax", "TESTS_NEED names 'tensorflow', and not installed are: tensorflow, keras"),
        ("pytorch", "TESTS_NEED names 'pytorch', which is none of tensorflow, torch, jax, mlx, gate, browser"),
    ],
)
@pytest.mark.usefixtures("nothing_installed")
def test_what_a_job_needs_and_lacks_ends_it(conftest, request, monkeypatch, needed, message):
    monkeypatch.setenv("TESTS_NEED", needed)
    with pytest.raises(pytest.UsageError, match=re.escape(message)):
        conftest.pytest_configure(request.config)


@pytest.mark.usefixtures("nothing_installed")
def test_elsewhere_a_test_says_what_it_lacks(conftest, request, monkeypatch):
    monkeypatch.delenv("TESTS_NEED", raising=False)
    conftest.pytest_configure(request.config)
    conftest.pytest_runtest_setup(request.node)  # this one needs nothing
    request.node.add_marker(pytest.mark.jax)
    with pytest.raises(pytest.skip.Exception, match="needs jax, keras"):
        conftest.pytest_runtest_setup(request.node)


def test_two_jobs_run_every_test_once(conftest):
    """One leaves out exactly what the other runs, and each must have what it runs."""
    chosen = {job: re.search(r'-m "(.*?)"', JOBS[f"testenv:{job}"]["commands"])[1] for job in ("tests", "frameworks")}
    left_out = re.findall(r"not (\w+)", chosen["tests"])
    assert chosen["tests"] == " and ".join(f"not {mark}" for mark in left_out)
    assert chosen["frameworks"] == " or ".join(left_out)
    assert "-m" not in JOBS["testenv:all"]["commands"].removeprefix("python -m")
    needed = {job: set(re.search("TESTS_NEED = (.*)", JOBS[f"testenv:{job}"]["set_env"])[1].split()) for job in chosen}
    assert needed["frameworks"] == set(conftest.PACKAGES)
    assert needed["tests"] == set(conftest.PACKAGES) - set(left_out)


def test_who_imports_or_skips_is_marked(conftest):
    """Without the mark, the one job that has the package would leave the whole file out."""
    for file in (ROOT / "tests").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        for mark, packages in conftest.PACKAGES.items():
            if re.search(rf'importorskip\(\s*"({"|".join(packages)})"', text) and file.name != Path(__file__).name:
                assert f"pytest.mark.{mark}" in text, file


def test_no_test_of_ours_leaves_the_fake_backend_imported():
    # sessions that tests run in this process would find it, in the place of their own suite's
    assert "fake_backend" not in sys.modules
