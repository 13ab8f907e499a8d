"""Turning what the parent says of a function back into the function."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .closures import with_file
from .problems import Problem, first_line, out_of_memory, user_traceback

Source = Mapping[str, Any]
"""One of `{"kind": "reference", "name": "module:function", "package": "models"}` (ours),
`{"kind": "import", "module", "file", "name"}`, `{"kind": "pickle", "module", "file", "name", "pickle"}`."""


def load(source: Source) -> Callable[..., Any]:
    """The function (or class) that `source` describes.

    Raises:
        Problem: of kind ``builder``, with the user's own traceback, when its module or pickle cannot be loaded.
    """
    if source["kind"] == "reference":
        module_name, _, function = source["name"].partition(":")
        try:
            module = importlib.import_module(f"{__package__}.{source['package']}.{module_name}")
        except ModuleNotFoundError as error:
            _check_keras(module_name, error)
            raise
        return getattr(module, function)  # type: ignore[no-any-return]
    try:
        root = source.get("root")
        if root and root not in sys.path:
            sys.path.append(root)
        module = _module(source["module"], source["file"])
        if source["kind"] == "pickle":
            try:
                import cloudpickle
            except ImportError:
                raise Problem(
                    "builder",
                    f"{source['name']} is a closure, and {sys.executable} has no cloudpickle to read it: pip install cloudpickle"
                    " there, or make it a function of the module with keyword parameters",
                ) from None

            return with_file(cloudpickle.loads(source["pickle"]), source["file"])  # type: ignore[no-any-return]
        value: Any = module
        for part in source["name"].split("."):
            value = getattr(value, part)
        return value  # type: ignore[no-any-return]
    except Problem:
        raise
    except BaseException as error:  # a module may call sys.exit or pytest.skip while it is imported
        _check_keras(source["name"], error)
        raise Problem(
            "builder",
            f"{source['name']} cannot be loaded in a fresh process from {source['file']}: {first_line(error)}",
            user_traceback(error),
        ) from error


def _check_keras(name: str, error: BaseException) -> None:
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == "keras":
        raise Problem(
            "builder", f"{name} needs Keras, which is not installed: pip install 'pytest-metalperf[keras]'"
        ) from error


def _module(name: str, file: str) -> ModuleType:
    """Import `name`; where that name means another file (or none), import `file` itself under that name.

    On another host the file may lie elsewhere: there the name alone must do.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is not None and spec.origin and (_same_file(spec.origin, file) or not Path(file).exists()):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python source at {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    spec.loader.exec_module(module)
    return module


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def interpreter_folders() -> list[str]:
    """Where this interpreter and what is installed in it lie. Not its prefix: a project may lie below that."""
    paths = sysconfig.get_paths()
    found = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found += [entry for entry in sys.path if entry.endswith(f"python{sys.version_info[0]}{sys.version_info[1]}.zip")]
    return sorted({os.path.realpath(folder) for folder in found})


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these folders or lies in one."""
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(folder + os.sep) for folder in folders)


def check_imports(expected: Mapping[str, str]) -> None:
    """Raise when a module of the user's is another file here than in the process that asks.

    Args:
        expected: files by the names of modules.

    Raises:
        Problem: of kind ``builder``, with both files.
    """
    for name, theirs in expected.items():
        mine = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(mine, str) and os.path.realpath(mine) != os.path.realpath(theirs):
            raise Problem(
                "builder",
                f"{name} is imported from {mine} in the worker, and from {theirs} by pytest: what would be timed is not"
                " what is tested; uninstall the copy, or set pytest's `pythonpath` to the folder of the one that you mean",
            )


def move(old: str, new: str) -> None:
    """Import from `new` whatever would come from `old`, and stand there; what belongs to the interpreter stays."""
    for index, entry in enumerate(sys.path):
        sys.path[index] = moved(entry or str(Path.cwd()), old, new)
    importlib.invalidate_caches()
    here = moved(str(Path.cwd()), old, new)
    if Path(here).is_dir():
        os.chdir(here)


def moved(path: str, old: str, new: str) -> str:
    """`path` with `new` in the place of `old`, if it lies below it and outside the interpreter's own folders."""
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(old) or is_below(path, interpreter_folders()):
        return path
    return str(Path(new) / resolved.relative_to(old))


def takes(function: Callable[..., Any]) -> Callable[[str], bool]:
    """Whether a builder declares an argument of that name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return lambda name: False
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    declared = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return lambda name: takes_all or name in declared


def declares(function: Callable[..., Any], name: str) -> bool:
    """Whether a builder names that argument itself."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def call_builder(function: Callable[..., Any], name: str, axes: Mapping[str, Any], device: Any) -> Any:
    """Call a builder with those `axes` that it declares; others act on the model that it returns, or are set around it.

    One that declares `device` gets the framework's own object.
    """
    given = takes(function)
    arguments = {key: value for key, value in axes.items() if given(key)}
    try:
        return function(**arguments, **({"device": device} if declares(function, "device") else {}))
    except Problem:
        raise
    except BaseException as error:  # sys.exit, pytest.skip
        if out_of_memory(error):
            raise
        _check_keras(name, error)
        raise Problem(
            "builder",
            f"the builder of {name} raised {first_line(error)}",
            user_traceback(error),
        ) from error
