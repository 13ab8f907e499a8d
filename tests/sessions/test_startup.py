"""What the plugin costs those who do not use it: nothing heavy is imported, nothing is started, at collection."""

from __future__ import annotations

import json
import sys

import pytest

FRAMEWORKS = {"tensorflow", "keras", "torch", "jax", "mlx"}
HEAVY = {"numpy", "scipy", "execnet", "cloudpickle", "psutil", *FRAMEWORKS}

# written at the very end of a session, by the process that ran it
CONFTEST = """
import json, sys
def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted({name.partition(".")[0] for name in sys.modules}), file)
"""
# xdist imports execnet for itself
QUIET = ("-p", "no:xdist", "-p", "no:xdist.looponfail")
REFERENCE = """
import pytest
@pytest.mark.parametrize("model", ["resnet50v2", "cyclegan"])
def test_reference(metal_bench, model):
    metal_bench(model)
def test_pays(metal_speedup):
    metal_speedup("mobilenetv3", at_least=2)
"""


@pytest.fixture
def session(pytester):
    """Runs pytest in an interpreter of its own and gives its result and the top-level modules that it imported."""

    def run(source, *arguments):
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_suite=source)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *QUIET, *arguments)
        return result, set(json.loads((pytester.path / "modules.json").read_text()))

    return run


def test_importing_the_plugin_imports_nothing_heavy(pytester):
    result = pytester.run(sys.executable, "-c", "import pytest_metalperf.plugin, sys; print(*sorted(sys.modules))")
    assert result.ret == 0
    assert not {name.partition(".")[0] for name in result.outlines[-1].split()} & HEAVY


def test_suite_that_does_not_use_it(session):
    result, modules = session("def test_plain(): pass")
    result.assert_outcomes(passed=1)
    assert not modules & {"numpy", "scipy", "execnet", "cloudpickle", *FRAMEWORKS}  # pytest-benchmark may use psutil


def test_collect_only_imports_no_framework_and_starts_no_worker(session):
    result, modules = session(REFERENCE, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*::test_reference*gpu*", "5 tests collected*"])
    assert not modules & FRAMEWORKS
    assert "execnet" not in modules  # without it there is no way to start one


def test_tests_that_are_off_import_no_framework_either(session):
    result, modules = session(REFERENCE, "--metal=off")
    result.assert_outcomes(skipped=5)
    assert not modules & {*FRAMEWORKS, "execnet"}


def test_pytest_process_never_imports_the_framework_it_measures(suite):
    suite.pytester.makeconftest((suite.pytester.path / "conftest.py").read_text() + CONFTEST)
    result = suite.pytester.runpytest_subprocess("--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(passed=1)
    modules = set(json.loads((suite.pytester.path / "modules.json").read_text()))
    assert not modules & FRAMEWORKS
