"""What else is there while a suite is measured: coverage, debuggers, other plugins that time tests or run them."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec

import pytest

from pytest_metalperf import suspects

ENVIRONMENT = {
    "COV_CORE_SOURCE": "src",
    "COVERAGE_PROCESS_START": ".coveragerc",
    "PYTHONDEVMODE": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONTRACEMALLOC": "3",
    "PYDEVD_USE_FRAME_EVAL": "NO",
}


@pytest.mark.processes
def test_a_worker_inherits_nothing_that_observes_it(suite):
    for name, value in ENVIRONMENT.items():
        suite.monkeypatch.setenv(name, value)
    suite.monkeypatch.setenv("MINE", "kept")
    suite.write(
        """
        import json, os, sys
        from fake_backend import FakeModel
        def build():
            with open("seen.json", "w") as file:
                json.dump([sorted(os.environ), sys.flags.dev_mode], file)
            return FakeModel(0.1)
        def test_it(metal_bench):
            metal_bench(build)
        """
    )
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    seen = (suite.pytester.path / "seen.json").read_text()
    assert not [name for name in ENVIRONMENT if name in seen]
    assert "MINE" in seen
    assert "true" not in seen
    assert ENVIRONMENT.items() <= os.environ.items()


OBSERVE = {
    "tracer": "sys.settrace(lambda *_: None)",
    "profiler": "sys.setprofile(lambda *_: None)",
    "sys.monitoring": "sys.monitoring.use_tool_id(1, 'coverage.py')",
}


@pytest.mark.processes
@pytest.mark.parametrize("what", OBSERVE)
def test_a_traced_run_is_an_error_and_nothing_is_stored(suite, what):
    if what == "sys.monitoring" and not hasattr(sys, "monitoring"):
        pytest.skip("comes with Python 3.12")
    suite.write(
        f"""
        import sys
        from fake_backend import FakeModel
        def build():
            {OBSERVE[what]}
            return FakeModel(0.1)
        def test_it(metal_bench):
            metal_bench(build)
        """
    )
    result = suite.run("--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"build@cpu:fake: *{what}* is on in the process that trains*without it*"])
    assert not suite.file.exists()


# A tracer that this process has and, like pytest-cov's, its children by a variable alone
TRACED = """
import os, sys, pytest
def trace(*_):
    return None
@pytest.fixture(autouse=True)
def traced():
    if os.environ.get(os.environ["TRACED_BY"]):
        sys.settrace(trace)
    yield
    sys.settrace(None)
"""
LIVE = """
import os, time
def test_live(metal_live):
    with open("log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    metal_live(lambda: time.sleep(0.11) or 0.5, name="mine")
"""
FEW = ["--metal-batches=1", "--metal-warmup=0", "--metal-tolerance=100%", "--metal-force"]


@pytest.fixture
def traced(suite):
    """A suite whose live test runs under a tracer in pytest's process."""
    conftest = suite.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text() + TRACED)
    suite.monkeypatch.setenv("TRACED_BY", "COV_CORE_SOURCE")
    suite.monkeypatch.setenv("COV_CORE_SOURCE", "src")
    suite.write(LIVE)
    return suite


def processes(suite):
    """How many processes ran the live test, since the last look."""
    log = suite.pytester.path / "log"
    count = len(set(log.read_text().split()))
    log.unlink()
    return count


