"""Sessions as files of --metal-json have them, made up: what a page shows must not depend on a machine that trains."""

from __future__ import annotations

import random

from pytest_metalperf.baselines.schema import Accepted, Anchor, Entry, Fingerprint, StoredRun
from pytest_metalperf.gate import ESTIMATOR
from pytest_metalperf.report import document

VERSIONS = {"tensorflow": "2.21.0", "keras": "3.15.1", "python": "3.11.7"}
MADE = random.Random(7)


def run(
    seconds: float = 0.1, *, session: str = "today", samples: int = 12, traced: bool = False, **more
) -> document.Run:
    """One run, around `seconds` a batch."""
    found = [max(1e-6, seconds * MADE.gauss(1, 0.02)) for _ in range(samples)]
    fields = {
        "session": session,
        "recorded": "2026-11-20",
        "samples": found,
        "batches_per_block": 2,
        "seconds_per_batch": sum(found) / len(found),
        "lower_quartile": min(found),
        "upper_quartile": max(found),
        "first_batch_seconds": 20 * seconds,
        "prepare_seconds": 3.2,
        "warm_up": [3 * seconds, 1.4 * seconds, 1.1 * seconds],
        "examples": 32,
        "peak_memory_bytes": 1_400_000_000,
        "versions": VERSIONS,
        "trace": [[0.5 * i, 1980.0 - 3 * i, 300.0 + i, 41.0 + i, 0.97] for i in range(20)] if traced else [],
    }
    return document.Run(**{**fields, **more})


def entry(seconds: float = 0.1, sessions: int = 3, runs: int = 2) -> Entry:
    """A stored baseline of several sessions."""
    stored = [
        StoredRun(
            recorded=f"2026-11-{10 + number:02}",
            commit=f"{number + 1:040x}",
            clean=True,
            seconds_per_batch=seconds * MADE.gauss(1, 0.02),
            lower_quartile=seconds * 0.98,
            upper_quartile=seconds * 1.02,
            batches=24,
            first_batch_seconds=20 * seconds,
            session=f"session-{number}",
            estimator=ESTIMATOR,
            versions=VERSIONS,
        )
        for number in range(sessions)
        for _ in range(runs)
    ]
    anchor = Anchor(
        recorded="2026-10-01", commit="a" * 40, clean=True, seconds_per_batch=0.97 * seconds, estimator=ESTIMATOR
    )
    return Entry(anchor=anchor, runs=stored, accepted=Accepted(commit="1" * 40))


def judgement(verdict: str, change: float, half: float = 0.03, seconds: float = 0.1, **more) -> document.Judgement:
    """Figures of the gate around a change."""
    fields = {
        "verdict": verdict,
        "change": change,
        "change_low": change - half,
        "change_high": change + half,
        "now": seconds * (1 + change),
        "now_low": seconds * (1 + change - half),
        "now_high": seconds * (1 + change + half),
        "baseline": seconds,
        "run_sd": half / 2,
        "visible": max(0.05, 2.5 * half),
    }
    return document.Judgement(**{**fields, **more})


def workload(name: str = "ranker", device: str = "cpu", backend: str = "tensorflow", **axes) -> document.Workload:
    """What was trained, with readable axes."""
    inside = ",".join(f"b{value}" if key == "batch_size" else f"{key}={value}" for key, value in axes.items())
    label = f"{name}[{inside}]" if inside else name
    return document.Workload(
        id=f"{label}@{device}:{backend}", label=label, name=name, device=device, backend=backend, axes=axes
    )


def asked(**more) -> document.Asked:
    """The settings of a call."""
    fields = {"batches": 20, "warmup": 3, "runs": 1, "max_runs": 5, "tolerance": 0.05, "confirm": "auto"}
    return document.Asked(**{**fields, **more})


