"""What is found of a slowdown in every k-th step alone: a command that prints a table.

Steps have 1 % of normal noise. Every k-th one takes longer, such that the mean grows by half; a run has at least 100
batches. `figure` is how far the figure grows that is shown and gated, `lower half` how far the one before it did, with its
shorter blocks; 50 % is all of it. `beside` says whether the mean of all batches, which is looked at beside the figure,
takes a `within` back.
"""

from __future__ import annotations

import math

import numpy as np
from estimators import lower_half_mean

from pytest_metalperf.gate import estimate_run, hidden_slowdown
from pytest_metalperf.worker.loop import BLOCK_SECONDS, LEAST_BLOCKS, LEAST_SECONDS, block_length

FENCE_SECONDS = 0.0002
BATCHES = 100
GROWTH = 0.5
STEPS = (0.0002, 0.002, 0.02, 0.06, 0.3)
CYCLES = (2, 4, 8, 32, 50)


def blocks(step: float, cycle: int, growth: float, least_block: float, seed: int = 13) -> np.ndarray:
    """Seconds per step of each block of a run whose mean step grows by `growth` in every `cycle`-th step alone."""
    length = block_length(step, FENCE_SECONDS, least_block)
    count = max(LEAST_BLOCKS, math.ceil(LEAST_SECONDS / (step * length)), math.ceil(BATCHES / length))
    steps = step * (1 + 0.01 * np.random.default_rng(seed).standard_normal(count * length))
    steps[cycle - 1 :: cycle] += growth * cycle * step
    return steps.reshape(count, length).mean(axis=1)


def found(step: float, cycle: int) -> tuple[float, float, bool]:
    """How far today's figure and the one before grow, and whether the mean beside today's is seen to."""
    before, now = (lower_half_mean(blocks(step, cycle, growth, 0.0)) for growth in (0.0, GROWTH))
    stored, fresh = ([blocks(step, cycle, growth, BLOCK_SECONDS, seed) for seed in (1, 2)] for growth in (0.0, GROWTH))
    old, new = ([estimate_run(run.tolist()).seconds for run in runs] for runs in (stored, fresh))
    means = [(figure, float(run.mean())) for figure, run in zip(old, stored, strict=True)]
    without_slowest = [(figure, float(np.sort(run)[:-1].mean())) for figure, run in zip(new, fresh, strict=True)]
    return new[0] / old[0] - 1, now / before - 1, hidden_slowdown(without_slowest, means, 0.05) is not None


if __name__ == "__main__":
    print("step in s  every  figure  lower half  beside")
    for step in STEPS:
        for cycle in CYCLES:
            figure, before, beside = found(step, cycle)
            print(f"{step:9g}  {cycle:5d}  {figure:6.0%}  {before:10.0%}  {'inconclusive' if beside else '-'}")
