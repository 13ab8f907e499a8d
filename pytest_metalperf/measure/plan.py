"""How much one run measures, what a worker is asked to train, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..settings import Settings
from ..workloads.workload import Workload
from .interpreter import HERE, Interpreter

OnProgress = Callable[[str, int, int, int], None]
"""Called with progress: phase, i, n, and which of the workers that run side by side."""


@dataclass(frozen=True)
class Progress:
    """Where a measurement is: for the live line."""

    title: str
    device: str
    phase: str
    i: int = 0
    n: int = 0
    run: int = 0
    runs: int = 0


@dataclass(frozen=True)
class Plan:
    """How much one run measures."""

    batches: int
    warmup: int
    least_blocks: int = 10
    least_seconds: float = 1.0
    timeout: float | None = field(default=None, repr=False, compare=False)  # of silence; None is the session's
    sustained: bool = False  # minutes, which tell nothing of what a run of batches takes
    alone: bool = False  # prepare no two workers side by side, since the time of the first batch is gated


def plan_of(settings: Settings) -> Plan:
    """What these settings ask of one run."""
    if settings.metal == "smoke":
        return Plan(1, 0, least_blocks=1, least_seconds=0.0, timeout=settings.timeout)
    alone = any(name == "first_batch" for name, _ in settings.metrics)
    return Plan(settings.batches, settings.warmup, timeout=settings.timeout, alone=alone)


class Request(NamedTuple):
    """One worker that is wanted: what it trains, how it finds the backend, where its code comes from."""

    workload: Workload
    backend: Mapping[str, Any] | str
    interpreter: Interpreter = HERE
