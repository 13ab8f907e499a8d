"""Tracers, profilers and debuggers: what is found in a process, and what no fresh one inherits."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from pytest_metalperf.worker import loop, observers
from pytest_metalperf.worker.loop import Trainable
from pytest_metalperf.worker.observers import is_an_observer, observer, unobserved, without_observers
from pytest_metalperf.worker.problems import Problem


def tracer(*_):
    return None


class CTracer:
    def __call__(self, *_):
        return None


def process(trace=None, profile=None, tools=None, tracing=None, dev_mode=False):
    """What `sys` and `threading` say in a process."""
    says = SimpleNamespace(
        gettrace=lambda: trace,
        getprofile=lambda: profile,
        modules={} if tracing is None else {"tracemalloc": SimpleNamespace(is_tracing=lambda: tracing)},
        flags=SimpleNamespace(dev_mode=dev_mode),
    )
    if tools is not None:
        says.monitoring = SimpleNamespace(get_tool=tools.get)
    return says


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, ""),
        ({"tools": {}, "tracing": False}, ""),
        ({"trace": tracer}, f"the tracer {__name__}.tracer"),
        ({"trace": CTracer()}, f"the tracer {__name__}.CTracer"),
        ({"profile": tracer}, f"the profiler {__name__}.tracer"),
        ({"tools": {1: "coverage.py"}}, "coverage.py, a tool of sys.monitoring"),
        ({"tools": {5: "mine"}}, "mine, a tool of sys.monitoring"),
        ({"tracing": True}, "tracemalloc"),
        ({"dev_mode": True}, "Python's development mode"),
    ],
)
def test_who_observes_a_process_is_named(monkeypatch, found, words):
    monkeypatch.setattr(observers, "sys", process(**found))
    monkeypatch.setattr(observers, "threading", process())
    assert observer() == words


def test_a_tracer_of_new_threads_alone_is_found_too(monkeypatch):
    monkeypatch.setattr(observers, "sys", process())
    monkeypatch.setattr(observers, "threading", process(trace=tracer))
    assert observer() == f"the tracer {__name__}.tracer"


def test_valgrind_is_found_which_codspeed_runs_suites_under(monkeypatch):
    monkeypatch.setattr(observers, "sys", process())
    monkeypatch.setattr(observers, "threading", process())
    monkeypatch.setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so:/usr/lib/mine.so")
    assert observer() == "valgrind"
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so")
    assert observer() == ""


def test_nothing_is_timed_under_a_tracer(monkeypatch):
    monkeypatch.setattr(observers, "sys", process(trace=tracer))
    monkeypatch.setattr(loop, "observer", observer)  # which conftest.py silences where our own tests are traced
    stepped = []
    with pytest.raises(Problem, match=r"the tracer .*tracer is on in the process that trains.*without it"):
        loop.measure(Trainable(lambda: stepped.append(1), float), batches=1, steps_per_block=1, clock=lambda: 0.0)
    assert not stepped


@pytest.mark.parametrize(
    ("name", "value", "dropped"),
    [
        ("COV_CORE_SOURCE", "src", True),
        ("COV_CORE_DATAFILE", ".coverage", True),
        ("COVERAGE_PROCESS_START", ".coveragerc", True),
        ("COVERAGE_PROCESS_CONFIG", "{}", True),
        ("PYDEVD_USE_FRAME_EVAL", "NO", True),
        ("DEBUGPY_RUNNING", "1", True),
        ("PYTHONDEVMODE", "1", True),
        ("PYTHONPROFILEIMPORTTIME", "1", True),
        ("PYTHONTRACEMALLOC", "25", True),
        ("PYTHONINSPECT", "1", True),
        ("PYTHONMALLOC", "malloc_debug", True),
        ("PYTHONMALLOC", "malloc", False),
        ("PYTHONPATH", "src", False),
        ("PYTHONHASHSEED", "0", False),
        ("PYTHONWARNINGS", "error", False),
        ("COVENANT", "1", False),
        ("PATH", "/usr/bin", False),
    ],
)
def test_what_a_fresh_process_inherits(name, value, dropped):
    assert is_an_observer(name, value) is dropped
    assert unobserved({name: value}) == ({} if dropped else {name: value})


def test_the_environment_is_as_it_was_after_a_start_even_where_that_fails(monkeypatch):
    monkeypatch.setenv("COV_CORE_SOURCE", "src")
    before = dict(os.environ)

    def start():
        with without_observers():
            assert "COV_CORE_SOURCE" not in os.environ
            raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        start()
    assert dict(os.environ) == before
