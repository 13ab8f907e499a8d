"""Sessions that are ended by a signal between two tests of theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

SLOW = """
import time
from fake_backend import build
def test_a(metal_bench):
    metal_bench("fake-model", name="a")
def test_b(metal_bench):
    open("waiting", "w").close()
    time.sleep(60)
"""


def ended_by(suite, by: signal.Signals, *arguments: str) -> str:
    """What a session printed that measured `a` and was sent a signal before it measured `b`."""
    suite.write(SLOW)
    folder, waiting = suite.pytester.path, suite.pytester.path / "waiting"
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as session:
        until = time.monotonic() + 60
        while not waiting.exists() and time.monotonic() < until:
            time.sleep(0.05)
        session.send_signal(by)
        return session.communicate(timeout=60)[0]
