"""How a function of the user's travels to a fresh process: by file and name, or, if a closure, by value.

pytest rewrites the asserts of test modules, and a rewritten function drags `_pytest` along. So nothing of a
rewritten module is pickled: a closure's code is compiled anew from its plain source first.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

from .workload import DEFAULTS, INPUTS, PRECISIONS, Axis, WorkloadError

_REWRITTEN = "@pytest_ar"  # the name that pytest's assertion rewriting puts into a module


def source_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Describe `function` so that `worker/sources.py` finds or rebuilds it.

    Raises:
        WorkloadError: in one sentence, for what has no source file or cannot be pickled.
    """
    owner = getattr(function, "__self__", None)
    if owner is not None and not inspect.isclass(owner) and not inspect.ismodule(owner):
        raise WorkloadError(
            f"{name}: {function.__qualname__} is bound to a {type(owner).__name__} object, which a fresh process does not have:"
            " make it a function, or measure the object where it is with metal_live"
        )
    module, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if inspect.isclass(owner):  # a class method of the class that it was asked of, not of the one that defines it
        module, qualified = owner.__module__, f"{owner.__qualname__}.{function.__name__}"
    if module and qualified and inspect.isroutine(function) | inspect.isclass(function):
        file = _file(module, function)
        if file is None:
            raise WorkloadError(f"{name}: {qualified} has no source file ({module}); put it into a module")
        described = {"module": module, "file": file, "name": qualified, "root": _root(module, file)}
        if _importable(function, module, qualified):
            return {"kind": "import", **described}
        return {"kind": "pickle", **described, "pickle": _pickled(function, name)}
    raise WorkloadError(
        f"{name}: {function!r} is no function; metal_bench takes a reference model's name or a function that builds a model"
        " (functools.partial and callable objects: write a function around them)"
    )


def _importable(function: Callable[..., Any], module: str, qualified: str) -> bool:
    """Whether that name in that module is this function: a wrapper bears the name of what it wraps (functools.wraps)."""
    if "<locals>" in qualified or "<lambda>" in qualified:
        return False
    found: Any = sys.modules.get(module)
    if found is None:
        return True
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return bool(found == function)


def parameters_of(function: Callable[..., Any]) -> frozenset[str] | None:
    """The keyword parameters that a builder declares; None where it takes any, or hides them."""
    declared = _declared(function)
    if declared is None or any(p.kind is p.VAR_KEYWORD for p in declared.values()):
        return None
    return frozenset(p.name for p in declared.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def own_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """A builder's own defaults of axes whose meaning is ours: with them it trains where a test names none."""
    defaults = {name: parameter.default for name, parameter in (_declared(function) or {}).items()}
    possible = {"precision": PRECISIONS, "input": INPUTS, "remat": (False, True), "jit_compile": (False, True)}
    found = {name: defaults[name] for name, values in possible.items() if defaults.get(name) in values}
    sizes = {name: defaults[name] for name in ("image_size", "batch_size") if type(defaults.get(name)) is int}
    return {**sizes, **found}


def plain_defaults(function: Callable[..., Any]) -> dict[str, Axis]:
    """A builder's own defaults of axes that are its alone: passed or not, with these values it is the same workload."""
    ours = {*DEFAULTS, "image_size", "batch_size", "device"}
    return {
        name: parameter.default
        for name, parameter in (_declared(function) or {}).items()
        if name not in ours and (parameter.default is None or type(parameter.default) in (str, int, float, bool))
    }


def _declared(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Its parameters; None where it hides them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _file(module: str, function: Callable[..., Any]) -> str | None:
    """Of the module that made it: under its name there may be another by now, as there are several conftest.py."""
    names = getattr(function, "__globals__", {})
    own = names.get("__file__") if names.get("__name__") == module else None  # a wrapper's are its decorator's
    file = own or getattr(sys.modules.get(module), "__file__", None)
    return str(Path(file).resolve()) if file and file.endswith(".py") else None


def _root(module: str, file: str) -> str:
    """The folder in which `module`'s outermost package lies: relative imports need it on the path."""
    path = Path(file)
    depth = module.count(".") + (path.name == "__init__.py")
    return str(path.parents[min(depth, len(path.parents) - 1)])


def _pickled(function: Callable[..., Any], name: str) -> bytes:
    import cloudpickle

    try:
        plain = plain_function(function) if isinstance(function, FunctionType) else function
        pickled: bytes = cloudpickle.dumps(plain)
    except Exception as error:
        raise WorkloadError(
            f"{name}: this closure cannot be sent to a fresh process ({type(error).__name__}: {error}): make it a function"
            " of the module with keyword parameters, or measure the objects where they are with metal_live"
        ) from error
    return pickled


def plain_function(function: FunctionType, _seen: dict[int, FunctionType] | None = None) -> FunctionType:
    """`function` as Python compiles it, without pytest's rewriting; closures in its cells likewise.

    Raises:
        LookupError: when its source does not hold it any more.
    """
    if _REWRITTEN not in function.__globals__:
        return function
    seen = {} if _seen is None else _seen
    if id(function) in seen:
        return seen[id(function)]
    if _importable(function, function.__module__, function.__qualname__):
        return function  # pickled by name, and imported from its plain source in the worker
    code = _plain_code(function.__code__)
    made = {name: CellType() for name in code.co_freevars}
    plain = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, tuple(made[n] for n in code.co_freevars)
    )
    plain.__kwdefaults__ = function.__kwdefaults__
    plain.__qualname__, plain.__module__, plain.__doc__ = function.__qualname__, function.__module__, function.__doc__
    plain.__dict__.update(function.__dict__)
    seen[id(function)] = plain
    wrapped = function.__dict__.get("__wrapped__")
    if isinstance(wrapped, FunctionType):
        plain.__dict__["__wrapped__"] = plain_function(wrapped, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name not in made:
            continue
        try:
            value = cell.cell_contents
        except ValueError:  # not yet assigned: a later function of the same body
            continue
        made[name].cell_contents = plain_function(value, seen) if isinstance(value, FunctionType) else value
    return plain


def _plain_code(rewritten: CodeType) -> CodeType:
    source = Path(rewritten.co_filename).read_bytes()
    same = [
        code
        for code in _codes(compile(source, rewritten.co_filename, "exec", dont_inherit=True))
        if (code.co_name, code.co_firstlineno) == (rewritten.co_name, rewritten.co_firstlineno)
        and set(code.co_freevars) == set(rewritten.co_freevars)
        and code.co_varnames[: code.co_argcount] == rewritten.co_varnames[: rewritten.co_argcount]
    ]
    exact = [code for code in same if _does(code) == _does(rewritten)]
    for candidates in (exact, same):
        if candidates:
            return candidates[0]
    raise LookupError(f"{rewritten.co_filename} changed since it was imported: {rewritten.co_name} is not in it")


def _does(code: CodeType) -> tuple[Any, ...]:
    """What tells the work of one function from another's of the same line."""
    return code.co_code, code.co_names, tuple((type(constant), constant) for constant in code.co_consts)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
