"""What we ask git is asked of the folder that we name, wherever pytest was started."""

from __future__ import annotations

import os
import subprocess

import pytest

from pytest_metalperf.references.git import check_out, revision


def test_a_hook_of_another_repository_changes_nothing(tmp_path, monkeypatch):
    """git sets these variables for its hooks, such as pre-commit and pre-push, and many run pytest."""

    def made(name):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text(name)
        who = ("-c", "user.name=n", "-c", "user.email=e")
        for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", name)):
            subprocess.run(["git", "-C", str(folder), *words], check=True)
        return folder

    mine, other = made("mine"), made("other")
    expected = revision(mine / "sub")
    assert expected.commit is not None
    assert expected.clean
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_PREFIX", "sub/")
    assert revision(mine / "sub") == expected
    monkeypatch.setenv("GIT_DIR", ".git")  # as a hook of a commit has it, relative
    assert revision(mine / "sub") == expected


def test_a_name_that_is_no_text_is_no_error(tmp_path):
    """On Linux a name may be of any bytes, and git prints it as it is where core.quotePath says so."""
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("one")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (
        ("init", "-q"),
        ("config", "core.quotePath", "false"),
        ("add", "."),
        (*who, "commit", "-q", "-m", "one"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    assert revision(tmp_path).clean
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("other")
    assert revision(tmp_path).clean is False


def test_a_checkout_leaves_nothing_in_the_repository(tmp_path):
    """A worktree stayed registered where a CI's limit ended pytest by SIGTERM."""
    mine, tree = tmp_path / "mine", tmp_path / "checkout" / "tree"
    mine.mkdir()
    tree.parent.mkdir()
    script = mine / "script.sh"
    script.write_text("first")
    script.chmod(0o755)
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(mine), *words], check=True)
    script.write_text("second")
    subprocess.run(["git", "-C", str(mine), "add", "."], check=True)

    def held():
        return {path: path.read_bytes() for path in (mine / ".git").rglob("*") if path.is_file()}

    before, commit = held(), revision(mine).commit
    assert commit is not None
    check_out(mine, commit, tree, 60.0)
    assert (tree / "script.sh").read_text() == "first"
    assert (tree / "script.sh").stat().st_mode & 0o100
    assert held() == before
