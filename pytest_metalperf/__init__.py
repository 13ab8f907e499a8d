"""Performance-regression tests of neural-network training, as pytest fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if ".zip" in __file__:
    # a worker's zip holds this file and worker/ alone; the rest is the installed plugin's, if there is one
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from .bench import MetalBench, MetalLive, MetalSpeedup
    from .results.measurement import Measurement, Speedup
    from .results.run import Run
    from .worker.step import Step
    from .workloads.models import Model

__all__ = ["Measurement", "MetalBench", "MetalLive", "MetalSpeedup", "Model", "Run", "Speedup", "Step"]

_MODULES = {
    "Measurement": "results.measurement",
    "MetalBench": "bench",
    "MetalLive": "bench",
    "MetalSpeedup": "bench",
    "Model": "workloads.models",
    "Run": "results.run",
    "Speedup": "results.measurement",
    "Step": "worker.step",
}


def __getattr__(name: str) -> Any:
    # pytest imports this package at every start, used or not: what users import is loaded when they do
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
