"""What we ask git is asked of the folder that we name, wherever pytest was started."""

from __future__ import annotations

import subprocess

from pytest_metalperf.references.git import revision


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
