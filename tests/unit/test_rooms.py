"""The rooms of the package: which of them may know which, read from their imports (lazy ones and those for types too)."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pytest_metalperf

HOUSE = Path(pytest_metalperf.__file__).parent
ROOMS = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in HOUSE.rglob("*.py")}

TIERS = (
    {"plugin", "__main__"},
    {"bisect", "calibrate", "compare"},
    {"bench"},
    {"judge"},
    {"history", "report", "session"},
    {"measure", "references"},
    {"doctor"},
    {"results", "baselines"},
    {"workloads"},
    {"worker"},
)
"""A room knows those of its own line and of the lines below; no two modules know each other."""
FREE = {"gate", "settings", "items", "hookspecs", "__init__", "suspects", "suite"}
"""Rooms with rules of their own, below."""
CLOCK = {"worker.clock"}
"""What everybody may know: the real time, bound before any test can change it."""


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


def _room(module: str) -> str:
    return module.partition(".")[0]


def test_the_top_holds_what_pytest_calls_and_the_one_path():
    top = {path.stem for path in HOUSE.glob("*.py")}
    assert top <= {"__init__", "__main__", "plugin", "settings", "items", "hookspecs", "bench", "session", "suspects"}


def test_no_two_modules_lead_to_each_other():
    graph = {room: imports(room) & ROOMS.keys() for room in ROOMS}
    assert len(list(TopologicalSorter(graph).static_order())) == len(ROOMS)
    assert {"bench", "measure.fleet", "gate.verdict", "worker.loop"} <= ROOMS.keys()
    assert {"judge.against_baseline", "session"} <= graph["bench"]


def test_every_room_has_its_rule():
    assert {_room(module) for module in ROOMS} == set().union(*TIERS) | FREE


@pytest.mark.parametrize("module", [module for module in ROOMS if _room(module) not in FREE])
def test_arrows_run_one_way(module):
    mine = next(i for i, tier in enumerate(TIERS) if _room(module) in tier)
    below = set().union(*TIERS[mine:]) | FREE - {"suspects", "suite", "hookspecs"}
    if module.startswith("worker."):
        below = {"worker"}
    if mine <= 4:
        below |= {"suspects"}
    if module == "plugin":
        below |= {"hookspecs"}
    assert {_room(other) for other in imports(module) & ROOMS.keys()} <= below


@pytest.mark.parametrize("module", ["settings", "items", "hookspecs", "suspects"])
def test_what_pytest_reads_first_knows_values_alone(module):
    known = {_room(other) for other in imports(module) & ROOMS.keys() - CLOCK}
    assert known <= {"settings", "items", "results", "workloads"}


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


@pytest.mark.parametrize("module", [module for module in ROOMS if module.startswith("baselines.")])
def test_baselines_know_no_pytest_and_no_statistics(module):
    assert not imports(module) & {"pytest", "numpy", "scipy", "statistics"}
    known = {_room(other) for other in imports(module) & ROOMS.keys() - CLOCK}
    assert known <= {"baselines"} | ({"results"} if module == "baselines.update" else set())


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("report.")])
def test_reports_never_measure(room):
    known = imports(room) & ROOMS.keys() - {
        "measure.forecast",
        "measure.plan",
        "measure.waits",
        "references.cache",
    }  # values: what a session takes, how far it is, what it waited for, where the user's cache is
    assert not {_room(other) for other in known} & {"measure", "references", "judge", "bench"}
