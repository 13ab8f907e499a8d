"""What a step of the user's own holds: where it lies tells on which device the step computes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

DEEPEST = 4
"""Steps from one object to the next, such as a step's trainer, its models, one of them."""
MOST = 1000
"""Objects of one list or dict that are looked at: a batch is one object, and a data set of lists may be millions."""


def held_by(step: Callable[..., Any]) -> Iterator[Any]:
    """The objects that a function reaches: its closure, what it is bound to, its defaults, and globals that it names.

    Also what lies in these: in lists and dicts, in objects of the user's classes, and in functions of the same module.
    """
    names = getattr(_function(step), "__globals__", {})
    seen: dict[int, Any] = {}  # the objects too, so that no other gets the number of one that is gone
    left = [(step, 0)]
    while left:
        one, depth = left.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if depth:
            yield one
        if depth < DEEPEST:
            left += [(part, depth + 1) for part in islice(_parts(one, names), MOST)]


def _function(step: Any) -> Any:
    """The function of the user's that a partial, a method or an object with `__call__` calls."""
    while isinstance(step, functools.partial):
        step = step.func
    if not isinstance(step, (FunctionType, MethodType)):
        step = getattr(step, "__wrapped__", None) or vars(type(step)).get("__call__", step)
    return getattr(step, "__func__", step)


def _parts(one: Any, names: Mapping[str, Any]) -> Iterable[Any]:
    """What one object holds; `names` are the globals of the step's module, beyond which no function is followed."""
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, FunctionType):
        return _of_function(one) if one.__globals__ is names else ()
    if isinstance(one, Mapping):
        return one.values()
    if isinstance(one, (list, tuple, set, frozenset)):
        return one
    if isinstance(one, (ModuleType, type)):
        return ()
    return [*_attributes(one), vars(type(one)).get("__call__")]


def _attributes(one: Any) -> list[Any]:
    try:
        return list(vars(one).values())
    except TypeError:  # it has none, as numbers and texts
        return []


def _of_function(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that was not bound yet
            continue
    yield from vars(function).values()  # what it wraps is among them
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from [function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__]
