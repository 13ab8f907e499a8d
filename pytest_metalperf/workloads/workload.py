"""What is trained and how: a workload, its axes, and the readable id under which its baseline is stored."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Axis = str | int | float | bool | None

DEFAULTS: dict[str, Axis] = {"precision": "float32", "jit_compile": False, "remat": False, "input": "device"}
"""Axes that stay out of the id while they have these values, so that a new axis orphans no baseline."""

BACKEND_DEFAULTS: dict[str, dict[str, Axis]] = {"jax": {"jit_compile": True}}
"""Where a backend's own default differs: JAX without compilation dispatches each operation by itself, as nobody trains."""

INPUTS = ("device", "host", "pipeline")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


class WorkloadError(ValueError):
    """One sentence about a workload that cannot be asked for."""


@dataclass(frozen=True)
class Workload:
    """One thing to train on one device with one backend.

    Attributes:
        name: the model's, or the one that the test gives.
        axes: `image_size`, `batch_size`, `precision`, `jit_compile`, `remat` (gradient checkpointing), `input` (`device`:
            the batch is there already; `host`: copied in every step; `pipeline`: copied ahead of time, in the
            background), and whatever else the builder declares.
        device: `cpu`, `gpu`, `gpu:1`, or `live` for objects of the pytest process.
        backend: `tensorflow`, …; empty for `live`.
        source: how a fresh process finds the builder (see `sources.py`).
        seed: of weights and data.
        defaults: the builder's own, of axes that are its alone; an axis at its default is not in the id.
        where: with `live`, the device of the objects as far as they show it: `cpu`, `gpu`, `gpu:1`, or empty.
    """

    name: str
    device: str
    backend: str
    axes: Mapping[str, Axis] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    defaults: Mapping[str, Axis] = field(default_factory=dict)
    where: str = ""

    @property
    def id(self) -> str:
        """`resnet50v2[64px,b8,mixed_float16]@gpu:tensorflow`; of objects in the test's process `step@live-gpu:torch`."""
        named = {key: value for key, value in self.axes.items() if not _is(value, self.defaults, key)}
        inner = ",".join(axis_words(named, self.backend))
        device = f"{self.device}-{self.where}" if self.where else self.device
        where = f"{device}:{self.backend}" if self.backend else device
        return f"{self.name}[{inner}]@{where}" if inner else f"{self.name}@{where}"

    @property
    def label(self) -> str:
        """The id without its place: what varies within one device and backend."""
        return self.id.rpartition("@")[0]

    @property
    def whole_axes(self) -> dict[str, Axis]:
        """The axes with the defaults of those that were not named."""
        return {**defaults_of(self.backend), **self.defaults, **self.axes}

    @property
    def older_id(self) -> str:
        """The id under which 0.1 stored this: with axes at the builder's defaults, and without what `live` objects are."""
        backend = "" if self.device == "live" else self.backend
        return replace(self, backend=backend, defaults={}, where="").id


def _is(value: Axis, defaults: Mapping[str, Axis], key: str) -> bool:
    """Whether that is the default, to the type and the sign: a builder may tell 1 from 1.0 and True, and 0.0 from -0.0."""
    return key in defaults and type(value) is type(defaults[key]) and repr(value) == repr(defaults[key])


def defaults_of(backend: str) -> dict[str, Axis]:
    """The axes that every workload has, at their defaults for this backend."""
    return {**DEFAULTS, **BACKEND_DEFAULTS.get(backend, {})}


def axis_words(axes: Mapping[str, Axis], backend: str = "") -> list[str]:
    """The axes as they stand in an id: sizes first, then what is not at its default, by name."""
    defaults = defaults_of(backend)
    rest = {key: value for key, value in axes.items() if key not in defaults or value != defaults[key]}
    words = []
    if "image_size" in rest:
        words.append(f"{rest.pop('image_size')}px")
    if "batch_size" in rest:
        words.append(f"b{rest.pop('batch_size')}")
    if "precision" in rest:
        words.append(str(rest.pop("precision")))
    if "jit_compile" in rest:
        words.append("jit" if rest.pop("jit_compile") else "nojit")
    if rest.pop("remat", False):
        words.append("remat")
    return words + [f"{key}={value}" for key, value in sorted(rest.items())]


def plain_value(value: Any) -> Any:
    """What of NumPy's scalars, text and number enumerations, and other subclasses travels and is stored: the plain value."""
    if isinstance(value, enum.Enum) and isinstance(value, (str, int, float)):
        value = value.value
    if type(value).__module__.partition(".")[0] == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return int.__int__(value) if isinstance(value, int) and not isinstance(value, bool) else value


def checked_axes(axes: Mapping[str, object], name: str) -> dict[str, Axis]:
    """`axes` as plain values, or one sentence about the one that is not.

    Raises:
        WorkloadError: for a value that is no plain value, or that its axis cannot have.
    """
    out: dict[str, Axis] = {}
    for key, given in axes.items():
        value = plain_value(given)
        if not isinstance(key, str) or not key.isidentifier():
            raise WorkloadError(f"{name}: {key!r} is no name of an axis; axes are keyword parameters of the builder")
        if value is not None and not isinstance(value, (str, int, float, bool)):
            raise WorkloadError(
                f"{name}: {key}={value!r} is a {type(value).__name__}; axes are plain values (text, numbers, truth values),"
                " since they are part of the name under which a baseline is stored"
            )
        if key in ("batch_size", "image_size") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise WorkloadError(f"{name}: {key} is a whole number from 1, got {value!r}")
        if key == "precision" and value not in PRECISIONS:
            raise WorkloadError(f"{name}: precision {value!r} is none of {', '.join(PRECISIONS)}")
        if key in ("jit_compile", "remat") and not isinstance(value, bool):
            raise WorkloadError(f"{name}: {key} is True or False, got {value!r}")
        if key == "input" and value not in INPUTS:
            raise WorkloadError(f"{name}: input {value!r} is none of {', '.join(INPUTS)}")
        if isinstance(value, str) and not value.isprintable():
            raise WorkloadError(f"{name}: {key}={value!r} cannot be part of a name")
        out[key] = value
    return out


def checked_name(name: object) -> str:
    """A workload's name: printable, and free of the characters that separate the parts of an id.

    Raises:
        WorkloadError: in one sentence.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or set(name) & set("[]@\"'"):
        raise WorkloadError(f"a workload's name is printable text without [ ] @ and quotes, got {name!r}")
    return name.strip()
