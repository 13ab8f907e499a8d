"""Which framework the objects of a `metal_live` step belong to, and on which device they lie, as far as they show it."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_FRAMEWORKS = {
    "keras": "keras", "tf_keras": "tensorflow", "tensorflow": "tensorflow", "torch": "torch", "jax": "jax",
    "jaxlib": "jax", "flax": "jax", "optax": "jax",
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
    """What a function refers to, breadth first: its cells, the globals that it names, what these hold."""
    seen: dict[int, Any] = {}
    waiting: deque[tuple[Any, int]] = deque([(step, 0)])
    while waiting and len(seen) < _MOST:
        one, depth = waiting.popleft()
        module = one.__module__ if isinstance(one, FunctionType) else type(one).__module__
        package = str(module).partition(".")[0]
        if id(one) in seen or package in _NOT_THEIRS:
            continue
        seen[id(one)] = one
        yield one
        if depth < _DEPTH and package not in _FRAMEWORKS and not isinstance(one, ModuleType) and not _framework_of(one):
            waiting.extend((held, depth + 1) for held in _held(one))


def _held(one: Any) -> Iterable[Any]:
    if isinstance(one, MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, FunctionType):
        names = set(_names(one.__code__))
        cells = [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        named = [value for name, value in one.__globals__.items() if name in names]
        return [*cells, *named, *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values(), *one.__dict__.values()]
    if isinstance(one, dict):
        return list(one.values())[:_ELEMENTS]
    if isinstance(one, (list, tuple, set, frozenset)):
        return list(one)[:_ELEMENTS]
    if isinstance(one, type):
        return []
    return list(getattr(one, "__dict__", {}).values())[:_ELEMENTS] if type(one).__module__ != "builtins" else []


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # assigned later, or never
        return False
    return True


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
