"""--metal-against FILE: the packages of a requirements file, or of a stack, in an environment of their own."""

from __future__ import annotations

import sys
from pathlib import Path

from ..measure.interpreter import Interpreter
from ..worker.stack import installed
from .collected import collected
from .environment import Environments, NoEnvironment
from .reference import BadReference, Reference
from .stack_file import BadStack, read_requirements


def is_requirements(text: str) -> bool:
    """Whether --metal-against names such a file: by its suffix, so that no file of another name hides a revision."""
    try:
        return text.endswith(".txt") and Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def of_requirements(text: str, environments: Environments) -> Reference:
    """An interpreter with the packages that a file names, in these very versions, and with what pytest's process needs.

    Raises:
        BadReference: in one sentence.
    """
    today = collected(installed())
    try:
        stack = read_requirements(Path(text).expanduser(), today.stack)
        made = environments.of(stack, today.tools)
    except BadStack as error:
        raise BadReference(f"--metal-against {error}") from None
    except NoEnvironment as error:
        raise BadReference(f"--metal-against {text}: cannot be installed: {error}") from None
    python = stack.python.partition(" ")[2] or sys.version.split()[0]
    return Reference(text, Interpreter(name=text, python=str(made.python), own_packages=True), python, packages=stack)
