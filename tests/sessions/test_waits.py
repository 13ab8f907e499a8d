"""How long a session waited, and for whom: in its last lines and in JUnit's properties."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_metalperf import suspects
from pytest_metalperf.measure import waits
from pytest_metalperf.measure.plan import Progress
from pytest_metalperf.measure.waits import Waits
from pytest_metalperf.worker.lock import WAITING, waiting_for


@contextmanager
def measured_elsewhere(seconds: float):
    """Another measurement, of this very process, has the machine for so long."""
    fcntl = pytest.importorskip("fcntl")
    file = os.open(os.environ["PYTEST_METALPERF_LOCK"], os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    end = threading.Timer(seconds, lambda: fcntl.flock(file, fcntl.LOCK_UN))
    end.start()
    try:
        yield
    finally:
        end.join()
        os.close(file)


SUITES = {
    "bench": "def test_it(metal_bench):\n    metal_bench('fake-model')\n",
    "speedup": """
def test_it(metal_speedup):
    metal_speedup("fake-model", of={"depth": 1}, over={"depth": 2}, device="cpu")
""",
    "live": """
import time
def test_it(metal_live):
    metal_live(lambda: time.sleep(0.1) or 0.5, name="mine")
""",
}


@pytest.mark.processes
@pytest.mark.parametrize("kind", SUITES)
def test_the_wait_for_another_measurement_stands_in_the_last_lines_and_in_junit(suite, kind):
    suite.write(SUITES[kind])
    with measured_elsewhere(3.0):
        whom = waiting_for(Path(os.environ["PYTEST_METALPERF_LOCK"]))[len(WAITING) :].strip(" ()")
        result = suite.run("--junitxml=out.xml", "--metal-runs=1", "--metal-batches=1")
    assert result.ret == 0
    by = f": process {os.getpid()} in {suite.pytester.path}" if whom else ""
    result.stdout.fnmatch_lines([f"waited [1-4] s for other measurements on this machine{by}", "* gated*"])
    assert 1 <= int(suite.properties["metal_waited_seconds"]) <= 4
    assert suite.properties.get("metal_waited_for", "") == by[2:]


def test_who_did_not_wait_says_nothing_of_it(suite):
    result = suite.run("--junitxml=out.xml")
    result.stdout.no_fnmatch_line("*waited*")
    assert "metal_waited_seconds" not in suite.properties


def test_the_wait_for_a_slow_minute_stands_there_too(suite):
    suite.run("--metal-update-baselines")
    suite.monkeypatch.setattr(suspects, "PATIENCE", 2.0)
    suite.set(seconds=0.3)
    result = suite.run("--junitxml=out.xml")
    result.stdout.fnmatch_lines(["waited [12] s for slow minutes to pass, before a second look"])
    assert int(suite.properties["metal_waited_seconds"]) in (1, 2)


def test_what_several_workers_wait_side_by_side_counts_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(waits, "RealTime", type("Time", (), {"monotonic": staticmethod(lambda: now[0])}))
    seen, whom = Waits(), f"{WAITING} (process 7 in /mine)"

    def hear(at, phase, i):
        now[0] = at
        seen.observe(Progress("model", "cpu", phase, i))

    for at in (101.0, 102.0, 103.0):
        hear(at, whom, int(at) - 100)
        hear(at + 0.2, "import", 0)
        hear(at + 0.4, WAITING, int(at) - 100)  # another worker, which cannot tell for whom
    seen.observe(None)
    before = seen.mark()
    assert seen.lock == pytest.approx(3.4)
    assert seen.whom == ["process 7 in /mine"]
    hear(202.0, f"{WAITING} (process 8)", 2)
    seen.slow_minutes += 1.0
    assert seen.since(before) == (pytest.approx(3.0), ["process 8"])
