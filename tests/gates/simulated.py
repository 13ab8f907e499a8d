"""Simulated machines: runs with samples in them, thousands of trials at a time.

A run has a level: its workload's, times an effect of its session, times its own. Samples scatter about the level with
autocorrelation (AR(1), 0.5) and a heavy right tail, by as much as runs differ, as recorded runs do, but by no less than
0.9 %; and 3 % of them are spikes, on average half as slow again. What this module calls run sd is the relative standard
deviation of a run's figure, so the level's own is smaller by what samples add. ``tests/gates/gate_simulation.py`` simulates
figures alone; here every tool gets samples.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter
from trial import RULE, Trial, TrialRun

from pytest_metalperf.gate import RunFigure
from pytest_metalperf.gate.estimate import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BATCHES = 20
WORKLOADS = 5
CORRELATION = 0.5
TAIL = 0.6  # sd of the logarithm of the innovations: skewness 2.3
SPIKES = 0.03
SPIKE_SIZE = 0.5
SLOW_START = 0.02  # share of runs that a slow minute begins with
SLOW_STAYS = 0.5  # of slow minutes last to the next run of the session
SLOW = 1.3
LEAST_SAMPLE_SD = 0.009
FIGURE_SHARE = 0.33  # of the samples' sd is left in the figure of such a run
CHUNK = 250


@dataclass(frozen=True)
class Machine:
    """Relative standard deviations on both levels, stored runs of each session, and whether there are slow minutes."""

    run_sd: float
    session_sd: float = 0.0
    layout: Sequence[int] = (2, 2, 1)
    slow_minutes: bool = False

    def trials(self, name: str, count: int) -> Iterator[Trial]:
        """So many trials; the same ones every time for the same name."""
        random = np.random.default_rng([20, zlib.crc32(name.encode())])
        for start in range(0, count, CHUNK):
            yield from self._chunk(random, min(CHUNK, count - start))

    def _chunk(self, random: np.random.Generator, count: int) -> Iterator[Trial]:
        """Columns are runs in the order of their recording: every workload's stored ones, then the judged one's fresh ones."""
        stored = sum(self.layout)
        now = len(self.layout) * WORKLOADS
        sessions = np.repeat(np.arange(now + 1), [*tuple(self.layout) * WORKLOADS, RULE.max_runs])
        effects = self.session_sd * random.standard_normal((count, now + 1))
        sample_sd = max(LEAST_SAMPLE_SD, self.run_sd)
        level_sd = math.sqrt(self.run_sd**2 - (FIGURE_SHARE * sample_sd) ** 2)
        levels = effects[:, sessions] + level_sd * random.standard_normal((count, sessions.size))
        first = WORKLOADS * stored
        slow, slow_later = _slow(random, count, sessions, first) if self.slow_minutes else (0.0, 0.0)
        around = scatter(random, (count, sessions.size, BATCHES), sample_sd)
        samples = np.exp(levels + math.log(SLOW) * slow)[:, :, None] * around
        later = np.exp(levels + math.log(SLOW) * slow_later)[:, :, None] * around
        figures = shared(samples)
        names = ["now" if session == now else f"session {session % len(self.layout)}" for session in sessions]
        for rows, seconds, rows_later in zip(samples, figures.tolist(), later[:, first:], strict=True):
            runs = [RunFigure(value, session) for value, session in zip(seconds, names, strict=True)]
            entries = [runs[start : start + stored] for start in range(0, first, stored)]
            yield Trial(
                stored=[TrialRun(rows[i], runs[i], BATCHES) for i in range(stored)],
                peers=entries[1:],
                fresh=[TrialRun(rows[i], runs[i], BATCHES) for i in range(first, len(runs))],
                later=[_now(row) for row in rows_later] if self.slow_minutes else (),
            )


def _now(samples: NDArray) -> TrialRun:
    return TrialRun(samples, RunFigure(float(shared(samples)), "now"), BATCHES)


def scatter(random: np.random.Generator, shape: tuple[int, ...], sd: float) -> NDArray:
    """Samples of runs at level one: the last axis is the order in a run."""
    tailed = np.exp(TAIL * random.standard_normal(shape) - TAIL**2 / 2) - 1
    innovations = tailed / math.sqrt(math.expm1(TAIL**2))
    scale = math.sqrt(1 - CORRELATION**2)
    innovations[..., 0] /= scale
    around = np.exp(sd * lfilter([scale], [1, -CORRELATION], innovations))
    spikes = (random.random(shape) < SPIKES) * random.exponential(SPIKE_SIZE, shape)
    return around * (1 + spikes)


def _slow(random: np.random.Generator, count: int, sessions: NDArray, first: int) -> tuple[NDArray, NDArray]:
    """Which runs lie in a slow minute: all in a row, and with the fresh runs after the first one some minutes later."""
    starts = random.random((count, sessions.size)) < SLOW_START
    stays = random.random((count, sessions.size)) < SLOW_STAYS
    both = starts.copy(), starts.copy()
    for slow, parted in zip(both, (None, first + 1), strict=True):
        for run in range(1, sessions.size):
            if sessions[run] == sessions[run - 1] and run != parted:
                slow[:, run] |= slow[:, run - 1] & stays[:, run]
    return both
