"""A project of its own under git, whose builder takes virtual seconds: what a replay trains again."""

from __future__ import annotations

import os
import subprocess

TEST = """
from own import build

def test_it(metal_bench):
    metal_bench(build, name='own')
"""
BUILDER = """
from fake_backend import FakeModel, wish

def build(batch_size=8):
    return FakeModel({seconds} * wish("machine", 1.0), batch_size)
"""


class Project:
    """A suite under git; its builder takes 0.1 virtual seconds a batch times what the machine makes of it."""

    def __init__(self, suite):
        self.suite = suite
        self.path = suite.pytester.path
        suite.write(TEST)
        (self.path / ".gitignore").write_text("steps.log\nlock*\n__pycache__\n.pytest_cache\n")
        self.write(0.1)
        self.git("init", "-q")

    def git(self, *words):
        own = ["git", "-C", str(self.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
        return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self):
        self.git("add", ".")
        self.git("commit", "-q", "-m", "m")
        return self.git("rev-parse", "HEAD")

    def write(self, seconds, name="own.py", text=BUILDER):
        path = self.path / name
        path.write_text(text.format(seconds=seconds))
        past = path.stat().st_mtime - 100 * len(list(self.path.glob("*")))
        os.utime(path, (past, past))

    def record(self):
        self.suite.run("--metal-update-baselines", "--metal-update-mode=all").assert_outcomes(passed=1)

    def record_uncommitted(self, seconds):
        """Edit, and record before anything is committed, as people do."""
        self.commit()
        self.write(seconds)
        self.record()

    @property
    def entry(self):
        (entry,) = self.suite.stored.values()
        return entry
