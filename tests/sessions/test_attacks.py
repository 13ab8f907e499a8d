"""The commands of `tests/attacks`, in short: they must run when somebody needs them, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parents[1] / "attacks"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["faults.py", "1", "5"], "1 trials of sessions of * s: 0 things lost or left"),
        (["company.py", "^-k$"], "0 of them not as without company"),
    ],
    ids=["faults", "company"],
)
def test_the_command_runs(command, last):
    done = subprocess.run(
        [sys.executable, str(ATTACKS / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    pytest.LineMatcher(done.stdout.splitlines()).fnmatch_lines([last])
    assert done.returncode == 0, done.stderr
