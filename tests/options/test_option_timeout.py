"""--metal-timeout SECONDS: a worker that says nothing for so long is killed, and that is an error, not slow."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.processes


def test_hung_worker_is_an_error_with_its_phase_and_the_others_go_on(suite):
    suite.write(
        """
        def test_hung(metal_bench):
            metal_bench("fake-model", name="hung")
        def test_good(metal_bench):
            metal_bench("fake-model", name="good")
        """
    )
    suite.set(hang="hung")
    started = time.monotonic()
    result = suite.run("--metal-timeout=3", "--metal-update-baselines", "--metal-runs=1", "-rE", "--junitxml=out.xml")
    assert time.monotonic() - started < 60
    result.assert_outcomes(errors=1, passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*hung*3 s*first batch*", "ERROR *::test_hung*"])
    assert list(suite.stored) == ["good[b8]@cpu:fake"]
    case = ET.parse(suite.pytester.path / "out.xml").find(".//testcase[@name='test_hung[cpu]']")
    assert {p.get("name"): p.get("value") for p in case.iter("property")}["metal_verdict"] == "error"


def test_killed_worker_leaves_no_process(suite):
    suite.set(hang="fake-model")
    suite.run("--metal-timeout=2").assert_outcomes(errors=1)
    (pid,) = set((suite.pytester.path / "steps.log").read_text().split())
    deadline = time.monotonic() + 10
    while alive(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(int(pid))


def alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_of_marker(suite):
    suite.write(
        "import pytest\n@pytest.mark.metal_bench(timeout=2)\ndef test_it(metal_bench):\n    metal_bench('fake-model')"
    )
    suite.set(hang="fake-model")
    suite.run("--metal-timeout=4").stdout.fnmatch_lines(["*said nothing for 2 s*"])


def test_long_run_that_keeps_talking_is_not_killed(suite):
    suite.set(sleep=0.3)  # 4 s in all
    suite.run("--metal-timeout=2", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)


def test_nonsense_is_refused(suite):
    result = suite.run("--metal-timeout=soon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-timeout: expected seconds*"])
