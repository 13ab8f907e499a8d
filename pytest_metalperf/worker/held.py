"""What a step of the user's own holds: where it lies tells on which device the step computes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def held_by(step: Callable[..., Any]) -> Iterator[Any]:
    """The objects that a function reaches: its closure, what it is bound to, its defaults, and globals that it names."""
    while isinstance(step, functools.partial):
        yield from _parts([*step.args, *step.keywords.values()])
        step = step.func
    owner = getattr(step, "__self__", None)
    yield from _parts([owner, *getattr(owner, "__dict__", {}).values()])
    function = getattr(step, "__func__", step)
    code = getattr(function, "__code__", None)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield from _parts([cell.cell_contents])
        except ValueError:  # a name that was not bound yet
            continue
    yield from _parts(getattr(function, "__defaults__", None) or ())
    if code is not None:
        names = getattr(function, "__globals__", {})
        yield from _parts([names[name] for name in code.co_names if name in names])


def _parts(objects: Any) -> Iterator[Any]:
    """These, and what lies in them where they are lists, tuples or dicts: batches and states do."""
    for one in objects:
        yield one
        if isinstance(one, Mapping):
            yield from one.values()
        elif isinstance(one, (list, tuple)):
            yield from one
