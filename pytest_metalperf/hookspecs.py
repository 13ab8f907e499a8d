"""What a conftest.py or another plugin may add: models, backends, preparation, machine facts, listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .results.measurement import Measurement, Speedup
    from .workloads.models import Model


@pytest.hookspec
def pytest_metalperf_models() -> Sequence[Model]:  # type: ignore[empty-body]
    """Models that tests may ask for by name: `return [Model("ranker", build_ranker, sizes={…})]`.

    Their builders return what those return that `metal_bench` is given: a compiled Keras model with a batch, what PyTorch's,
    JAX' or MLX' users write in its place, or a `Step`.
    """


@pytest.hookspec
def pytest_metalperf_backends() -> Mapping[str, Callable[[], Any]]:  # type: ignore[empty-body]
    """Backends by name: classes of a module that derive from `pytest_metalperf.worker.backends.Backend`.

    A worker imports the class from its file, so that file must be importable where the training runs. There the base
    class has another name; a backend that must also work without the plugin installed need not derive from it.
    """


@pytest.hookspec
def pytest_metalperf_prepare() -> Callable[[], object]:  # type: ignore[empty-body]
    """A function that sets a framework up: `return use_two_threads`.

    Every worker calls it when the framework is imported and nothing is computed yet, before the builder's module is imported.
    Workers import no conftest.py, so what one sets there holds in pytest's process alone. The function travels as a builder
    does: one of a module is imported from its file. `metal_live` measures where the suite's own set-up is in force.
    """


@pytest.hookspec
def pytest_metalperf_machine_facts() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Stable facts about this machine (a rack, a cooling stand) to keep beside its baselines."""


@pytest.hookspec
def pytest_metalperf_measured(measurement: Measurement | Speedup) -> None:
    """A measurement or a speedup has its verdict (or its error). Called once per call of a fixture, before the test fails."""
