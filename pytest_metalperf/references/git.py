"""What we ask git: revisions, and whether the working tree differs from them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

GIT_SECONDS = 60.0
MOST_OF_AN_ERROR = 100_000
"""Bytes of what git says when it fails; a hook of a server may say any number."""
OF_A_REPOSITORY = {
    "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
}  # fmt: skip
"""What git sets for its hooks (`git rev-parse --local-env-vars`); not its GIT_CONFIG_…, which may hold safe.directory."""

_OBJECTS = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")


def git(
    folder: Path,
    *words: str,
    seconds: float = GIT_SECONDS,
    index: Path | None = None,
    objects: tuple[Path, Path] | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """What a git command prints; no hook runs.

    Git speaks in bytes, and a file's name may be any: it comes as the system's names do (PEP 383).

    Args:
        folder: that it is asked of.
        words: of the command.
        seconds: after which it is ended.
        index: a file of our own, for a command that writes an index.
        objects: a folder of our own, for one that writes objects, and that of the repository's.
        variables: of its environment, besides.

    Raises:
        OSError: where there is no git.
        subprocess.SubprocessError: when it fails or takes too long; its `stderr` is text.
    """
    done = subprocess.run(
        ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-C", str(folder), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
        env={
            **_elsewhere(os.environ),
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            **({} if index is None else {"GIT_INDEX_FILE": str(index)}),
            **({} if objects is None else dict(zip(_OBJECTS, map(str, objects), strict=True))),
            **(variables or {}),
        },
    )
    if done.returncode:
        said = done.stderr[:MOST_OF_AN_ERROR].decode(errors="replace")
        raise subprocess.CalledProcessError(done.returncode, done.args, os.fsdecode(done.stdout), said)
    return os.fsdecode(done.stdout).removesuffix("\n")


def _elsewhere(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` less the repository that it names: in a hook that is the hook's, whatever folder is asked about."""
    return {name: value for name, value in environment.items() if name not in OF_A_REPOSITORY}


def check_out(repository: Path, commit: str, tree: Path, seconds: float) -> None:
    """Write the files of a commit to `tree`, a folder that is not there yet.

    No worktree is added: the repository knows nothing of it, so nothing is left in it whenever we are killed.

    Raises:
        OSError: where there is no git.
        subprocess.SubprocessError: when it fails or takes too long.
    """
    index = tree.with_name("index")
    git(repository, "read-tree", commit, seconds=seconds, index=index)
    # a repository without a working tree of its own takes the one that it is told, and writes below the prefix alone
    words = [] if asked(repository, "rev-parse", "--is-bare-repository") != "true" else [f"--work-tree={tree.parent}"]
    git(repository, *words, "checkout-index", "--all", f"--prefix={tree}{os.sep}", seconds=seconds, index=index)


def asked(folder: Path, *words: str) -> str | None:
    """What a git command prints, or None where it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return git(folder, *words)
    return None


def refusal(folder: Path) -> str:
    """Why git refuses to speak of the repository that `folder` lies in, with its own remedy; empty where it does not."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return ""
    try:
        git(folder, "rev-parse", "--git-dir")
    except FileNotFoundError:
        return "git is not installed"
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).encode(errors="replace").decode()
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        remedy = next((line for line in lines if line.startswith("git config ")), "")
        return f"{lines[0]}{f'; {remedy}' if remedy else ''}"[:400] if lines else ""
    except (OSError, subprocess.SubprocessError):
        return ""
    return ""


def is_shallow(folder: Path) -> bool:
    """Whether a repository was cloned without its history."""
    return asked(folder, "rev-parse", "--is-shallow-repository") == "true"


def is_ancestor(folder: Path, earlier: str, later: str) -> bool:
    """Whether a commit leads to another; also where they are the same. False where git lacks one of them."""
    return asked(folder, "merge-base", "--is-ancestor", earlier, later) is not None


class Revision(NamedTuple):
    """What a working tree holds: a commit, as hexadecimal digits, and whether the tree is that commit; None is unknown."""

    commit: str | None = None
    clean: bool | None = None


def revision(folder: Path) -> Revision:
    """The revision of `folder`; nothing is known of one outside git."""
    found = asked(folder, "rev-parse", "HEAD")
    # baselines change by recording itself: they do not make the measured code another
    changed = asked(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)*baselines/*.json")
    return Revision() if not found or changed is None else Revision(found, not changed)


def commit_of(folder: Path, name: str) -> str | None:
    """The full commit that `name` (a branch, a tag, a revision) stands for; None where there is none."""
    if name.startswith("-"):
        return None
    return asked(folder, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
