"""A replay where the project itself is installed, as under tox."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from fake_distributions import put
from own_project import BUILDER, TEST, Project

from pytest_metalperf.references.environment import Environment, Environments

pytestmark = pytest.mark.processes


class Installed:
    """A suite whose builder lies in the repository's own project, which is installed as a copy, as tox does it."""

    def __init__(self, suite, site, monkeypatch):
        self.project, self.site, self.monkeypatch = Project(suite), site, monkeypatch
        self.project.suite.write(TEST.replace("from own import", "from ownproj.models import"))
        (suite.pytester.path / "pyproject.toml").write_text("[project]\nname = 'ownproj'\nversion = '1.0'\n")
        (suite.pytester.path / "src" / "ownproj").mkdir(parents=True)
        monkeypatch.syspath_prepend(site)
        self.write(0.1)
        self.install()
        self.project.commit()
        self.project.record()
        self.project.commit()

    def write(self, seconds):
        self.project.write(seconds, name="src/ownproj/speed.py", text="SECONDS = {seconds}\n")
        self.project.write("SECONDS", name="src/ownproj/models.py", text="from .speed import SECONDS\n" + BUILDER)
        self.project.write("", name="src/ownproj/__init__.py", text="")

    def install(self):
        shutil.rmtree(self.site, ignore_errors=True)
        source = self.project.path / "src"
        files = {f"ownproj/{one.name}": one.read_text() for one in (source / "ownproj").glob("*.py")}
        put(self.site, "ownproj", "1.0", files, url={"url": self.project.path.as_uri(), "dir_info": {}})
        for name in [one for one in sys.modules if one.partition(".")[0] == "ownproj"]:
            del sys.modules[name]

    def uv(self, command):
        self.monkeypatch.setattr("pytest_metalperf.references.project.find_uv", lambda: command)


@pytest.fixture
def installed(suite, tmp_path, monkeypatch):
    return Installed(suite, tmp_path / "site", monkeypatch)


FAKE_UV = [sys.executable, str(Path(__file__).parents[1] / "support" / "fake_uv.py")]


def test_a_project_that_is_installed_is_built_from_the_code_of_the_baseline(installed):
    assert installed.project.entry["accepted"]["file"] == "src/ownproj/models.py"
    installed.uv(FAKE_UV)
    installed.write(0.115)
    installed.install()
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])


def test_a_copy_that_is_not_what_the_working_tree_has_is_not_replayed(installed):
    """It would be timed under the name of code that it is not."""
    installed.write(0.115)
    result = installed.project.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(["own*within", "*ownproj* is not what the working tree has: install the project again"])
    result = installed.project.suite.run("--metal-update-baselines", "--metal-update-mode=all")
    result.assert_outcomes(passed=1)
    assert installed.project.entry.get("accepted") is None


def test_a_project_that_is_installed_here_alone_is_lent_to_the_packages_of_the_baseline(
    installed, tmp_path, monkeypatch
):
    old, numbers = tmp_path / "old", "import slowlib\n\nSECONDS = slowlib.SECONDS\n"
    for where in (old, installed.site):
        put(where, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
    installed.project.write(0, name="src/ownproj/speed.py", text=numbers)
    installed.install()
    put(installed.site, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
    installed.project.record()
    installed.project.commit()
    shutil.rmtree(installed.site / "slowlib-1.0.dist-info")
    put(installed.site, "slowlib", "2.0", {"slowlib.py": "SECONDS = 0.11500\n"})
    sys.modules.pop("slowlib", None)
    python = old / "python"
    without = f"import sys; sys.path[:] = [one for one in sys.path if one != {str(installed.site)!r}]"
    (old / "sitecustomize.py").write_text(without)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={old} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(Environments, "of", lambda environments, stack, tools=(): Environment(python, old))
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   slowlib 1.0 -> 2.0"])


@pytest.mark.parametrize("why", ["uv is not installed", "it has no src"])
def test_a_project_that_cannot_be_built_is_not_replayed_and_the_reason_is_said(installed, why):
    if "src" in why:
        installed.uv([*FAKE_UV[:1], "-c", f"import sys; print('error: {why}'); sys.exit(1)"])
    else:
        installed.monkeypatch.setitem(sys.modules, "uv", None)
    installed.write(0.3)
    installed.install()
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"*not replayed: ownproj* was imported from *; it was not built for a comparison: {why}*"]
    )
