"""Commits that a shallow clone lacks, fetched into repositories of our own: the user's stays as it is.

A fetch of one hash makes a whole clone shallow, and what CI has checked out is one commit deep. So the remote is asked from
beside, with the settings of the clone that say how to reach it; they travel in the environment, and nothing stores them.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..measure.temporary import made, removed
from .git import asked, git

HEAD = "refs/metalperf/head"
"""In a repository of ours: the commit that the working tree is at, or the remote's newest."""

FETCH_SECONDS = 600.0
_WAYS = re.compile(r"(?:http|credential|url|ssh|protocol|core\.(?:sshcommand|gitproxy|askpass))\b", re.IGNORECASE)
"""Settings of a clone that say how its remote is reached."""


class NoHistory(Exception):
    """Why the remote gives no commits: a clause that begins in lower case, without a stop."""


@dataclass
class Remote:
    """The repository that the user's clone comes from.

    Attributes:
        top: of the clone.
    """

    top: Path
    _folder: Path | None = None
    _history: Path | None = None
    _whole: dict[str, Path] = field(default_factory=dict)

    def history(self) -> Path:
        """A repository with the commits that led to the working tree, their names of files, and no file.

        Raises:
            NoHistory: where the remote gives none.
        """
        if self._history is None:
            here = asked(self.top, "rev-parse", "HEAD")
            error: NoHistory | None = None
            for tip in filter(None, (here, "HEAD")):  # what was committed here alone, no remote has
                try:
                    self._history = self._fetched("history", f"+{tip}:{HEAD}", "--filter=blob:none")
                    return self._history
                except NoHistory as why:
                    error = error or why
            raise error or NoHistory("it has no commit")
        return self._history

    def whole(self, commit: str) -> Path:
        """A repository with all files of one commit.

        Raises:
            NoHistory: where the remote does not give it.
        """
        if commit not in self._whole:
            self._whole[commit] = self._fetched(f"commit-{commit}", f"+{commit}:{HEAD}", "--depth=1")
        return self._whole[commit]

    def _fetched(self, name: str, what: str, *how: str) -> Path:
        url = asked(self.top, "remote", "get-url", self._name())
        if not url:
            raise NoHistory("the clone has no remote")
        if "://" not in url and (self.top / url).exists():  # a path is relative to the clone
            url = str((self.top / url).resolve())
        try:
            if self._folder is None:
                self._folder = made()
            repository = self._folder / name
            git(self._folder, "init", "--quiet", "--bare", str(repository))
            words = ["--quiet", "--no-tags", "--no-auto-gc", "--no-recurse-submodules", *how, "origin", what]
            variables = _variables([*self._ways(), ("remote.origin.url", url)])
            git(repository, "fetch", *words, seconds=FETCH_SECONDS, variables=variables)
            return repository
        except subprocess.CalledProcessError as error:
            lines = [line.strip() for line in str(error.stderr).splitlines() if line.strip()]
            said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
            raise NoHistory(f"git fetch: {said[:200]}") from None
        except (OSError, subprocess.SubprocessError) as error:
            raise NoHistory(f"git fetch: {type(error).__name__}") from None

    def _name(self) -> str:
        names = (asked(self.top, "remote") or "").split()
        return "origin" if "origin" in names or not names else names[0]

    def _ways(self) -> Iterator[tuple[str, str]]:
        """The clone's own settings that say how its remote is reached; those of the user and the system count anyway."""
        listed = asked(self.top, "config", "--null", "--show-scope", "--list") or ""
        parts = listed.split("\0")
        for scope, setting in zip(parts[::2], parts[1::2], strict=False):
            key, _, value = setting.partition("\n")
            if scope in ("local", "worktree") and _WAYS.match(key):
                yield key, value

    def close(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                removed(self._folder)


def _variables(settings: list[tuple[str, str]]) -> dict[str, str]:
    """Git's settings as variables, which other users of the machine do not see; nothing asks a person for a password."""
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0  # of nonsense, git says itself that it is
    found = {"GIT_CONFIG_COUNT": str(first + len(settings)), "GIT_ASKPASS": "true"}
    for number, (key, value) in enumerate(settings, first):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    if not any(key.lower() == "core.sshcommand" for key, _ in settings):
        found["GIT_SSH_COMMAND"] = os.environ.get("GIT_SSH_COMMAND") or "ssh -o BatchMode=yes"
    return found
