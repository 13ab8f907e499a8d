"""What watches a process while it computes, and so makes its Python slower: tracers, profilers, debuggers.

Variables of the environment start them in fresh processes, so that those which measure must not inherit these.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping

TOOLS = 6  # sys.monitoring's ids are 0 to 5 (PEP 669)
_STARTS = (
    "COV_CORE_",
    "COVERAGE_",
    "PYDEVD_",
    "PYDEV_",
    "DEBUGPY_",
    "VIZTRACER_",
    "SCALENE_",
    "PYINSTRUMENT_",
    "LINE_PROFILE",
    "CODSPEED_",
)
"""Of coverage and pytest-cov, of debuggers and of profilers that start in every process which finds their variables."""
_NAMES = {
    "PYTHONDEVMODE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONTRACEMALLOC",
    "PYTHONASYNCIODEBUG",
    "PYTHONDEBUG",
    "PYTHONVERBOSE",
    "PYTHONINSPECT",
    "PYTHONDUMPREFS",
    "PYTHONMALLOCSTATS",
    "PYTHONPERFSUPPORT",
    "PYTHON_PERF_JIT_SUPPORT",
    "PYCHARM_DEBUG",
    "KERNPROF",
}
"""Python's own, which turn checks on or slow imports down."""


def observer() -> str:
    """What traces, profiles or debugs this process now, in words; empty for nothing."""
    if tracer := sys.gettrace() or threading.gettrace():
        return f"the tracer {_name(tracer)}"
    if profiler := sys.getprofile() or threading.getprofile():
        return f"the profiler {_name(profiler)}"
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12
    tools = [monitoring.get_tool(number) for number in range(TOOLS)] if monitoring is not None else []
    if named := [tool for tool in tools if tool is not None]:
        return f"{named[0]}, a tool of sys.monitoring"
    if "vgpreload" in os.environ.get(
        "LD_PRELOAD", ""
    ):  # valgrind names its library to what it runs, and to nothing else
        return "valgrind"
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is not None and tracemalloc.is_tracing():
        return "tracemalloc"
    return "Python's development mode" if sys.flags.dev_mode else ""


def _name(function: object) -> str:
    """`coverage.tracer.CTracer`, of a function or of an object that is called like one."""
    what = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(what, '__module__', None) or '?'}.{what.__qualname__}"


def is_an_observer(name: str, value: str) -> bool:
    """Whether a variable would have a fresh process traced, profiled or debugged."""
    return name.startswith(_STARTS) or name in _NAMES or (name == "PYTHONMALLOC" and "debug" in value)


def unobserved(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` less what would have a fresh process observed."""
    return {name: value for name, value in environment.items() if not is_an_observer(name, value)}


@contextlib.contextmanager
def without_observers() -> Iterator[None]:
    """What is started meanwhile does not inherit them: for who starts processes with this one's own environment."""
    taken = {name: value for name, value in os.environ.items() if is_an_observer(name, value)}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)
