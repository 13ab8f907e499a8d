"""The project itself where it is installed: built from a revision's code, or lent to other packages, for that side.

Under tox, or where an editable installation imports by a hook, a checkout on the import path is not what is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .installed import installed, modules
from .installer import Installer, InstallError, find_uv
from .reference import Reference


class NoBuild(Exception):
    """Why a project was not built: a clause that begins in lower case, without a stop."""


def built(reference: Reference, waiting: Callable[[str, float], None] = lambda what, seconds: None) -> Reference:
    """The same reference, whose workers import the project as built from its own code; built once for each interpreter.

    Args:
        reference: a checkout; of what is none, there is nothing to build.
        waiting: hears about once a second what is done, and the seconds that it has taken.

    Raises:
        NoBuild: where the project is not installed here, or cannot be built.
    """
    moved = reference.interpreter.moved
    found = None if moved is None or reference.own_package else next(installed(Path(moved[0])), None)
    if found is None or moved is None:
        raise NoBuild("no distribution of this repository is installed")
    tree, python = Path(moved[1]), reference.interpreter.python or sys.executable
    folder = tree.parent / f"built-{hashlib.sha256(python.encode()).hexdigest()[:8]}"
    try:
        if not folder.exists():
            Installer(find_uv(), waiting).build(tree, folder, python, found.version)
    except InstallError as error:
        raise NoBuild(str(error)) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBuild(f"{type(error).__name__}: {error}") from None
    interpreter = replace(reference.interpreter, first=(str(folder),))
    return replace(reference, interpreter=interpreter, built=folder)


def lent(reference: Reference, top: Path, module: str, folder: Path) -> Reference:
    """The same reference, whose workers import the project from where this interpreter does: its packages alone are others.

    Args:
        reference: of the same code, on an interpreter without the project.
        top: of the repository.
        module: that its workers lack.
        folder: to hold links to the project's modules, of this user alone.

    Raises:
        NoBuild: where the module is none of the project.
    """
    named = modules(top)
    places = {name: place for name in {*named, module} if (place := _place(name)) is not None}
    place = places.get(module)
    if place is None or not (module in named or place.is_relative_to(top)):
        raise NoBuild(f"{module} is no module of this repository")
    links = folder / f"project-{hashlib.sha256(str(sorted(places)).encode()).hexdigest()[:8]}"
    try:
        links.mkdir(exist_ok=True)
        for one in places.values():
            if not (links / one.name).is_symlink():
                (links / one.name).symlink_to(one, target_is_directory=one.is_dir())
    except OSError as error:
        raise NoBuild(f"{links}: {error.strerror}") from None
    return replace(reference, interpreter=replace(reference.interpreter, first=(str(links),)), built=links)


def _place(module: str) -> Path | None:
    """The file or folder of a top-level module, as this process imports it."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    if found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations))).resolve()
    return Path(found.origin).resolve() if found.has_location and found.origin else None
