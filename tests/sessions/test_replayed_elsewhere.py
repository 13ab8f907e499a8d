"""A replay of what other machines have recorded and accepted, also in a clone without its history."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from own_project import BUILDER

from pytest_metalperf.references.history import Remote

pytestmark = pytest.mark.processes


@pytest.fixture
def elsewhere(project):
    """The same suite on another machine, which has no baseline of its own; a flag changes no file of the repository."""
    run = project.suite.run
    project.suite.run = lambda *arguments: run("--metal-machine=other-machine", *arguments)
    return project


def test_a_machine_never_seen_compares_with_what_another_recorded(elsewhere):
    elsewhere.write(0.115)
    result = elsewhere.suite.run("--metal-confirm=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])
    result.stdout.no_fnmatch_line("  stored *")


def test_in_ci_it_does_so_by_itself_where_the_extra_is_installed(elsewhere, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("pytest_metalperf.references.replay.importlib.util.find_spec", lambda name: name == "uv")
    elsewhere.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    elsewhere.suite.run().assert_outcomes(passed=1)
    elsewhere.write(0.115)
    elsewhere.suite.run().assert_outcomes(failed=1)


def test_the_very_code_of_the_baseline_needs_no_training_in_turn(elsewhere):
    elsewhere.suite.trained()
    result = elsewhere.suite.run("--metal-confirm=replay")
    result.assert_outcomes(passed=1)
    assert len(elsewhere.suite.trained()) == 1
    result.stdout.fnmatch_lines(["*nothing that can be seen differs from what test-machine recorded*"])


def test_without_consent_it_has_no_baseline(elsewhere):
    elsewhere.write(0.115)
    result = elsewhere.suite.run()
    result.stdout.fnmatch_lines(["own*no baseline"])


# what another machine has accepted since


@pytest.fixture
def accepted(project):
    """A slowdown that another machine has accepted, with the code that brought it."""
    project.write(0.115)
    project.suite.run("--metal-machine=theirs", "--metal-update-baselines", "--metal-update-mode=all")
    project.commit()
    return project


def test_what_another_machine_has_accepted_since_is_no_news(accepted):
    accepted.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    result = accepted.suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own* within", "1 gated: 1 within"])
    accepted.write(0.135)
    result = accepted.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* is 1?.? % slower than its baseline*", "  accepted  on theirs, later than this machine's own"]
    )


def test_the_very_code_that_another_machine_has_accepted_is_within(accepted):
    result = accepted.suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own* within", "*nothing that can be seen differs from what theirs recorded*"])


def test_what_another_machine_has_accepted_beside_this_one_s_history_is_not_taken(project):
    """On a branch of its own, as after a cherry-pick of its baselines."""
    project.git("checkout", "-q", "-b", "theirs")
    project.write(0.115)
    project.suite.run("--metal-machine=theirs", "--metal-update-baselines", "--metal-update-mode=all")
    project.commit()
    project.git("checkout", "-q", "-")
    project.git("checkout", "-q", "theirs", "--", "baselines")
    project.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.run().assert_outcomes(failed=1)


def test_a_total_is_counted_from_this_machine_s_own_figures(accepted):
    accepted.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    accepted.suite.run("--metal-total-tolerance=50%").assert_outcomes(failed=1)


# a clone without its history


def cloned(project, origin, monkeypatch):
    """What CI checks out: one commit of the project."""
    shutil.move(project.path, origin)
    subprocess.run(["git", "clone", "-q", "--depth=1", origin.as_uri(), str(project.path)], check=True)
    monkeypatch.chdir(project.path)
    return project


@pytest.fixture
def shallow(elsewhere, tmp_path, monkeypatch):
    """One commit of a project that has gone on since it recorded."""
    elsewhere.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    elsewhere.commit()
    return cloned(elsewhere, tmp_path / "origin", monkeypatch)


def consent(monkeypatch, given=True):
    monkeypatch.setattr("pytest_metalperf.references.replay.may_fetch", lambda: given)


def test_the_code_of_the_baseline_is_fetched_beside_a_shallow_clone(shallow, monkeypatch):
    consent(monkeypatch)
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])
    assert shallow.git("rev-parse", "--is-shallow-repository") == "true"
    assert shallow.git("rev-list", "--all", "--count") == "1"


def test_without_consent_nothing_is_fetched_and_the_remedy_is_said(shallow, monkeypatch):
    consent(monkeypatch, given=False)
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(["*not replayed: no commit *; this clone is shallow*replay*fetch-depth: 0*"])


def test_a_remote_that_gives_nothing_is_a_sentence(shallow, monkeypatch):
    consent(monkeypatch)
    shallow.git("remote", "set-url", "origin", "/nowhere")
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(
        ["*not replayed: no commit *; this clone is shallow*git fetch: fatal: '/nowhere' does *"]
    )


def test_what_another_machine_has_accepted_since_is_no_news_there_either(accepted, tmp_path, monkeypatch):
    """The order of commits is in the history that is fetched; of the baseline alone files are."""
    consent(monkeypatch)
    accepted.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    accepted.commit()
    whole, fetched = Remote.whole, []
    monkeypatch.setattr(Remote, "whole", lambda remote, commit: fetched.append(commit) or whole(remote, commit))
    result = cloned(accepted, tmp_path / "origin", monkeypatch).suite.run("--metal-confirm=replay")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own* within", "in turn with its baseline (*"])
    assert len(set(fetched)) == 1
