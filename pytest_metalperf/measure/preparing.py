"""What a suite sets of a framework: functions that workers call for it, and what a conftest.py sets that they do not see."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..workloads.builders import source_of
from ..workloads.workload import WorkloadError

FRAMEWORKS = ("tensorflow", "tf_keras", "keras", "torch", "jax", "mlx")
SETTERS = ("set_", "enable_", "disable_", "use_deterministic_algorithms", "update")
SEEDS = ("seed",)  # a run has its own


def functions(added: Iterable[Any]) -> list[Mapping[str, Any]]:
    """How a worker finds the functions that hooks name.

    Raises:
        WorkloadError: in one sentence, for what is no function or cannot be sent to a worker.
    """
    hook = "pytest_metalperf_prepare"
    for one in added:
        if not callable(one):
            raise WorkloadError(f"{hook}: expected a function, got {type(one).__name__}: return it, do not call it")
    return [source_of(one, hook) for one in added]


def set_by(files: Iterable[Path]) -> list[str]:
    """`conftest.py:5 sets torch.set_num_threads`, for every setting of a framework in these files."""
    found = []
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):  # gone since, or no plain Python: then nothing is known
            continue
        found += [f"{file.name}:{line} sets {name}" for line, name in sorted(set(_settings(tree)))]
    return found


def _settings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every call and assignment that changes a framework's configuration."""
    modules = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func, modules)
            last = name.rpartition(".")[2]
            if last.startswith(SETTERS) and not last.endswith(SEEDS) and ("config" in name or last != "update"):
                yield node.lineno, name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and (name := _name(target, modules)):
                    yield node.lineno, name


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What names stand for, of frameworks' modules and of what is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (top := alias.name.partition(".")[0], top)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _name(node: ast.expr, modules: Mapping[str, str]) -> str:
    """`torch.set_num_threads`, however it was imported; empty for what is of no framework."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    whole = ".".join([modules.get(node.id, ""), *parts]) if isinstance(node, ast.Name) else ""
    return whole if whole.partition(".")[0] in FRAMEWORKS else ""
