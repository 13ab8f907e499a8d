"""Models that tests ask for by name: the reference models and those that plugins add."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..settings import SIZES
from ..worker.models import REFERENCE_MODELS
from .builders import own_defaults, parameters_of, plain_defaults, source_of
from .workload import Axis, WorkloadError, checked_axes, checked_name


@dataclass(frozen=True)
class Model:
    """A named model.

    Attributes:
        name: how tests ask for it.
        build: a function of a module that returns a compiled `keras.Model` with one batch, a `Step`, or a zero-argument step.
        sizes: axes per size, `{"quick": {"batch_size": 8}, "standard": {…}}`; missing sizes have no axes.
    """

    name: str
    build: Callable[..., Any]
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


_SIZES = frozenset({"image_size", "batch_size"})


@dataclass(frozen=True)
class Known:
    """A model as the plugin needs it.

    Attributes:
        name: how tests ask for it.
        source: how a worker finds its builder.
        sizes: axes per size.
        takes: the axes that its builder declares; None where it takes any.
        defaults: the builder's own, of axes that are its alone.
        own: its defaults of axes whose meaning is ours, such as `precision`: it trains so where a test names none.
        backend: the one that it is written for; empty where it may train on several.
    """

    name: str
    source: Mapping[str, Any]
    sizes: Mapping[str, Mapping[str, int]]
    takes: frozenset[str] | None
    defaults: Mapping[str, Axis] = field(default_factory=dict)
    own: Mapping[str, Axis] = field(default_factory=dict)
    backend: str = ""

    def check_backend(self, backend: str) -> None:
        """Whether it trains there, as far as the pytest process can know.

        Raises:
            WorkloadError: in one sentence.
        """
        if self.backend not in ("", backend):
            raise WorkloadError(
                f"{self.name} is written for {self.backend} alone, and this test trains on {backend}: mark it with"
                f' @pytest.mark.metal_bench(backend="{self.backend}"), or give --metal-backend {self.backend}'
            )


def known_models(added: Iterable[Iterable[Model]]) -> dict[str, Known]:
    """All models by name.

    Raises:
        WorkloadError: for two models of one name, and for what is no model.
    """
    found = {
        name: Known(
            name,
            {"kind": "reference", "package": "models", "name": model.build},
            model.sizes,
            model.axes,
            backend=model.backend,
        )
        for name, model in REFERENCE_MODELS.items()
    }
    for model in (model for models in added for model in _listed(models)):
        name = checked_name(model.name)
        if name in found:
            raise WorkloadError(f"two models are named {name!r}: give one of them another name")
        build = model.build
        own = {axis: value for axis, value in own_defaults(build).items() if axis not in _SIZES}  # which `sizes` say
        takes, defaults = parameters_of(build), plain_defaults(build)
        found[name] = Known(name, source_of(build, name), model.sizes, takes, defaults, own)
    return found


def _listed(models: Any) -> Iterable[Model]:
    """What one hook returns, if that is what a hook returns."""
    if not isinstance(models, (list, tuple)):
        raise WorkloadError(f"pytest_metalperf_models: expected a list of Model, got {type(models).__name__}")
    for model in models:
        if not isinstance(model, Model):
            raise WorkloadError(f"pytest_metalperf_models: expected a list of Model, got one with {model!r}")
        whole = isinstance(model.sizes, Mapping)
        if not whole or not all(size in SIZES and isinstance(axes, Mapping) for size, axes in model.sizes.items()):
            raise WorkloadError(
                f"pytest_metalperf_models: {model.name}: sizes maps {', '.join(SIZES)} to axes, such as"
                f' {{"quick": {{"batch_size": 8}}}}; got {model.sizes!r}'
            )
        for size, axes in model.sizes.items():
            checked_axes(axes, f"pytest_metalperf_models: {model.name}: {size}")
    return models


def find(name: str, known: Mapping[str, Known]) -> Known:
    """The model called `name`.

    Raises:
        WorkloadError: that lists what there is.
    """
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise WorkloadError(f"unknown model {name!r}: {hint}there are {', '.join(sorted(known))}")
