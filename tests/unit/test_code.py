"""The digest of the code as measured, and the commit that holds the same."""

from __future__ import annotations

import os
import subprocess

import pytest

from pytest_metalperf.references.code import Code, code_of_tree, commit_with, digest_of_commit, link_data, top_of

WHO = ("-c", "user.name=n", "-c", "user.email=e")


class Repository:
    def __init__(self, path):
        self.path = path.resolve()
        self.baselines = self.path / "baselines"
        self.baselines.mkdir()
        self.git("init", "-q")
        self.write("model.py", "depth = 20\n")
        self.commit()

    def git(self, *words):
        done = subprocess.run(["git", "-C", str(self.path), *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self):
        self.git("add", ".")
        self.git(*WHO, "commit", "-q", "-m", "m", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def code(self, *imported):
        return code_of_tree(self.path, self.baselines, [str(self.path / name) for name in imported])

    def digest(self, *imported):
        return self.code(*imported).digest


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def test_a_clean_tree_has_the_digest_of_its_commit(repository):
    assert repository.digest() == digest_of_commit(repository.path, "HEAD", repository.baselines)
    assert len(repository.digest()) == 64


def test_an_edited_file_has_another_digest_and_gets_the_old_one_back(repository):
    before = repository.digest()
    repository.write("model.py", "depth = 22\n")
    assert repository.digest() != before
    repository.write("model.py", "depth = 20\n")
    assert repository.digest() == before


def test_an_edit_of_the_same_size_in_the_second_of_the_index_is_seen(repository):
    """Git looks into files that are as new as its index; a copy of the index that looks newer hides them."""
    for key, value in (
        ("core.checkStat", "minimal"),
        ("core.trustctime", "false"),
    ):  # coarse times, as some systems have
        repository.git("config", key, value)
    second = 1_700_000_000
    os.utime(repository.path / "model.py", (second, second))
    repository.git("update-index", "--refresh")
    before = repository.digest()
    repository.write("model.py", "depth = 22\n")
    for name in ("model.py", ".git/index"):
        os.utime(repository.path / name, (second, second))
    assert repository.digest() != before


def test_recording_changes_no_digest(repository):
    before = repository.digest()
    repository.write("baselines/here.json", "{}")
    repository.write("baselines/stacks/0123.txt", "numpy==2.0.0\n")
    commit = repository.commit()
    assert repository.digest() == before
    assert digest_of_commit(repository.path, commit, repository.baselines) == before
    repository.write("baselines/README.md", "words")
    repository.commit()
    assert repository.digest() != before


def test_code_that_was_imported_before_it_was_added_counts(repository):
    repository.write("new.py", "layers = 3\n")
    alone, imported = repository.digest(), repository.digest("new.py", "model.py")
    assert alone != imported
    assert digest_of_commit(repository.path, repository.commit(), repository.baselines) == imported


def test_what_git_ignores_and_what_lies_elsewhere_is_no_code_of_the_repository(repository, tmp_path_factory):
    repository.write(".gitignore", "_version.py\n")
    repository.commit()
    before = repository.digest()
    repository.write("_version.py", "version = 1\n")
    other = tmp_path_factory.mktemp("other") / "outside.py"
    other.write_text("")
    assert (
        code_of_tree(repository.path, repository.baselines, [str(repository.path / "_version.py"), str(other)]).digest
        == before
    )


def test_nothing_is_written_to_the_repository(repository):
    repository.write("model.py", "depth = 22\n")
    repository.write("new.py", "")
    before = (
        repository.git("status", "--porcelain"),
        repository.git("count-objects"),
        (repository.path / ".git/index").read_bytes(),
    )
    repository.digest("new.py")
    after = (
        repository.git("status", "--porcelain"),
        repository.git("count-objects"),
        (repository.path / ".git/index").read_bytes(),
    )
    assert after == before


def test_no_hook_runs(repository):
    hook = repository.path / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)
    repository.write("model.py", "depth = 22\n")
    assert repository.digest() is not None
    assert not (repository.path / "ran").exists()


@pytest.mark.parametrize("how", ["together", "afterwards", "squashed"])
def test_the_commit_is_found_however_code_and_baseline_were_committed(repository, how):
    """Edit, record, commit: at recording the tree was dirty, so no commit was known."""
    start = repository.git("rev-parse", "HEAD")
    repository.write("model.py", "depth = 22\n")
    code = repository.code()
    recorded = code.digest
    if how == "afterwards":
        repository.commit()
    repository.write("baselines/here.json", f'{{"digest": "{recorded}"}}')
    wanted = repository.commit()
    if how == "squashed":
        repository.git("checkout", "-q", "-b", "other", start)
        repository.write("unrelated", "")
        repository.git("merge", "-q", "--squash", wanted)
        (repository.path / "unrelated").unlink()
        wanted = repository.commit()
    repository.write("model.py", "depth = 30\n")
    repository.commit()
    found = commit_with(repository.path, code, start, repository.baselines / "here.json")
    assert repository.git("show", f"{found}:model.py") == "depth = 22"
    assert digest_of_commit(repository.path, found, repository.baselines) == recorded


def test_code_that_no_commit_holds_is_not_found(repository):
    repository.write("model.py", "depth = 22\n")
    code = repository.code()
    repository.write("model.py", "depth = 23\n")
    repository.write("baselines/here.json", f'{{"digest": "{code.digest}"}}')
    commit = repository.commit()
    assert commit_with(repository.path, code, commit, repository.baselines / "here.json") is None
    assert commit_with(repository.path, code, "0" * 40, repository.baselines / "here.json") is None


@pytest.mark.parametrize("known", [True, False])
def test_new_files_that_nothing_imported_may_be_committed_with_the_code(repository, known):
    start = repository.git("rev-parse", "HEAD")
    repository.write("model.py", "depth = 22\n")
    repository.write("layers.py", "")
    repository.write("notes.txt", "")
    code = repository.code("model.py", "layers.py")
    assert code.added == ("layers.py",)
    repository.write("baselines/here.json", f'{{"digest": "{code.digest}"}}')
    commit = repository.commit()
    file = repository.baselines / "here.json"
    assert commit_with(repository.path, code, start if known else "0" * 40, file) == commit
    assert commit_with(repository.path, Code(code.digest), start, file) is None


def test_in_the_middle_of_a_merge_the_files_count_as_they_are(repository):
    repository.git("checkout", "-q", "-b", "other")
    repository.write("model.py", "depth = 1\n")
    repository.commit()
    repository.git("checkout", "-q", "-")
    repository.write("model.py", "depth = 2\n")
    mine = repository.commit()
    with pytest.raises(subprocess.CalledProcessError):
        repository.git(*WHO, "merge", "other")
    conflict = repository.digest()
    repository.write("model.py", "depth = 2\n")
    assert repository.digest() == digest_of_commit(repository.path, mine, repository.baselines) != conflict


def test_outside_git_there_is_nothing(tmp_path):
    assert top_of(tmp_path) is None
    assert code_of_tree(tmp_path, tmp_path / "baselines") is None


def test_data_that_git_does_not_hold_is_linked_and_code_is_not(repository, tmp_path_factory):
    for name in ("data/images/1.png", "weights.h5", "venv/pyvenv.cfg", "generated/code.py", "stale.py", ".secret"):
        repository.write(name, "")
    tree = tmp_path_factory.mktemp("tree")
    link_data(repository.path, tree)
    assert sorted(path.name for path in tree.iterdir()) == ["data", "weights.h5"]
    assert (tree / "data" / "images" / "1.png").exists()
