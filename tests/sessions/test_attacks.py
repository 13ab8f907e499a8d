"""A command of `tests/attacks`, in short: it must run when somebody needs it, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parents[1] / "attacks"


@pytest.mark.processes
def test_a_session_that_is_killed_loses_and_leaves_nothing():
    command = [sys.executable, str(ATTACKS / "faults.py"), "1", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    pytest.LineMatcher(done.stdout.splitlines()).fnmatch_lines(
        ["1 trials of sessions of * s: 0 things lost, left or untold"]
    )
    assert done.returncode == 0, done.stderr
