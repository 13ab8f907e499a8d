"""What we ask git: revisions, and whether the working tree differs from them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

GIT_SECONDS = 60.0


def git(folder: Path, *words: str, seconds: float = GIT_SECONDS) -> str:
    """What a git command prints.

    Raises:
        OSError: where there is no git.
        subprocess.SubprocessError: when it fails or takes too long.
    """
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return done.stdout.strip()


def asked(folder: Path, *words: str) -> str | None:
    """What a git command prints, or None where it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return git(folder, *words)
    return None


class Revision(NamedTuple):
    """What a working tree holds: a commit, as hexadecimal digits, and whether the tree is that commit; None is unknown."""

    commit: str | None = None
    clean: bool | None = None


def revision(folder: Path) -> Revision:
    """The revision of `folder`; nothing is known of one outside git."""
    found = asked(folder, "rev-parse", "HEAD")
    # baselines change by recording itself: they do not make the measured code another
    changed = asked(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)*baselines/*.json")
    return Revision() if found is None or changed is None else Revision(found, not changed)


def commit_of(folder: Path, name: str) -> str | None:
    """The full commit that `name` (a branch, a tag, a revision) stands for; None where there is none."""
    if name.startswith("-"):
        return None
    return asked(folder, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
