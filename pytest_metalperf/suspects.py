"""A suspect is a test whose first look was suspicious: it is put off, and run again at the end of the session.

A slow spell of a shared machine lasts about a minute. A second look within it would see the same, so the test waits until all
others are done; where nothing can be put off, the look itself waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import pytest

from .items import device_and_backend, ours
from .worker.clock import RealTime

PATIENCE = 60.0
"""Seconds between a suspicious first look and the next: slow spells of a shared machine were seen to last that long."""
PROPERTY = ("metal_verdict", "suspected")
"""What the report of a first attempt carries."""

_timer = pytest.StashKey[Any]()
_can_be_put_off = pytest.StashKey[bool]()
_put_off = pytest.StashKey[bool]()


class Suspected(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """A first look that a slow minute could explain: the test runs again at the end of the session."""

    __module__ = "builtins"


class Suspects:
    """The suspects of one pytest session.

    Attributes:
        looked: tests with a suspicious first look, with what it found; until they have ended, whatever catches `Suspected`.
        suspicion: of those put off: the more, the sooner they are run again.
        waiting: tests that are to be run again at the end of the session, with what their first look found.
        running: the test that runs.
        announced: tests that have been put off once, each with the ids of workloads that listeners know from then.
    """

    def __init__(self) -> None:
        self.looked: dict[str, str] = {}
        self.suspicion: dict[str, float] = {}
        self.waiting: dict[str, str] = {}
        self.announced: dict[str, list[str]] = {}
        self.running: pytest.Item | None = None
        self._first_look: dict[str, float] = {}

    def put_off(self, nodeid: str, why: str, suspicion: float = 0.0) -> None:
        """End the first attempt of a test.

        Raises:
            Suspected: always.
        """
        self.looked[nodeid], self.suspicion[nodeid] = why, suspicion
        raise Suspected(why)

    def had_a_first_look(self, nodeid: str) -> bool:
        """Whether a test was put off before: a second first look would be a second chance."""
        return nodeid in self.announced

    def is_known(self, nodeid: str, workload: str) -> bool:
        """Whether listeners know of a workload of this test from its first attempt; each is asked for once."""
        known = self.announced.get(nodeid, [])
        if workload in known:
            known.remove(workload)
            return True
        return False

    def wait(self, workload: str, seconds: float, waiting: Callable[[], None]) -> None:
        """Wait until `seconds` after this was first called for `workload`, the id; `waiting` is called all the while."""
        since = self._first_look.setdefault(workload, RealTime.monotonic())
        if since + seconds <= RealTime.monotonic():
            return
        with untimed(self.running):
            while (left := since + seconds - RealTime.monotonic()) > 0:
                waiting()
                RealTime.sleep(min(left, 0.5))

    def finished(self, nodeid: str) -> None:
        """A test has a result: it waits for nothing more."""
        self.waiting.pop(nodeid, None)


def timed(item: pytest.Item, settings: Any) -> None:
    """Remember the timer that pytest-timeout has started for a test, with its settings; None for one that it cancels."""
    item.stash[_timer] = None if settings is None else (settings, RealTime.monotonic())


@contextlib.contextmanager
def untimed(item: pytest.Item | None) -> Iterator[None]:
    """What a test waits for meanwhile is not its own time: pytest-timeout's timer stands still."""
    timer = item.stash.get(_timer, None) if item is not None else None
    if item is None or timer is None:
        yield
        return
    settings, since = timer
    left = settings.timeout - (RealTime.monotonic() - since)
    item.config.hook.pytest_timeout_cancel_timer(item=item)
    try:
        yield
    finally:
        item.config.hook.pytest_timeout_set_timer(item=item, settings=settings._replace(timeout=max(left, 0.01)))


def can_be_put_off(item: pytest.Item) -> bool:
    """Whether the hook that runs this test would run it again at the end of the session."""
    return item.stash.get(_can_be_put_off, False)


def is_put_off(item: pytest.Item) -> bool:
    """Whether this attempt of a test ends without a result, since another will follow."""
    return item.stash.get(_put_off, False)


def more_to_come(item: pytest.Item, unavailable: Container[str] = ()) -> bool:
    """Whether other tests of ours follow `item`, so that a look at the end of the session is a later one.

    Tests of a device and backend in `unavailable` (`gpu:tensorflow`) do not count: they will be skipped.
    """
    items: Sequence[pytest.Item] = item.session.items
    first = next((index for index, one in enumerate(items) if one is item), len(items))
    following = items[first + 1 :]
    return item not in following and any(
        ours(one) and ":".join(device_and_backend(one) or ()) not in unavailable for one in following
    )


def is_ours_to_run(item: pytest.Item, unavailable: Container[str]) -> bool:
    """Whether we may run `item` ourselves, and again at the end of the session.

    Not where something else wants each failure at once (--pdb, -x), or runs tests again in its own way.
    """
    option = item.config.option
    claimed = any(getattr(option, name, None) for name in ("usepdb", "maxfail", "reruns", "forked"))
    claimed = claimed or item.get_closest_marker("flaky") is not None  # pytest-rerunfailures' own marker
    return not claimed and ours(item) and more_to_come(item, unavailable)


def run_test(
    item: pytest.Item,
    nextitem: pytest.Item | None,
    suspects: Suspects,
    unavailable: Container[str],
    forget: Callable[[str], list[str]],
) -> bool:
    """Run a test that may be put off, and put it off where it is a suspect; False for a test that is not ours to run.

    Args:
        item: the test.
        nextitem: the one after it.
        suspects: of the session.
        unavailable: devices with backends whose tests will be skipped.
        forget: takes the results of a test out of the session, and returns the ids of what it measured.
    """
    suspects.running = item
    item.stash[_can_be_put_off] = is_ours_to_run(item, unavailable)
    if not item.stash[_can_be_put_off]:
        return False
    from _pytest.runner import runtestprotocol  # as every plugin that runs a test twice does

    own = len(item.user_properties)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    why = suspects.looked.pop(item.nodeid, "")  # also where the test itself caught `Suspected`, as `subtests` do
    if why and not any(report.failed for report in reports):
        suspects.waiting[item.nodeid] = why
        suspects.announced[item.nodeid] = forget(item.nodeid)
        del item.user_properties[own:]
        _queue(item, suspects)
        reports = [_attempt(reports)]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _queue(item: pytest.Item, suspects: Suspects) -> None:
    """Put a test behind all others, and among those that wait there before the less suspicious."""
    items, order = item.session.items, suspects.suspicion
    behind = len(items) - (len(suspects.waiting) - 1)  # without itself
    while behind < len(items) and order.get(items[behind].nodeid, 0.0) >= order.get(item.nodeid, 0.0):
        behind += 1
    items.insert(behind, item)


def _attempt(reports: Sequence[pytest.TestReport]) -> pytest.TestReport:
    """The one report of a first attempt. A fixture that measures may have ended it before the test's own code ran."""
    report = next((report for report in reports if report.when == "call"), reports[0])
    report.outcome = "rerun"  # type: ignore[assignment]  # the word that reporters know of pytest-rerunfailures
    if PROPERTY not in report.user_properties:
        report.user_properties = [*report.user_properties, PROPERTY]
    return report


def note(item: pytest.Item, report: pytest.TestReport, suspects: Suspects | None) -> None:
    """Remember of a phase of a test, before the test is torn down, whether this attempt counts."""
    if report.when == "teardown":
        return
    put_off = suspects is not None and item.nodeid in suspects.looked and not report.failed
    item.stash[_put_off] = put_off
    if put_off:
        report.user_properties = [*report.user_properties, PROPERTY]
