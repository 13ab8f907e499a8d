"""A pytest plugin of the sessions that a search starts: one test, from the checkout, and what it failed with."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from ..items import ours
from ..worker.clock import RealTime

VARIABLE = "PYTEST_METALPERF_BISECT"
"""Names a file of `{"top": …, "modules": [...]}`: the checkout, and the modules that must come from it."""

_collected: pytest.StashKey[bool] = pytest.StashKey()


def pytest_configure() -> None:
    """End with the search, however that ends."""
    parent, me = os.getppid(), os.getpid()

    def watch() -> None:
        while os.getppid() == parent:
            RealTime.sleep(1.0)
        os.kill(me, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Every argument was found."""
    config.stash[_collected] = True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse before anything is measured."""
    if session.testsfailed or _collected not in session.config.stash:  # pytest says why, and ends
        return
    found = [item.nodeid for item in session.items if ours(item)]
    if not found:
        raise pytest.UsageError("the arguments after -- select no test of training performance")
    if len(found) > 1:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise pytest.UsageError(
            f"the arguments after -- select {len(found)} tests, and a search follows one: {', '.join(found[:5])}{more}"
        )
    wanted = json.loads(Path(os.environ[VARIABLE]).read_text())
    for name in wanted["modules"]:
        if (wrong := _elsewhere(name, Path(wanted["top"]))) is not None:
            raise pytest.UsageError(
                f"{name} is imported from {wrong}, not from the commits: an editable or compiled installation defeats a"
                " bisect; uninstall it, or put its sources on pytest's `pythonpath`"
            )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Keep why a file cannot be collected."""
    if report.failed:
        _keep(report.longreprtext)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep why the test broke, or was not run."""
    if report.failed:
        _keep(report.longreprtext)
    elif report.skipped and isinstance(report.longrepr, tuple):
        _keep(report.longrepr[2].removeprefix("Skipped: "))


def _keep(text: str) -> None:
    file = Path(os.environ[VARIABLE]).with_suffix(".failure")
    if not file.exists():
        file.write_text(text, errors="backslashreplace")


def _elsewhere(name: str, top: Path) -> str | None:
    """Where a module comes from, if that is not the checkout; None where it is, or where there is no such module."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        file = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if file is None or Path(file).resolve().is_relative_to(top.resolve()):
        return None
    return str(file)
