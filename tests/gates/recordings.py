"""Recorded runs: reading what ``record.py`` wrote, and honest trials drawn from it.

A trial takes its stored runs from some sessions and its fresh runs from another one, so that nothing is compared with
itself. Fresh runs keep their order, from a random one on and around; a slow minute still meets consecutive runs.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from trial import RULE, Trial, TrialRun

from pytest_metalperf.gate import RunFigure, estimate_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from trial import Samples

LAYOUTS = {"one session stored": (5,), "three sessions stored": (2, 2, 1)}
LEAST_RUNS = 4  # of a session that can be judged, or stored: fewer leave the gate no room


class BadRecording(ValueError):
    """A file of recorded runs that cannot be used; its text is one sentence."""


class RecordedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file."""

    workload: str
    session: str
    batches_per_block: int
    samples: list[float]
    first_batch_seconds: float
    conditions: dict[str, Any]
    versions: dict[str, str]


Recording = dict[str, dict[str, list[RecordedRun]]]  # workload, session, runs in order


def our_estimate(samples: Samples) -> float:
    """Seconds per batch of one run, as the plugin says it."""
    return estimate_run(samples.tolist()).seconds


def read_runs(path: Path) -> Recording:
    """All runs of a file, by workload and session, in their order.

    Raises ``BadRecording`` for a file without runs and, with its line, for one that is not as ``record.py`` writes it.
    """
    recording: Recording = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            run = msgspec.json.decode(line, type=RecordedRun)
        except msgspec.DecodeError as error:
            raise BadRecording(f"{path}:{number}: {error}") from None
        if not run.samples or not all(math.isfinite(sample) and sample > 0 for sample in run.samples):
            raise BadRecording(f"{path}:{number}: samples must be positive finite numbers, at least one")
        if run.batches_per_block < 1:
            raise BadRecording(f"{path}:{number}: batches_per_block must be at least 1, not {run.batches_per_block}")
        recording.setdefault(run.workload, {}).setdefault(run.session, []).append(run)
    if not recording:
        raise BadRecording(f"{path}: no runs")
    return recording


@dataclass(frozen=True)
class Store:
    """Trials whose store holds so many runs of each of some sessions of a recording."""

    recording: Recording
    layout: Sequence[int]
    estimate: Callable[[Samples], float] = our_estimate

    def trials(self, name: str, count: int) -> Iterator[Trial]:
        """So many random trials; the same ones every time for the same name."""
        sessions = full_sessions(self.recording)
        known = {
            workload: [[self._run(run) for run in runs[session]] for session in sessions]
            for workload, runs in self.recording.items()
        }
        chance = random.Random(name)
        for _ in range(count):
            judged = chance.choice(list(known))
            now, *chosen = chance.sample(range(len(sessions)), len(self.layout) + 1)
            stores = {
                workload: [
                    run
                    for session, size in zip(chosen, self.layout, strict=True)
                    for run in _in_order(chance, runs[session], size)
                ]
                for workload, runs in known.items()
            }
            fresh = known[judged][now]
            first = chance.randrange(len(fresh))
            yield Trial(
                stored=stores.pop(judged),
                peers=[[run.figure for run in runs] for runs in stores.values()],
                fresh=(fresh[first:] + fresh[:first])[: RULE.max_runs],
                device=judged.rpartition("@")[2].partition(":")[0],
            )

    def _run(self, run: RecordedRun) -> TrialRun:
        samples = np.array(run.samples)
        figure = RunFigure(self.estimate(samples), run.session)
        return TrialRun(samples, figure, len(run.samples) * run.batches_per_block, run.conditions)


def stores(file: str, recording: Recording, estimate: Callable[[Samples], float] = our_estimate) -> dict[str, Store]:
    """Every layout that leaves a session for the fresh runs, by the name of its row.

    Raises ``BadRecording`` where none does.
    """
    sessions = len(full_sessions(recording))
    if sessions < 2:
        raise BadRecording(f"{file}: needs two sessions with {LEAST_RUNS} runs of every workload, has {sessions}")
    return {
        f"{file}, {name}": Store(recording, layout, estimate)
        for name, layout in LAYOUTS.items()
        if len(layout) < sessions
    }


def full_sessions(recording: Recording) -> list[str]:
    """The sessions that hold enough runs of every workload."""
    names = list(next(iter(recording.values())))
    return [name for name in names if all(len(runs.get(name, ())) >= LEAST_RUNS for runs in recording.values())]


def _in_order(chance: random.Random, runs: Sequence[TrialRun], size: int) -> list[TrialRun]:
    return [runs[i] for i in sorted(chance.sample(range(len(runs)), min(size, len(runs))))]
