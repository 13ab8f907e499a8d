"""What is asked: two commits, those between them, the test that tells; everything git can refuse is refused here."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from ..gate import PAIR_ESTIMATOR
from ..references.code import top_of
from ..references.git import asked, commit_of, is_ancestor, is_shallow, refusal
from ..references.installed import installed
from ..worker.backends import variables
from ..worker.distributions import normalised
from ..worker.machine import machine_facts

OURS = ("--metal-against", "--metal-json", "--metal-plan", "--metal-update-baselines", "--metal-update-mode")
"""Options of a session that a search sets itself, or that make no comparison."""
SHORT = 10
"""Digits of a commit, as people read them."""
UNSHALLOW = "git fetch --unshallow brings the rest, `fetch-depth: 0` where CI checks out"


class Refused(Exception):
    """One sentence: why there is no search, and what to do."""


@dataclass(frozen=True)
class Question:
    """What one search asks.

    Attributes:
        top: of the repository.
        folder: where the command was started, relative to it.
        good: the commit that is known to be fast, as hexadecimal digits.
        bad: the slow one.
        commits: the candidates, the oldest first; the last one is `bad`.
        arguments: of pytest.
    """

    top: Path
    folder: Path
    good: str
    bad: str
    commits: tuple[str, ...]
    arguments: tuple[str, ...]

    def subject(self, commit: str) -> str:
        """The first line of its message."""
        return asked(self.top, "log", "-1", "--format=%s", commit) or ""

    def parents(self, commit: str) -> list[str]:
        """Of a commit, the first one first."""
        return (asked(self.top, "rev-list", "--parents", "--max-count=1", commit) or "").split()[1:]


def question(here: Path, good: str, bad: str, arguments: Sequence[str]) -> Question:
    """The question that revisions and arguments ask in a folder.

    Args:
        here: where the command was started.
        good: a revision known to be fast.
        bad: one known to be slow.
        arguments: of pytest.

    Raises:
        Refused: in one sentence.
    """
    if not arguments:
        raise Refused(
            "which test tells? name it after --, such as: bisect v1.2 HEAD -- tests/test_speed.py::test_ranker"
        )
    for argument in arguments:
        if (flag := argument.partition("=")[0]) in OURS:
            raise Refused(f"{flag} is not for a bisect, which compares and stores by itself: leave it out")
    top = top_of(here)
    if top is None:
        why = refusal(here)
        raise Refused(f"git refuses: {why}" if why else f"{here} lies in no working tree of a git repository")
    first, last = _commit(top, "GOOD", good), _commit(top, "BAD", bad)
    if first == last:
        raise Refused(f"GOOD and BAD are the same commit, {first[:SHORT]}: name an older one for GOOD")
    if not is_ancestor(top, first, last):
        raise Refused(_no_ancestor(top, first, last))
    commits = (asked(top, "rev-list", "--first-parent", "--reverse", f"{first}..{last}") or "").split()
    if is_shallow(top) and commit_of(top, f"{commits[0]}^") is None:
        raise Refused(f"this clone is shallow and lacks commits between GOOD and BAD: {UNSHALLOW}")
    return Question(top, here.resolve().relative_to(top), first, last, tuple(commits), tuple(arguments))


def _commit(top: Path, name: str, text: str) -> str:
    found = commit_of(top, text)
    if found is None:
        shallow = f"; this clone is shallow and may lack it: {UNSHALLOW}" if is_shallow(top) else ""
        raise Refused(f"{name} {text[:100]} is no revision of the repository at {top}{shallow}")
    return found


def _no_ancestor(top: Path, first: str, last: str) -> str:
    if is_ancestor(top, last, first):
        return f"GOOD ({first[:SHORT]}) comes after BAD ({last[:SHORT]}): name the older commit first"
    if is_shallow(top):
        return f"this clone is shallow and does not show that GOOD leads to BAD: {UNSHALLOW}"
    base = asked(top, "merge-base", first, last)
    remedy = f"name where they part, {base[:SHORT]}" if base else "they have no commit in common"
    return f"GOOD ({first[:SHORT]}) does not lead to BAD ({last[:SHORT]}): {remedy}"


def stack(top: Path) -> str:
    """A digest of what the times depend on beside the code: interpreter, packages but the project's own, variables."""
    own = {normalised(one.metadata["Name"] or "") for one in installed(top)}
    packages = {normalised(one.metadata["Name"] or ""): one.version for one in distributions()}
    found = [sys.version, sys.executable, sorted((name, packages[name]) for name in packages.keys() - own), variables()]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:20]


def machine() -> str:
    """The id of this machine."""
    return machine_facts().id


def key(asked_for: Question, machine: str, stack: str) -> str:
    """A name for the state of a search, which no other question has."""
    parts = [asked_for.good, asked_for.bad, str(asked_for.folder), *asked_for.arguments, machine, stack, PAIR_ESTIMATOR]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:20]
