"""What is fetched beside a shallow clone: how its remote is reached, and what nothing may see or store."""

from __future__ import annotations

import subprocess

import pytest

from pytest_metalperf.references import history
from pytest_metalperf.references.history import NoHistory, Remote


def git(folder, *words):
    own = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path):
    """One commit of three, and the three."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    commits = []
    for number in range(3):
        (origin / "file").write_text(str(number))
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", str(number))
        commits.append(git(origin, "rev-parse", "HEAD"))
    subprocess.run(["git", "clone", "-q", "--depth=1", origin.as_uri(), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone", commits


def test_the_history_and_one_commit_are_fetched_and_the_clone_stays_as_it_is(clone):
    top, commits = clone
    before = sorted(str(path) for path in top.rglob("*"))
    remote = Remote(top)
    found = remote.history()
    assert git(found, "rev-list", history.HEAD).split() == commits[::-1]
    assert git(remote.whole(commits[0]), "show", f"{commits[0]}:file") == "0"
    assert sorted(str(path) for path in top.rglob("*")) == before
    remote.close()
    assert not found.exists()


def test_a_commit_that_was_made_here_alone_leaves_the_newest_of_the_remote(clone):
    top, commits = clone
    git(top, "commit", "-q", "--allow-empty", "-m", "mine")
    remote = Remote(top)
    assert git(remote.history(), "rev-parse", history.HEAD) == commits[-1]
    remote.close()


def test_the_clone_s_own_settings_travel_and_are_not_stored(clone, monkeypatch):
    """As CI's checkout leaves a token there; on a command line, everybody on the machine would see it."""
    top, _ = clone
    git(top, "config", "http.https://example.org/.extraheader", "secret")
    seen = []
    real = history.git

    def spy(folder, *words, **more):
        seen.append((words, more.get("variables") or {}))
        return real(folder, *words, **more)

    monkeypatch.setattr(history, "git", spy)
    remote = Remote(top)
    found = remote.history()
    (variables,) = [variables for words, variables in seen if words[0] == "fetch"]
    settings = {variables[f"GIT_CONFIG_KEY_{i}"]: variables[f"GIT_CONFIG_VALUE_{i}"] for i in range(2)}
    assert settings["http.https://example.org/.extraheader"] == "secret"
    assert not any("secret" in word for words, _ in seen for word in words)
    assert "secret" not in (found / "config").read_text()
    remote.close()


@pytest.mark.parametrize("count", ["nonsense", "-1", ""])
def test_settings_of_the_environment_stay_and_nonsense_is_git_s_to_refuse(monkeypatch, count):
    monkeypatch.setenv("GIT_CONFIG_COUNT", count)
    assert history._variables([("a.b", "c")])["GIT_CONFIG_KEY_0"] == "a.b"
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    assert history._variables([("a.b", "c")])["GIT_CONFIG_KEY_2"] == "a.b"


def test_without_a_remote_there_is_none(clone):
    top, _ = clone
    git(top, "remote", "remove", "origin")
    with pytest.raises(NoHistory, match="the clone has no remote"):
        Remote(top).history()
