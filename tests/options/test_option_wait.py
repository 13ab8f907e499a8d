"""--metal-wait SECONDS: how long another measurement on this machine is waited for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

HOLDER = """
import sys
from pathlib import Path
from pytest_metalperf.worker.lock import machine_lock
with machine_lock(exclusive=True, waiting=print, path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(suite):
    """Another process measures, and does not end."""
    command = [sys.executable, "-c", HOLDER, os.environ["PYTEST_METALPERF_LOCK"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield suite
        process.kill()


@pytest.mark.parametrize(
    "source",
    [
        "def test_it(metal_bench):\n    metal_bench('fake-model')\n",
        "def test_it(metal_live):\n    metal_live(lambda: 0.0, name='step')\n",
        "def test_it(metal_speedup):\n    metal_speedup('fake-model')\n",
    ],
    ids=["bench", "live", "speedup"],
)
def test_it_ends_in_an_error_that_says_who(held, source):
    held.set(gpus=["gpu"])
    held.write(source)
    result = held.run("--metal-wait=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*waited * s for another measurement on this machine*, and no longer: end that process *, or raise --metal-wait*"
        ]
    )


def test_a_link_in_the_locks_place_is_one_sentence(suite, monkeypatch, tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{tmp_path}/lock: is a link, which is not followed: remove it, or set *"])
    assert not (tmp_path / "victim").exists()


def test_what_is_no_time_is_refused(suite):
    result = suite.run("--metal-wait=long")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-wait: expected seconds*"])
