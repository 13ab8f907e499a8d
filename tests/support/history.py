"""A repository whose commits change how long a step takes, for searches."""

from __future__ import annotations

import subprocess
from pathlib import Path

CONFTEST = """
from fake_backend import Fake

def pytest_metalperf_backends():
    return {"fake": Fake}
"""
BUILDER = """
from fake_backend import FakeModel

def build(batch_size=8):
    return FakeModel({seconds}, batch_size)
"""


class History:
    """A suite under git: commit 0 is GOOD, the last one is BAD."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits: list[str] = []

    def git(self, *words: str) -> str:
        own = ["git", "-C", str(self.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
        return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, title: str, seconds: object = None, text: str = "") -> str:
        """One more commit, whose builder takes so many seconds a step, or is that text."""
        (self.path / "own.py").write_text((text or BUILDER.format(seconds=seconds)) + f"\n# {len(self.commits)}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", title)
        self.commits.append(self.git("rev-parse", "HEAD"))
        return self.commits[-1]
