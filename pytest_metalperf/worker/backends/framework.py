"""One framework in one fresh process: devices, placement, seeds, precisions; Keras comes on top, where a model is Keras'."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import platform
import random
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from ..imported import when_imported
from ..loop import Trainable
from ..problems import Problem, first_line
from ..step import Step
from . import PRECISIONS, Backend, steps

KERAS_MODEL = "a compiled keras.Model with one batch, `return model, (x, y)`"


class Framework(Backend):
    """A framework that trains; it imports no Keras, and sets it up where somebody else does."""

    framework = ""
    """As KERAS_BACKEND names it."""
    called = ""
    """As people name it."""
    install = ""
    """The extra that installs it."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions can change the speed, beside the framework itself."""
    keras_side = ""
    """Module and class, below `backends`, of Keras on it; empty where Keras does not train on it here."""
    shorthand = ""
    """What a builder may return in its place, `return module, …`; empty for none."""

    def __init__(self) -> None:
        if self.keras_side:
            os.environ["KERAS_BACKEND"] = self.framework
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # TensorFlow's and XLA's
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # NVML's order: gpu:1 is the same card for both
        try:
            self.import_framework()
        except ImportError as error:
            raise Problem(
                "backend",
                f"{self.called} cannot be imported by {platform.python_implementation()} {platform.python_version()}"
                f" ({first_line(error)}): pip install 'pytest-metalperf[{self.install}]'",
            ) from error
        self.device = "cpu"
        self.precision = "float32"
        self.seeded = 0

    @abstractmethod
    def import_framework(self) -> None:
        """Import the framework, and nothing that would already choose a device.

        Raises:
            ImportError: when it is not there.
        """

    def versions(self) -> dict[str, str]:
        found = {"python": platform.python_version()}
        if (keras := getattr(sys.modules.get("keras"), "__version__", None)) is not None:
            found["keras"] = str(keras)  # whichever distribution it is of
        for name in ("numpy", *self.packages):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
        if "tf_keras" in sys.modules:  # a step of the user's own may train a model of Keras 2
            found["tf_keras"] = metadata.version("tf_keras")
        return found

    def why_missing(self, device: str, devices: Mapping[str, str]) -> str:
        if "gpu" in devices:
            there = ", ".join(devices)
            return f"{self.called} sees no {device} here; there is {there} (gpu is the first, gpu:1 the second)"
        return f"{self.called} sees no GPU here{self.why_no_gpu()}"

    def why_no_gpu(self) -> str:
        """The remedy, after `… sees no GPU here`, where one is known."""
        return ""

    def hide(self, device: str) -> None:
        self.device = device
        if device == "cpu":  # also from a framework that the user's step imports itself; read when CUDA or HIP begin
            os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIP_VISIBLE_DEVICES"] = "-1"

    def set_up(self, device: str, precision: str, seed: int) -> None:
        if precision not in PRECISIONS:
            raise Problem("device", f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        index = int(device.partition(":")[2] or 0)
        if device != "cpu" and device not in self.devices():
            raise Problem("device", self.why_missing(device, self.devices()))
        self.device, self.precision, self.seeded = device, precision, seed
        self.make_default(index)
        self.seed(seed)
        if precision != "float32":
            self.try_precision(precision)
        if self.keras_side:
            when_imported("keras", self._set_keras_up)

    def _set_keras_up(self, keras: Any) -> None:
        """Seed and precision; the builder imports Keras, in its module or when it is called."""
        if int(keras.__version__.partition(".")[0]) < 3 or keras.backend.backend() != self.framework:
            raise Problem(
                "backend",
                f"Keras {keras.__version__} on {keras.backend.backend()} was imported; this needs Keras 3 on {self.called}"
                " (and no tf_keras: unset TF_USE_LEGACY_KERAS)",
            )
        keras.utils.set_random_seed(self.seeded)  # what drew at random while it was imported changes no weight
        keras.config.set_dtype_policy(self.precision)

    def seed(self, seed: int) -> None:
        """Python's, NumPy's and the framework's own random numbers."""
        import numpy

        random.seed(seed)
        numpy.random.seed(seed)

    @abstractmethod
    def make_default(self, index: int) -> None:
        """Make all that follows happen on `self.device`, a GPU's number `index`, alone; a CPU's run hides the GPUs."""

    @abstractmethod
    def half(self, dtype: str) -> float:
        """A convolution and a product of ones, cast from float32 to `dtype` as mixed precision casts weights, summed up."""

    def try_precision(self, precision: str) -> None:
        """A convolution and a matrix product in it, where a device that has no kernels for it says so at once.

        Raises:
            Problem: of kind ``device``, when this device cannot.
        """
        dtype = PRECISIONS[precision]
        try:
            self.half(dtype)
        except Exception as error:
            raise Problem(
                "device",
                f"the {self.device} of {self.called} cannot compute in {dtype} ({first_line(error)}):"
                " use precision float32, or another device",
            ) from error

    @abstractmethod
    def try_jit(self) -> None:
        """Compile a small function as `jit_compile` would, and run it; whatever it raises says that this cannot be done."""

    @abstractmethod
    def to_device(self, leaf: Any) -> Any:
        """A fresh copy of one array on the device."""

    waits = False
    """Whether the fence must wait for the whole state by itself; where a device runs in order, the last value tells."""

    @abstractmethod
    def leaves(self, value: Any) -> list[Any]:
        """The arrays in a module, an optimizer, or nested dicts, lists and tuples, each once."""

    def floats_in(self, value: Any) -> list[Any]:
        """Those of them that hold floating-point numbers, as parameters do."""
        return [leaf for leaf in self.leaves(value) if "float" in steps.dtype_of(leaf)]

    def trained_in(self, value: Any) -> list[Any]:
        """Those of these that training changes."""
        return self.floats_in(value)

    def wait_for(self, leaves: Iterable[Any]) -> None:
        """Wait until these values are computed."""

    def setter(self, value: Any) -> Callable[[Sequence[Any]], None] | None:  # noqa: ARG002
        """What puts NumPy's arrays into the place of `floats_in(value)`; None where nothing can."""
        return None

    # what trains

    def trainable(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable:
        keras = sys.modules.get("keras") if self.keras_side else None
        if not (
            keras is not None and isinstance(built[0] if isinstance(built, tuple) and built else built, keras.Model)
        ):
            if isinstance(built, Step):
                return self.of_step(built, name, axes)
            found = self.of_shorthand(built, name, axes)
            if found is not None:
                return found
            if callable(built):
                return self.of_step(Step(_no_arguments(built, name, self.returns)), name, axes)
        trained: Trainable = self.on_keras(built, name).trainable(built, name, axes)
        return trained

    @property
    def returns(self) -> str:
        """What a builder may return, in words."""
        ways = [KERAS_MODEL] if self.keras_side else []
        ways += [f"`{self.shorthand}`"] if self.shorthand else []
        return f"a builder returns {', '.join([*ways, 'a Step'])}, or a zero-argument step"

    def of_step(self, step: Step, name: str, axes: Mapping[str, Any]) -> Trainable:
        """What trains a step of the user's own."""
        return steps.of_step(self, step, name, axes)

    def of_shorthand(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable | None:  # noqa: ARG002
        """What trains that, if it is what the framework's users return in the place of a step; None otherwise."""
        return None

    def on_keras(self, built: Any = None, name: str = "") -> Any:
        """Keras on this framework.

        Raises:
            Problem: of kind ``builder``, where there is none: then a builder's `built` is nothing that can be trained.
        """
        if not self.keras_side or ("keras" not in sys.modules and importlib.util.find_spec("keras") is None):
            raise Problem("builder", f"the builder of {name} returned {shape_of(built)}; {self.returns}")
        import keras

        module, _, side = self.keras_side.partition(":")
        return getattr(importlib.import_module(f"{__package__}.{module}"), side)(self, keras)


def named(gpus: Iterable[str]) -> dict[str, str]:
    """The devices of a backend that sees these GPUs: `{"cpu": "", "gpu": "NVIDIA H200", "gpu:1": …}`."""
    return {"cpu": "", **{"gpu" if index == 0 else f"gpu:{index}": name for index, name in enumerate(gpus)}}


def shape_of(value: Any) -> str:
    """`a tuple of 2 (Model, ndarray)`."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {len(value)} ({inner})"
    return "None" if value is None else f"a {type(value).__name__}"


def _no_arguments(step: Callable[..., Any], name: str, returns: str) -> Callable[[], Any]:
    """`step`, if it can be called without any."""
    try:
        needed = [
            p.name
            for p in inspect.signature(step).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return step
    if needed:
        raise Problem("builder", f"the step that {name} returned needs arguments ({', '.join(needed)}); {returns}")
    return step