def measured(
    name: str = "ranker",
    verdict: str = "within",
    change: float | None = 0.0,
    half: float = 0.03,
    seconds: float = 0.1,
    **more,
) -> document.Measurement:
    """A measurement with runs, a baseline and a verdict; without a change it has none."""
    device, axes = more.pop("device", "cpu"), more.pop("axes", {})
    now = seconds * (1 + (change or 0.0))
    command = f'pytest "tests/test_{name}.py::test_it[{device}]"'
    fields = {
        "nodeid": f"tests/test_{name}.py::test_it[{device}]",
        "workload": workload(name, device, more.pop("backend", "tensorflow"), **axes),
        "verdict": verdict,
        "asked": asked(),
        "commands": document.Commands(repeat=command, accept=f"{command} --metal-update-baselines"),
        "judgement": None if change is None else judgement(verdict, change, half, seconds),
        "seconds_per_batch": now,
        "examples_per_second": 32 / now,
        "first_batch_seconds": 2.1,
        "peak_memory_bytes": 1.4e9,
        "runs": [run(now) for _ in range(3)],
        "baseline": None if change is None else entry(seconds),
        "total": None if change is None else change + 0.03,
        "work": Fingerprint(operations={"MatMul": 40}, flop=4.1e9, parameters=5_000_000),
    }
    return document.Measurement(**{**fields, **more})


def replayed(name: str = "ranker", verdict: str = "slower", change: float = 0.12, **more) -> document.Measurement:
    """One whose baseline was trained in turn with today's code."""
    reference = document.Reference(name="its baseline (1a2b3c4d5e)", runs=[run(0.13) for _ in range(4)])
    replay = document.Replay(
        stored=judgement("slower", 0.45, 0.2),
        differs=["code", "keras 3.14.0 -> 3.15.1"],
        moved=(0.30, 0.24, 0.36) if verdict == "machine" else (0.02, -0.03, 0.07),
    )
    fields = {
        "runs": [run(0.13 * (1 + change), traced=True) for _ in range(4)],
        "reference": reference,
        "replay": replay,
    }
    return measured(name, verdict, change, **{**fields, **more})


def sped(**more) -> document.Speedup:
    """A speedup that shrank from 4 to 3, and does not keep its promise."""
    fields = {
        "nodeid": "t.py::t",
        "id": "a over b",
        "of": workload("net", "gpu"),
        "over": workload("net", "cpu"),
        "verdict": "slower",
        "asked": asked(),
        "commands": document.Commands(repeat="pytest t.py"),
        "at_least": 4.0,
        "promise": "slower",
        "parity": "checked",
        "ratio": document.Ratio(value=3.0, low=2.8, high=3.2, confidence=0.95),
        "of_seconds": 0.1,
        "over_seconds": 0.3,
        "pairs": [document.Pair(of=run(0.1), over=run(0.3), ratio=3.0) for _ in range(2)],
        "judgement": judgement("slower", 1 / 3, 0.05, 0.25),
    }
    return document.Speedup(**{**fields, **more})


def session(results=(), *, machine: str = "macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb", **more) -> document.Document:
    """A session with these results."""
    fields = {
        "version": 1,
        "session": document.Session(
            id="today",
            started="2026-11-28T08:00:00Z",
            written="2026-11-28T08:05:00Z",
            state="finished",
            plugin="0.1.0",
            commit="b" * 40,
            clean=True,
        ),
        "machine": document.Machine(
            id=machine,
            system="Darwin",
            chip="Apple M1 Pro",
            model="MacBookPro18,3",
            cores="8p2e",
            memory_gb=32,
            gpus=["Apple M1 Pro"],
            os="macOS 26.1",
        ),
        "options": document.Options(metal="on"),
        "cost": document.Cost(seconds=301.0, runs=12, pairs=4),
        "gate": document.Gate(
            estimator=ESTIMATOR, pair_estimator="x", alarm_rate=0.001, tolerance_alarm_rate=0.1, power=0.9
        ),
        "results": list(results),
    }
    return document.Document(**{**fields, **more})
