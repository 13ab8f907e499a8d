"""Fixtures of our own tests: a pytester with a fake backend whose clock is virtual, registered by the public hook.

Also what a test needs installed: its marks say so, and `TESTS_NEED` names the marks whose packages must be there.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import signal
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import in_process
import msgspec  # loaded before pytester takes its snapshot of modules: C extensions load once a process
import numpy as np  # noqa: F401
import own_project
import pytest
import scipy.special  # noqa: F401

import pytest_metalperf.baselines.file
import pytest_metalperf.bench
import pytest_metalperf.measure.live
import pytest_metalperf.measure.worker
import pytest_metalperf.results.conditions
import pytest_metalperf.session
import pytest_metalperf.suspects  # one module for all sessions of a process, so that tests can change what it holds
import pytest_metalperf.worker.loop
from pytest_metalperf.baselines.reading import parse
from pytest_metalperf.worker.observers import observer

with contextlib.suppress(
    ImportError
):  # pytest loads this file for the reference suite too, where hypothesis may be missing
    import hypothesis  # pytest imports it at the end of each session, in a second

    # No test may fail by chance: the same examples every time, and no limit of time on a machine that others use.
    hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
    hypothesis.settings.load_profile("repeatable")

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

PACKAGES = {  # of each mark
    "tensorflow": ("tensorflow", "keras"),
    "torch": ("torch", "keras"),
    "jax": ("jax", "keras"),
    "mlx": ("mlx",),
    "gate": ("asv", "pyperf", "matplotlib"),
    "browser": ("playwright", "jinja2", "vl_convert"),
}

CONFTEST = """
from fake_backend import Fake, build

def pytest_metalperf_backends():
    return {"fake": Fake}

def pytest_metalperf_models():
    from pytest_metalperf import Model
    return [Model("fake-model", build, {size: {"batch_size": 8} for size in ("quick", "standard", "full")})]
