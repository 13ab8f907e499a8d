"""Tests freeze or replace the clocks: a session still ends, waits as long as it should, and dates what it stores today."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from pytest_metalperf import suspects

IMITATED = """
import pytest
from frozen import frozen
@pytest.fixture(autouse=True)
def fixed_day():
    with frozen():
        yield
"""
FREEZEGUN = """
import pytest
from freezegun import freeze_time
@pytest.fixture(autouse=True)
def fixed_day():
    with freeze_time("2012-01-14"):
        yield
"""
REPLACED = """
import pytest, time
@pytest.fixture(autouse=True)
def standing_still(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    monkeypatch.setattr(time, "strftime", lambda *form: "yesterday")
"""
HOW = [
    pytest.param(IMITATED, id="frozen"),
    pytest.param(FREEZEGUN, id="freezegun"),
    pytest.param(REPLACED, id="replaced"),
]


@pytest.fixture
def with_clocks(suite, how):
    """A suite whose every test freezes or replaces the clocks."""
    if how is FREEZEGUN:
        pytest.importorskip("freezegun")
    shutil.copy(Path(__file__).parents[1] / "support" / "frozen.py", suite.pytester.path)
    conftest = suite.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text() + how)
    return suite


@pytest.mark.parametrize("how", HOW)
def test_a_suspicion_is_confirmed_after_the_real_wait(with_clocks, how):
    with_clocks.run("--metal-update-baselines").assert_outcomes(passed=1)
    with_clocks.monkeypatch.setattr(suspects, "PATIENCE", 1.0)
    with_clocks.set(seconds=0.3)
    since = time.monotonic()
    with_clocks.run().assert_outcomes(failed=1)
    assert time.monotonic() - since > 1.0


@pytest.mark.processes
@pytest.mark.parametrize("how", HOW)
def test_what_is_stored_is_dated_today_and_the_seconds_are_real(with_clocks, how):
    """In a process of its own, where most of this package is imported while the clocks are frozen already."""
    with_clocks.write(
        """
        from _real import sleep
        def test_bench(metal_bench):
            metal_bench("fake-model")
        def test_live(metal_live):
            metal_live(lambda: sleep(0.2) or 0.5, name="mine", batches=2, warmup=0)
        """
    )
    (with_clocks.pytester.path / "_real.py").write_text("import time\nsleep = staticmethod(time.sleep).__func__\n")
    conftest = with_clocks.pytester.path / "conftest.py"
    conftest.write_text("import _real\n" + conftest.read_text())
    before = time.strftime("%Y-%m-%d", time.gmtime())
    result = with_clocks.pytester.runpytest_subprocess("--metal-update-baselines", "--metal-runs=1", "--metal-force")
    result.assert_outcomes(passed=2)
    after = time.strftime("%Y-%m-%d", time.gmtime())
    stored = with_clocks.stored
    for entry in stored.values():
        for run in entry["runs"]:
            assert run["recorded"] in (before, after)
            assert run["session"][:4] == before[:4]
    (live,) = stored["mine@live"]["runs"]
    assert 0.2 <= live["seconds_per_batch"] < 2
    assert '"2012' not in json.dumps(stored)  # a text that begins so; figures have such digits by chance


@pytest.mark.processes
@pytest.mark.parametrize("how", HOW)
def test_a_silent_worker_is_ended_in_time(with_clocks, how):
    with_clocks.set(hang="fake-model")
    result = with_clocks.run("--metal-timeout=2")
    result.stdout.fnmatch_lines(["*said nothing for 2 s*was killed*"])
