"""A replay of other packages: an upgrade alone is slower beside the packages of the baseline."""

from __future__ import annotations

import shutil
import sys

import pytest
from fake_distributions import put
from own_project import BUILDER, Project

from pytest_metalperf.references.environment import Environment, Environments, NoEnvironment

pytestmark = pytest.mark.processes


class Packages:
    """A suite whose builder takes the seconds of an installed package, recorded with 1.0 and gated with 2.0."""

    def __init__(self, project, folder, monkeypatch):
        self.project, self.old, self.site = project, folder / "old", folder / "site"
        self.asked = []
        put(self.old, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
        put(self.site, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
        monkeypatch.syspath_prepend(self.site)
        monkeypatch.setattr(Environments, "of", self.of)
        project.write("slowlib.SECONDS", text="import slowlib\n" + BUILDER)
        project.record()
        project.commit()
        shutil.rmtree(self.site / "slowlib-1.0.dist-info")
        put(self.site, "slowlib", "2.0", {"slowlib.py": "SECONDS = 0.11500\n"})
        sys.modules.pop("slowlib", None)

    def of(self, stack, tools=()):
        """In uv's place: an interpreter that finds the old version first."""
        self.asked.append([f"{one.name} {one.version}" for one in stack.packages if one.name == "slowlib"])
        python = self.old / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={self.old} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return Environment(python, self.old)


@pytest.fixture
def packages(project, tmp_path_factory, monkeypatch):
    return Packages(project, tmp_path_factory.mktemp("packages"), monkeypatch)


def test_an_upgrade_alone_is_slower_beside_the_packages_of_the_baseline(packages):
    result = packages.project.suite.run()
    assert packages.asked == [["slowlib 1.0"]]
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   slowlib 1.0 -> 2.0"])


def test_packages_that_a_replay_would_not_import_are_no_replay(packages):
    """Whatever puts today's package first would be timed on both sides."""
    shutil.rmtree(packages.old / "slowlib-1.0.dist-info")
    put(packages.old, "slowlib", "3.0", {"slowlib.py": "SECONDS = 0.1\n"})
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines(
        ["*not replayed: its baseline would import slowlib 3.0 instead of 1.0: look what PYTHONPATH *"]
    )
    result.stdout.no_fnmatch_line("*1 machine*")


def test_code_of_the_baseline_that_does_not_run_any_more_is_no_replay(suite, monkeypatch):
    """Such as for data that are gone: the stored figures decide, as without a replay."""
    project = Project(suite)
    project.write(
        0.1, text="import os\n" + BUILDER.replace("def build", "assert 'GONE' not in os.environ\n\ndef build")
    )
    project.commit()
    project.record()
    project.commit()
    monkeypatch.setenv("GONE", "1")
    project.write(0.3)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* is *times slower than its baseline *", "*not replayed: with its baseline (*AssertionError*"]
    )


def test_packages_that_cannot_be_installed_leave_nothing_to_train_in_turn(packages, monkeypatch):
    def none(environments, stack, tools=()):
        raise NoEnvironment("no network")

    monkeypatch.setattr(Environments, "of", none)
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines(["*not replayed: only its packages differ (slowlib 1.0 -> 2.0): no network"])


def test_code_on_today_s_packages_says_nothing_of_the_packages(packages, monkeypatch):
    def none(environments, stack, tools=()):
        raise NoEnvironment("no network")

    monkeypatch.setattr(Environments, "of", none)
    project = packages.project
    project.write("slowlib.SECONDS", text="import slowlib\n" + BUILDER + "# nothing\n")
    result = project.suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["own*inconclusive", "inconclusive: not replayed, and the same on both sides: slowlib 1.0 -> 2.0 (no network)"]
    )
    project.write("slowlib.SECONDS * 2", text="import slowlib\n" + BUILDER)
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  the same  slowlib 1.0 -> 2.0 (no network) was not replayed"])


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda text: text + "evil==1.0\n", "*not replayed: *.txt*"),
        (lambda text: text + "--index-url https://example.org\n", "*not replayed: *.txt*"),
        (lambda text: None, "*not replayed: *.txt: is not there*"),
    ],
)
def test_a_stack_that_somebody_edited_is_refused(packages, edit, sentence):
    (file,) = (packages.project.path / "baselines" / "stacks").glob("*.txt")
    text = edit(file.read_text())
    file.unlink()
    if text is not None:
        file.write_text(text)
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines([sentence])
    assert packages.asked == []
