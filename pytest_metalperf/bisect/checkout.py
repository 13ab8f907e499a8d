"""BAD in a folder of our own, where pytest runs: the user's working tree is neither changed nor looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..measure.temporary import made, removed
from ..references.git import asked, check_out, git
from ..references.reference import CHECKOUT_SECONDS
from ..worker.sources import moved
from .question import SHORT, Question, Refused


@contextmanager
def checked_out(wanted: Question) -> Iterator[Path]:
    """BAD as a repository of its own, which borrows the objects of the user's; it is gone afterwards.

    Raises:
        Refused: where it cannot be checked out.
    """
    folder = made()
    tree = folder.resolve() / wanted.top.name
    try:
        try:
            check_out(wanted.top, wanted.bad, tree, CHECKOUT_SECONDS)
            _make_repository(wanted, tree)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            why = said[-1][:200] if said else type(error).__name__
            raise Refused(f"BAD ({wanted.bad[:SHORT]}) cannot be checked out: {why}") from None
        if not (tree / wanted.folder).is_dir():
            raise Refused(f"BAD ({wanted.bad[:SHORT]}) has no folder {wanted.folder}: start where it has one")
        yield tree
    finally:
        removed(folder)


def _make_repository(wanted: Question, tree: Path) -> None:
    """Make a checkout a repository in which every commit of the user's can be named."""
    form = asked(wanted.top, "rev-parse", "--show-object-format") or "sha1"
    git(tree, "init", "--quiet", "--template=", f"--object-format={form}")
    objects = wanted.top / git(wanted.top, "rev-parse", "--git-path", "objects")
    (tree / ".git" / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (tree / ".git" / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects.resolve()) + b"\n")
    shallow = wanted.top / git(wanted.top, "rev-parse", "--git-path", "shallow")
    if shallow.exists():
        (tree / ".git" / "shallow").write_bytes(shallow.read_bytes())
    git(tree, "update-ref", "--no-deref", "HEAD", wanted.bad)
    git(tree, "read-tree", wanted.bad)


def environment(top: Path, tree: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for a pytest in the checkout: what is imported from the working tree comes from the checkout instead.

    GitHub's are left out, since the page of a job is for sessions that somebody asked for.
    """
    ours = [there for entry in sys.path if entry and (there := moved(entry, str(top), str(tree))) != entry]
    others = [
        one for one in base.get("PYTHONPATH", "").split(os.pathsep) if one and moved(one, str(top), str(tree)) == one
    ]
    kept = {name: value for name, value in base.items() if name not in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")}
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*ours, *others]))}


def argument(word: str, top: Path, tree: Path) -> str:
    """An argument of pytest as it is meant in the checkout: an absolute path below the working tree lies there."""
    flag, equals, path = word.rpartition("=") if word.startswith("-") else ("", "", word)
    file, colons, inside = path.partition("::")
    if not Path(file).is_absolute():
        return word
    return f"{flag}{equals}{moved(file, str(top), str(tree))}{colons}{inside}"
