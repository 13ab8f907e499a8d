"""Which framework the objects of a `metal_live` step belong to, and on which device they lie, as far as they show it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any

from ..worker.held import reached

_FRAMEWORKS = {
    "keras": "keras", "tf_keras": "tensorflow", "tensorflow": "tensorflow", "torch": "torch", "jax": "jax",
    "jaxlib": "jax", "flax": "jax", "optax": "jax", "mlx": "mlx",
}  # fmt: skip
_MOST = 2000  # objects looked at: a step that refers to a data set must not cost seconds
_ELEMENTS = 50
_DEPTH = 6  # step, its fixture's object, that one's model: what lies deeper is hardly the step's
_NOT_THEIRS = ("_pytest", "pytest", "pluggy", "pytest_metalperf", "numpy")


def home_of(step: Callable[[], Any]) -> tuple[str, str]:
    """The framework and the device (`cpu`, `gpu`, `gpu:1`) of what `step` refers to; empty where that shows none, or several.

    Objects show it, by their types and by the device of what they hold; without any, modules show the framework. Nothing
    is called that computes, and what is not imported already is not imported.
    """
    objects, modules = [], set()
    for one in _reached(step):
        if isinstance(one, (ModuleType, FunctionType)):
            modules |= {_framework(str(one.__name__ if isinstance(one, ModuleType) else one.__module__))} - {""}
        elif backend := _framework_of(one):
            objects.append((backend, one))
    backends = {backend for backend, _ in objects} or modules
    if len(backends) != 1:
        return "", ""
    models = [one for _, one in objects if _weights(one) is not None]
    found = {device for one in models for device in _devices(_weights(one) or ())}
    if not models:
        found = _devices(one for _, one in objects)
    return backends.pop(), found.pop() if len(found) == 1 else ""


def _reached(step: Callable[[], Any]) -> Iterator[Any]:
    """What a function refers to, less what is pytest's or ours; a framework's objects are not looked into."""
    found = reached(step, lambda one: not _is_foreign(one) and not _is_a_frameworks(one), _DEPTH, _ELEMENTS)
    return (one for one in islice(found, _MOST) if not _is_foreign(one))


def _package(one: Any) -> str:
    return str(one.__module__ if isinstance(one, FunctionType) else type(one).__module__).partition(".")[0]


def _is_foreign(one: Any) -> bool:
    return _package(one) in _NOT_THEIRS


def _is_a_frameworks(one: Any) -> bool:
    return _package(one) in _FRAMEWORKS or isinstance(one, ModuleType) or bool(_framework_of(one))


def _framework_of(one: Any) -> str:
    """By the modules of an object's classes: Keras' first, since its models are those of its backend too."""
    if isinstance(one, type):
        return ""
    if type(one).__module__ == "builtins":  # a compiled function of theirs says so itself
        return ""
    found = {_framework(base.__module__) for base in type(one).__mro__ if isinstance(base.__module__, str)} - {""}
    keras = any(base.__module__.partition(".")[0] == "keras" for base in type(one).__mro__ if base.__module__)
    return _framework("keras") if keras else found.pop() if len(found) == 1 else ""


def _framework(module: str) -> str:
    found = _FRAMEWORKS.get(module.partition(".")[0], "")
    if found != "keras":
        return found
    try:
        return str(sys.modules["keras"].backend.backend())
    except (KeyError, AttributeError):
        return ""


def _weights(one: Any) -> Iterable[Any] | None:
    """The weights of a model; None of what is none."""
    try:
        if type(one).__module__.startswith("torch.optim") or hasattr(one, "param_groups"):
            return [weight for group in one.param_groups for weight in group["params"]]
        if callable(getattr(one, "parameters", None)) and hasattr(one, "state_dict"):
            return list(one.parameters())
        if hasattr(one, "trainable_variables"):
            return [getattr(variable, "value", variable) for variable in one.trainable_variables]
    except Exception:  # a property of theirs
        return None
    return None


def _devices(weights: Iterable[Any]) -> set[str]:
    return {device for weight in weights if (device := _device(weight))}


def _device(array: Any) -> str:
    """`cpu`, `gpu` or `gpu:1`, from what TensorFlow, PyTorch and JAX say; empty for any other kind, and for several."""
    try:
        value = array() if callable(array) and type(array).__name__ == "method" else array
        of_jax = getattr(value, "devices", None)
        if callable(of_jax):
            devices = {f"{device.platform}:{device.id}" for device in of_jax()}
            text = devices.pop() if len(devices) == 1 else ""
        else:
            text = str(getattr(value, "device", ""))
    except Exception:  # donated, deleted, symbolic
        return ""
    found = re.search(r"(?:^|:)(cpu|gpu|cuda|mps|metal|rocm)(?::(\d+))?$", text, re.IGNORECASE)
    if not found:
        return ""
    if found[1].lower() == "cpu":
        return "cpu"
    return "gpu" if found[2] in (None, "0") else f"gpu:{found[2]}"