def test_live_under_a_tracer_is_measured_by_children_that_have_none(traced):
    run = traced.pytester.runpytest_subprocess
    run(*FEW, "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    assert processes(traced) == 2
    assert len(traced.stored["mine@live"]["runs"]) == 1
    run(*FEW).assert_outcomes(passed=1)
    assert processes(traced) == 2  # no first look here


def test_live_whose_children_are_traced_too_is_an_error(traced):
    traced.monkeypatch.setenv("TRACED_BY", "TRACED_BY")
    result = traced.pytester.runpytest_subprocess(*FEW, "--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["mine@live: the tracer *conftest.trace is on in the process that trains*"])
    assert not traced.file.exists()


def test_smoke_under_a_tracer_trains_one_batch_in_a_child(traced):
    traced.pytester.runpytest_subprocess("--metal=smoke", "-W", "error").assert_outcomes(passed=1)
    assert processes(traced) == 2


def test_live_under_pytest_cov_is_measured_by_untraced_children(suite):
    pytest.importorskip("pytest_cov")
    suite.ini(addopts="-p no:cacheprovider --cov=test_suite --cov-report=")
    suite.write(LIVE)
    run = suite.pytester.runpytest_subprocess
    run(*FEW, "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    assert processes(suite) == 2
    assert suite.stored


# pytest-codspeed 5: it takes the marker `benchmark` for its own, replaces the fixture, and deselects what has neither
CODSPEED = """
import pytest
class CodSpeed:
    is_codspeed_enabled = True
class Benchmark:
    @property
    def __class__(self):  # as codspeed's own, for pytest-benchmark looks at the type
        try:
            from pytest_benchmark.fixture import BenchmarkFixture
        except ImportError:
            return Benchmark
        return BenchmarkFixture
    def __init__(self, item):
        self.item = item
    def __call__(self, target, *words):
        marker = self.item.get_closest_marker("benchmark")
        unknown = set(marker.kwargs if marker else ()) - {"group", "min_time", "max_time", "max_rounds"}
        if unknown:
            raise ValueError(f"Unknown kwargs passed to benchmark marker: {', '.join(unknown)}")
        with open("measured", "a") as file:
            file.write(self.item.name + "\\n")
        return target(*words)
    def pedantic(self, target, **words):
        return self(target)
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.pluginmanager.register(CodSpeed(), "codspeed_plugin")
@pytest.fixture
def codspeed_benchmark(request):
    return Benchmark(request.node)
@pytest.fixture
def benchmark(codspeed_benchmark):
    return codspeed_benchmark
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    left = [one for one in items if not {"benchmark", "codspeed_benchmark"} & set(one.fixturenames)]
    config.hook.pytest_deselected(items=left)
    items[:] = [one for one in items if one not in left]
"""


TWO = """
def test_it(metal_bench):
    metal_bench("fake-model")
def test_mine(benchmark):
    benchmark(sum, [1])
"""


@pytest.mark.skipif(find_spec("pytest_codspeed") is not None, reason="the real one is there: below")
@pytest.mark.parametrize("flags", [[], ["-p", "no:benchmark"]], ids=["present", "absent"])
def test_under_codspeed_tests_are_measured_and_gated_and_codspeed_times_its_own(suite, flags):
    conftest = suite.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text() + CODSPEED)
    suite.write(TWO)
    arguments = ["-W", "error", *flags]
    suite.run("--metal-update-baselines", *arguments).assert_outcomes(passed=2)
    suite.set(seconds=0.3)
    result = suite.run(*arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*fake-model*slower than its baseline*"])
    assert (suite.pytester.path / "measured").read_text().split() == ["test_mine", "test_mine"]


def test_under_the_real_codspeed_they_are_measured_and_gated_too(suite):
    pytest.importorskip("pytest_codspeed")
    suite.write(TWO)
    flags = "--codspeed", "--codspeed-max-time=0.1", "--codspeed-warmup-time=0"
    suite.run("--metal-update-baselines", *flags).assert_outcomes(passed=2)
    suite.set(seconds=0.3)
    result = suite.run(*flags)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*fake-model*slower than its baseline*"])


# pytest-timeout 2: hooks start and cancel a timer
TIMEOUT = """
import collections, pytest, time
Settings = collections.namedtuple("Settings", "timeout method func_only disable_debugger_detection")
class Hooks:
    @pytest.hookspec(firstresult=True)
    def pytest_timeout_set_timer(item, settings): ...
    @pytest.hookspec(firstresult=True)
    def pytest_timeout_cancel_timer(item): ...
def pytest_addhooks(pluginmanager):
    pluginmanager.add_hookspecs(Hooks)
LIMIT = 1.5
used, began = [0.0], []
@pytest.hookimpl(trylast=True)
def pytest_timeout_set_timer(item, settings):
    assert not began
    assert settings.timeout <= LIMIT - used[0] + 0.05
    began.append(time.monotonic())
    return True
@pytest.hookimpl(trylast=True)
def pytest_timeout_cancel_timer(item):
    if began:
        used[0] += time.monotonic() - began.pop()
    return True
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    used[0] = 0.0
    item.config.hook.pytest_timeout_set_timer(item=item, settings=Settings(LIMIT, "signal", False, False))
    yield
    item.config.hook.pytest_timeout_cancel_timer(item=item)
    with open("used", "a") as file:
        file.write(f"{used[0]}\\n")
"""


@pytest.mark.skipif(find_spec("pytest_timeout") is not None, reason="the real one is there: below")
def test_the_wait_for_a_slow_minute_is_not_the_tests_time(suite):
    """As pytest-timeout counts it: its timer stands still meanwhile, and goes on where it stood."""
    suite.pytester.makepyfile(timing=TIMEOUT)
    suite.run("--metal-update-baselines")
    suite.monkeypatch.setattr(suspects, "PATIENCE", 2.0)
    suite.set(seconds=0.3)
    since = time.monotonic()
    suite.run("-p", "timing").assert_outcomes(failed=1)
    assert time.monotonic() - since > 2.0
    (used,) = (suite.pytester.path / "used").read_text().split()
    assert 0 < float(used) < 1.5


def test_pytest_timeout_ends_no_test_that_waits_for_a_slow_minute(suite):
    pytest.importorskip("pytest_timeout")
    suite.run("--metal-update-baselines")
    suite.monkeypatch.setattr(suspects, "PATIENCE", 3.0)
    suite.set(seconds=0.3)
    result = suite.pytester.runpytest_inprocess("--timeout=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*slower than its baseline*", "*waited * for slow minutes to pass*"])
    result.stdout.no_fnmatch_line("*Timeout*")
