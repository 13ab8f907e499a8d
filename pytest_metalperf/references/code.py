"""The code that was measured: a digest of it, and the revision that holds the same.

People edit, record, and then commit code and baseline together; a squash merge loses the commit that was recorded. So a baseline
names its code by what the files hold: any commit with the same files is that code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..worker.sources import interpreter_folders, is_below
from .git import asked, git
from .history import HEAD
from .stack_file import FOLDER as STACKS

MOST_CANDIDATES = 50
_CODE = {".py", ".pyc", ".pyi", ".pyx", ".so", ".pyd", ".dylib", ".pth"}
_TOOLS = {"__pycache__", "build", "dist", "node_modules"}


def top_of(folder: Path) -> Path | None:
    """The top of the repository that `folder` lies in; None outside git."""
    found = asked(folder, "rev-parse", "--show-toplevel")
    return Path(found).resolve() if found else None


@dataclass(frozen=True)
class Code:
    """The code of a working tree.

    Attributes:
        digest: 64 hexadecimal digits.
        added: files that are imported and that git does not track yet, relative to the repository's top.
    """

    digest: str
    added: tuple[str, ...] = ()


def code_of_tree(top: Path, baselines: Path, imported: Iterable[str] = ()) -> Code | None:
    """The code of the working tree: all files that git tracks, as they are now, and those imported beside them.

    Baselines and stacks are left out, since recording changes them. Files that git ignores are no code of the repository's.

    Args:
        top: of the repository.
        baselines: the folder of the baseline files.
        imported: files of modules, of which those count that git could add.

    Returns:
        None where git cannot say.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index, objects = folder / "index", folder / "objects"
        objects.mkdir()
        theirs = top / git(top, "rev-parse", "--git-path", "index")
        if theirs.exists():  # with the times of files, so that only what changed is read
            shutil.copy2(theirs, index)  # its own time too: git trusts what is older than its index
        store = top / git(top, "rev-parse", "--git-path", "objects")
        added = _untracked(top, imported)
        for words in (["add", "--update", "--", "."], *([["add", "--", *added]] if added else [])):
            git(top, *words, index=index, objects=(objects, store))
        listed = git(top, "ls-files", "--stage", "-z", index=index)
        return Code(_digest(_entries(listed), _left_out(top, baselines)), tuple(added))
    return None


def digest_of_commit(
    top: Path, commit: str, baselines: Path, without: Collection[str] = (), repository: Path | None = None
) -> str | None:
    """The digest of a commit's files but some; None where the repository has not all of it.

    Args:
        top: of the working tree.
        commit: as hexadecimal digits.
        baselines: the folder of the baseline files, in that tree.
        without: paths of files.
        repository: that has the commit, where it is not the working tree's.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = git(repository or top, "ls-tree", "-r", "-z", "--full-tree", commit)
        entries = [entry for entry in _entries(listed) if entry[0] not in without]
        return _digest(entries, _left_out(top, baselines))
    return None


def commit_with(top: Path, code: Code, recorded: str | None, file: Path, repository: Path | None = None) -> str | None:
    """A commit that holds that code; None where none is found.

    A commit may hold more: files that were new in the working tree too, and that nothing imported.

    Args:
        top: of the working tree.
        code: as measured.
        recorded: the commit on which it was measured, perhaps with changes.
        file: the baseline file, whose changes name more commits: code and baseline are committed together, or squashed.
        repository: whose commits are looked at, where it is not the working tree's.
    """
    path = Path(os.path.relpath(file.resolve(), top)).as_posix()
    words = ["log", "--format=%H", f"--max-count={MOST_CANDIDATES}"]
    begins = [] if repository is None else [HEAD]
    found = [
        *([recorded] if recorded is not None else []),
        *(asked(top, *words, f"-S{code.digest}", "--", path) or "" if repository is None else "").split(),
        *(asked(repository or top, *words, *begins, "--", path) or "").split(),
    ]
    return next(
        (one for one in dict.fromkeys(found) if _holds(top, one, code, recorded, file.parent, repository)), None
    )


def _holds(top: Path, commit: str, code: Code, recorded: str | None, baselines: Path, repository: Path | None) -> bool:
    if digest_of_commit(top, commit, baselines, (), repository) == code.digest:
        return True
    for base in filter(None, (recorded, f"{commit}^")):
        new = asked(repository or top, "diff", "--name-only", "--diff-filter=A", "--no-renames", "-z", base, commit)
        beside = {*(new or "").split("\0")} - {"", *code.added}
        if beside and digest_of_commit(top, commit, baselines, beside, repository) == code.digest:
            return True
    return False


def link_data(top: Path, tree: Path) -> None:
    """Link into a checkout what lies in the working tree and git does not hold, such as data sets, unless it is code."""
    for name in (asked(top, "ls-files", "--others", "--directory", "--no-empty-directory", "-z") or "").split("\0"):
        here, there = top / name, tree / name
        if name and not _is_code(here) and not there.exists() and there.parent.is_dir():
            with contextlib.suppress(OSError):
                there.symlink_to(here, target_is_directory=here.is_dir())


def _is_code(path: Path) -> bool:
    if path.name.startswith(".") or path.name in _TOOLS or path.suffix in {*_CODE, ".egg-info"}:
        return True
    return path.is_dir() and ((path / "pyvenv.cfg").exists() or any(one.suffix in _CODE for one in path.iterdir()))


def _untracked(top: Path, files: Iterable[str]) -> list[str]:
    """Those below `top`, outside the interpreter's own folders, that git neither tracks nor ignores."""
    own = interpreter_folders()
    inside = [os.path.relpath(file, top) for file in files if Path(file).resolve().is_relative_to(top)]
    mine = sorted({name for name in inside if not is_below(str(top / name), own)})
    if not mine:
        return []
    return [one for one in git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *mine).split("\0") if one]


def _left_out(top: Path, baselines: Path) -> PurePosixPath:
    return PurePosixPath(Path(os.path.relpath(baselines.resolve(), top)).as_posix())


def _entries(listed: str) -> Iterator[tuple[str, str, str]]:
    """Path, mode and object of each file that `ls-tree -r -z` (mode, type, object) or `ls-files --stage -z` lists."""
    for line in filter(None, listed.split("\0")):
        facts, _, path = line.partition("\t")
        mode, second, third = facts.split()
        yield path, mode, third if second in ("blob", "commit") else second


def _digest(entries: Iterable[tuple[str, str, str]], baselines: PurePosixPath) -> str:
    found = hashlib.sha256()
    for path, mode, of_object in sorted(entries):
        where = PurePosixPath(path)
        stored = where.parent == baselines and where.suffix == ".json"
        if not stored and where.parent != baselines / STACKS:
            found.update(os.fsencode(f"{mode} {of_object} {path}\0"))
    return found.hexdigest()
