"""What a step of the user's own holds: it tells which framework the step belongs to, and on which device it computes."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
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
    found = reached(step, lambda one: not isinstance(one, FunctionType) or one.__globals__ is names, DEEPEST, MOST)
    return islice(found, 1, None)


def reached(step: Any, follows: Callable[[Any], bool], deepest: int, most: int) -> Iterator[Any]:
    """`step` and what it refers to, breadth first, each object once.

    Args:
        step: a function, or an object that is called like one.
        follows: whether to look into an object that was reached.
        deepest: references between the step and the last object.
        most: parts of one object that are looked at.
    """
    seen: dict[int, Any] = {}  # the objects too, so that no other gets the number of one that is gone
    left: deque[tuple[Any, int]] = deque([(step, 0)])
    while left:
        one, depth = left.popleft()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        yield one
        if depth < deepest and follows(one):
            left.extend((part, depth + 1) for part in islice(_parts(one), most))


def cells_of(function: FunctionType) -> Iterator[Any]:
    """What a function's closure holds; a name that was not bound yet is left out."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue


def _function(step: Any) -> Any:
    """The function of the user's that a partial, a method or an object with `__call__` calls."""
    while isinstance(step, functools.partial):
        step = step.func
    if not isinstance(step, (FunctionType, MethodType)):
        step = getattr(step, "__wrapped__", None) or vars(type(step)).get("__call__", step)
    return getattr(step, "__func__", step)


def _parts(one: Any) -> Iterable[Any]:
    """What one object holds."""
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, FunctionType):
        return _of_function(one)
    if isinstance(one, Mapping):
        return one.values()
    if isinstance(one, (list, tuple, set, frozenset)):
        return one
    if isinstance(one, (ModuleType, type)):
        return ()
    return [*getattr(one, "__dict__", {}).values(), vars(type(one)).get("__call__")]


def _of_function(function: FunctionType) -> Iterator[Any]:
    yield from cells_of(function)
    yield from vars(function).values()  # what it wraps is among them
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    names = function.__globals__
    yield from [names[name] for name in dict.fromkeys(_names(function.__code__)) if name in names]


def _names(code: CodeType) -> Iterator[str]:
    """The globals that a function's code names, and those of functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
