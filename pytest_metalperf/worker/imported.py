"""Calling a function as soon as a module has been imported, whoever imports it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(name: str, call: Callable[[ModuleType], object]) -> None:
    """Call `call` with the module of that name: now, where it is imported already, else at the end of its import.

    An earlier wish of the same name is dropped. What `call` raises ends the import, and reaches whoever imports.
    """
    sys.meta_path[:] = [one for one in sys.meta_path if not (isinstance(one, _Finder) and one.name == name)]
    if name in sys.modules:
        call(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, call))


class _Finder(MetaPathFinder):
    """Finds what the other finders find, with a loader that calls; it stays, since to find a module is not to import it."""

    def __init__(self, name: str, call: Callable[[ModuleType], object]) -> None:
        self.name = name
        self._call = call
        self._asking_others = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != self.name or self._asking_others:
            return None
        self._asking_others = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking_others = False
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def then(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._call(module)

        loader.exec_module = then  # of this spec alone: each search makes a loader
        return spec
