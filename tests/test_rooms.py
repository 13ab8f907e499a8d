"""The rooms of the package: which of them may know which, read from their imports (lazy ones and those for types too)."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pytest_metalperf

HOUSE = Path(pytest_metalperf.__file__).parent
ROOMS = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in HOUSE.rglob("*.py")}


def imports(room: str) -> set[str]:
    """What a room imports: its neighbours by their place in the package, `worker.loop`, and all else by its name."""
    found = set()
    package = ["pytest_metalperf", *room.split(".")[:-1]]
    for node in ast.walk(ast.parse(ROOMS[room].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found |= {_neighbour(f"{base}.{alias.name}") or _neighbour(base) or base for alias in node.names}
    return found


def _neighbour(name: str) -> str:
    inside = name.removeprefix("pytest_metalperf.") if name.startswith("pytest_metalperf.") else ""
    return next((room for room in (inside, f"{inside}.__init__") if room in ROOMS), "")


def test_no_two_rooms_lead_to_each_other():
    graph = {room: imports(room) & ROOMS.keys() for room in ROOMS}
    assert len(list(TopologicalSorter(graph).static_order())) == len(ROOMS)
    assert {"bench", "fleet", "gate.verdict", "worker.loop"} <= ROOMS.keys()
    assert {"judging", "session"} <= graph["bench"]


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("worker.")])
def test_what_is_shipped_to_workers_needs_nothing_that_is_not(room):
    outside = imports(room) & ROOMS.keys() - {name for name in ROOMS if name.startswith("worker.")}
    assert not outside
    assert not {name for name in imports(room) if name.startswith(("pytest", "execnet", "msgspec", "scipy"))}


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("gate.")])
def test_the_gate_knows_numbers_alone(room):
    known = {name.partition(".")[0] for name in imports(room)}
    assert known <= {"__future__", "collections", "dataclasses", "functools", "math", "statistics", "typing"} | {
        "gate",
        "numpy",
        "scipy",
    }


def test_baselines_know_no_pytest_and_no_statistics():
    assert not imports("baselines") & {"pytest", "numpy", "scipy", "statistics"}
    assert not imports("baselines") & ROOMS.keys()


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("reports.")])
def test_reports_never_measure(room):
    assert not imports(room) & {"fleet", "judging", "interleave", "live", "speedup", "bench", "recording"}
