"""The project itself where it is installed: built from a revision's code, for that side of a comparison.

Under tox, or where an editable installation imports by a hook, a checkout on the import path is not what is imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .installed import installed
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
