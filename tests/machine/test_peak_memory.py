"""Peak memory of a process: its own, not that of the one that started it."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEGA = 1 << 20
CHILD = "from pytest_metalperf.worker.backends import process_peak_memory; print(process_peak_memory())"
PARENT = f"""
import subprocess, sys
large = bytearray(600 * {MEGA})
print(subprocess.run([sys.executable, "-c", {CHILD!r}], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nobody counts")
def test_the_memory_of_the_process_that_started_it_is_not_its_own():
    told = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True).stdout
    assert MEGA < int(told) < 400 * MEGA