"""

INI = """
[pytest]
metal_backend = fake
metal_devices = cpu
metal_batches = 10
metal_warmup = 1
metal_runs = 3
metal_machine = test machine
addopts = -p no:cacheprovider
"""


for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(name, None)  # what our tests start is no worker of pytest-xdist, even where they run in one


def absent(mark: str) -> list[str]:
    """The packages that tests of this mark need and that are not installed; none is imported."""
    return [package for package in PACKAGES[mark] if importlib.util.find_spec(package) is None]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to start without what `TESTS_NEED` names: a missing framework must fail a test job, not skip its tests."""
    for mark in os.environ.get("TESTS_NEED", "").split():
        if mark not in PACKAGES:
            raise pytest.UsageError(f"TESTS_NEED names {mark!r}, which is none of {', '.join(PACKAGES)}")
        if absent(mark):
            raise pytest.UsageError(f"TESTS_NEED names {mark!r}, and not installed are: {', '.join(absent(mark))}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in PACKAGES:
        if item.get_closest_marker(mark) and absent(mark):
            pytest.skip(f"needs {', '.join(absent(mark))}")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts us in the background has it ignored, and so would every process that a test ends by Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

left_open: list[Suite] = []


@pytest.fixture(scope="session", autouse=True)
def not_on_github() -> Iterator[None]:
    """Sessions that our tests start write nothing on the page of the job that runs our tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def no_open_files() -> Iterator[None]:
    """Collect what pytest-benchmark 4 leaves open, after all else of a test is gone and before a later test hears of it."""
    yield
    if left_open:
        left_open.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(autouse=True)
def own_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pytest --cov` on our own tests traces the test's process, where nothing is timed in earnest."""
    if observer():
        for module in ("bench", "measure.live", "worker.loop"):
            monkeypatch.setattr(f"pytest_metalperf.{module}.observer", lambda: "")


class Suite:
    """A project with performance tests, in a temporary folder."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        pytester.makeconftest(CONFTEST)
        pytester.makeini(INI)
        shutil.copy(HERE / "support" / "fake_backend.py", pytester.path)
        pytester.syspathinsert()
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr(pytest_metalperf.suspects, "PATIENCE", 0.0)
        # a module that a test writes anew within a second, no longer than before, must not be read from bytecode
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(pytester.path / "lock"))  # no waiting for real measurements

    def write(self, source: str = "def test_it(metal_bench):\n    metal_bench('fake-model')\n") -> None:
        """The suite's only test file."""
        self.pytester.makepyfile(test_suite=source)

    def ini(self, **values: object) -> None:
        """The ini file as it is, with these keys set, or without those that are None."""
        mine = dict(line.split(" = ") for line in INI.strip().splitlines()[1:])
        mine.update(values)
        lines = [f"{key} = {value}" for key, value in mine.items() if value is not None]
        self.pytester.makeini("\n".join(["[pytest]", *lines]))

    def set(self, **values: object) -> None:
        """What the fake models do from now on: `seconds`, `jitter`, `gpus`, …"""
        self.monkeypatch.setenv("FAKE", json.dumps({"log": str(self.pytester.path / "steps.log"), **values}))

    def noisy(self) -> None:
        """A stored baseline whose runs differ so much that a slowdown by half cannot be told from noise."""
        self.run("--metal-update-baselines")
        whole = json.loads(self.file.read_text())
        for entry in whole["workloads"].values():
            for run, seconds in zip(entry["runs"], (0.05, 0.1, 0.2), strict=True):
                run.update(seconds_per_batch=seconds, lower_quartile=seconds, upper_quartile=seconds)
        self.file.write_text(json.dumps(whole))

    def run(self, *arguments: str) -> pytest.RunResult:
        """pytest, in this process."""
        if any(argument.startswith("--benchmark-json") for argument in arguments):
            left_open.append(self)
        return self.pytester.runpytest_inprocess(*arguments)

    def trained(self) -> list[int]:
        """Steps that each worker trained, in the order in which they started, since this was last asked."""
        log = self.pytester.path / "steps.log"
        steps = Counter(log.read_text().split()) if log.exists() else Counter()
        log.unlink(missing_ok=True)
        return list(steps.values())

    @property
    def file(self) -> Path:
        """The baseline file."""
        return self.pytester.path / "baselines" / "test-machine.json"

    @property
    def stored(self) -> dict:
        """What the baseline file says of workloads, with what their sessions share."""
        return self._machine["workloads"]

    @property
    def speedups(self) -> dict:
        """What it says of speedups."""
        return self._machine["speedups"]

    @property
    def _machine(self) -> dict:
        return msgspec.to_builtins(parse(self.file.read_bytes(), self.file.name, "test-machine"))

    @property
    def properties(self) -> dict:
        """The JUnit properties of the only test, after a run with --junitxml=out.xml."""
        found = ElementTree.parse(self.pytester.path / "out.xml").iter("property")
        return {one.get("name"): one.get("value") for one in found}


@pytest.fixture
def suite(request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A project that uses the plugin with a fake backend: one model, `fake-model`, of 0.1 virtual seconds a batch.

    Its workers answer in this process; where a test has the mark `processes`, or that of a framework, they are processes.
    """
    if not any(request.node.get_closest_marker(mark) for mark in ("processes", *PACKAGES)):
        monkeypatch.setattr(pytest_metalperf.measure.worker, "Process", in_process.start)
        monkeypatch.setattr("pytest_metalperf.worker.stack.installed", in_process.installed)
        # each block begins with a collection, which in this process goes through all that our tests have loaded
        monkeypatch.setattr(pytest_metalperf.worker.loop, "observer", lambda: "")  # ours, such as --cov, is not theirs
        monkeypatch.setattr(pytest_metalperf.worker.loop, "gc", SimpleNamespace(**{**vars(gc), "collect": lambda: 0}))
    # the load of frameworks' workers and of live objects is that of this minute; tests of the rule set it
    monkeypatch.setattr(pytest_metalperf.results.conditions, "MOST", 1.0)
    made = Suite(pytester, monkeypatch)
    made.write()
    made.set()
    return made


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a project that has recorded is kept, since most tests of a replay begin with one."""
    return tmp_path_factory.mktemp("recorded") / "project"


@pytest.fixture
def project(suite: Suite, recorded: Path) -> own_project.Project:
    """A project under git that has recorded its builder, and committed that."""
    if recorded.exists():
        shutil.copytree(recorded, suite.pytester.path, dirs_exist_ok=True)
        made = own_project.Project.__new__(own_project.Project)
        made.suite, made.path = suite, suite.pytester.path
        return made
    made = own_project.Project(suite)
    made.commit()
    made.record()
    made.commit()
    shutil.copytree(made.path, recorded)
    return made
