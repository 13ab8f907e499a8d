"""Instructions and cycles: the same fields on every Mac, Linux' counters of all threads, and what is said of them."""

from __future__ import annotations

import gc
import struct
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.worker.machine import counters
from pytest_metalperf.worker.machine.counters import Counts, PerfCounters, parse_peak, parse_rusage, per_batch, since

SOFTWARE, TASK_CLOCK = 1, 1  # PERF_TYPE_SOFTWARE counts where virtual machines have no hardware counters: nanoseconds
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="perf is Linux'")


def info(instructions: int, cycles: int) -> bytes:
    """A rusage_info_v4 in which every other field is its own offset."""
    fields = [instructions if at == 248 else cycles if at == 256 else at for at in range(16, 296, 8)]
    return bytes(16) + struct.pack("<35Q", *fields)


def test_both_counts_of_a_process_on_a_mac():
    assert parse_rusage(info(9_000_000_001, 4_000_000_002)) == Counts(9_000_000_001, 4_000_000_002)


@pytest.mark.parametrize("told", [info(0, 0), info(5, 0), b"", info(1, 1)[:-1]])
def test_a_mac_that_does_not_count_knows_nothing(told):
    assert parse_rusage(told) is None


def test_the_peak_footprint_of_a_process_on_a_mac():
    assert parse_peak(info(1, 1)) == 240  # its own offset
    assert parse_peak(bytes(296)) is None
    assert parse_peak(info(1, 1)[:-1]) is None


@given(st.binary(max_size=400))
def test_no_bytes_raise(told):
    parse_rusage(told)
    parse_peak(told)


def test_counts_are_since_the_start():
    told = iter([Counts(100, 50), Counts(175, 90), Counts(175, 90), Counts(100, 50)])
    counts = since(lambda: next(told))
    assert [counts(), counts(), counts()] == [Counts(75, 40), Counts(75, 40), None]


def test_unknown_at_either_end_is_unknown():
    assert since(lambda: None) is None
    told = iter([Counts(1, 1), None])
    assert since(lambda: next(told))() is None


def test_this_system_tells_counts_or_nothing():
    counts = counters.counting()
    found = counts() if counts is not None else None
    assert found is None or (found.instructions > 0 and found.cycles > 0)


def burn() -> int:
    return sum(range(2_000_000))


@ON_LINUX
def test_threads_that_start_later_are_counted_too():
    perf = PerfCounters(((SOFTWARE, TASK_CLOCK), (SOFTWARE, TASK_CLOCK)))
    alone = perf.counts()
    if alone is None:
        pytest.skip("perf_event_open is not permitted here")
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    both = perf.counts()
    assert both.instructions - alone.instructions > 1e6  # nanoseconds, most of them the other thread's


def open_files() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@ON_LINUX
def test_counters_are_closed_with_their_watch():
    before = open_files()
    perf = PerfCounters(((SOFTWARE, TASK_CLOCK), (SOFTWARE, TASK_CLOCK)))
    assert open_files() >= before
    del perf
    gc.collect()
    assert open_files() == before


@ON_LINUX
def test_an_event_that_no_processor_has_is_unknown():
    assert PerfCounters(((SOFTWARE, TASK_CLOCK), (SOFTWARE, 999))).counts() is None


def test_more_threads_than_files_are_unknown(monkeypatch):
    monkeypatch.setattr(counters, "listing", lambda path: [str(n) for n in range(counters.MOST_THREADS + 1)])
    assert PerfCounters(((SOFTWARE, TASK_CLOCK), (SOFTWARE, TASK_CLOCK))).counts() is None


def test_another_processor_has_no_such_system_call(monkeypatch):
    monkeypatch.setattr(counters.platform, "machine", lambda: "riscv64")
    assert PerfCounters(((SOFTWARE, TASK_CLOCK), (SOFTWARE, TASK_CLOCK))).counts() is None


def test_counts_are_told_by_the_batch(monkeypatch):
    trained = []
    monkeypatch.setattr(counters, "counting", lambda: lambda: Counts(1000, 500))
    assert per_batch(lambda: trained.append(1), 10) == {"instructions_per_batch": 100.0, "cycles_per_batch": 50.0}
    assert trained == [1]


def test_where_nobody_counts_nothing_is_trained_for_it(monkeypatch):
    monkeypatch.setattr(counters, "counting", lambda: None)
    assert per_batch(lambda: pytest.fail("trained"), 10) == {}


def test_counts_that_are_lost_on_the_way_are_unknown(monkeypatch):
    monkeypatch.setattr(counters, "counting", lambda: lambda: None)
    assert per_batch(lambda: None, 10) == {}
