"""A closure that was sent by value, with the name of the file that it stands in."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import Any

from .held import cells_of

_NOWHERE = "<dynamic-code>"
"""What cloudpickle writes for the file of all code that it sends by value."""


def with_file(function: Any, file: str, _seen: set[int] | None = None) -> Any:
    """`function` as its file has it: cloudpickle leaves out where code is from, and a traceback would not say it.

    Functions in its cells are of the file of their own module. Code that came by name keeps what it says.
    """
    seen = set() if _seen is None else _seen
    if not isinstance(function, FunctionType) or id(function) in seen:
        return function
    seen.add(id(function))
    function.__code__ = _named(function.__code__, file)
    for one in (getattr(function, "__wrapped__", None), *cells_of(function)):
        module = sys.modules.get(str(getattr(one, "__module__", "")))
        with_file(one, getattr(module, "__file__", None) or file, seen)
    return function


def _named(code: CodeType, file: str) -> CodeType:
    if code.co_filename != _NOWHERE:
        return code
    constants = tuple(_named(one, file) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=file, co_consts=constants)
