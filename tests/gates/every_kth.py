"""What a run's figure sees of a slowdown in every k-th step alone: a command that prints a table.

Steps have 1 % of normal noise. Every k-th one takes longer, such that the mean grows by half. `stored` is the figure that
is gated; `at least 0.1 s` is that figure over longer blocks; `mean` is the mean of all blocks, which runs store too.
"""

from __future__ import annotations

import math

import numpy as np

from pytest_metalperf.gate import estimate_run
from pytest_metalperf.worker.loop import LEAST_BLOCKS, LEAST_SECONDS, block_length

FENCE_SECONDS = 0.0002
BATCHES = 100
STEPS = (0.0002, 0.002, 0.02, 0.06, 0.3)
CYCLES = (2, 4, 8, 32)


def blocks(step: float, cycle: int, growth: float, least: float, seed: int = 13) -> tuple[float, ...]:
    """Seconds per step of each block of a run whose mean step grows by `growth` in every `cycle`-th step alone."""
    length = max(block_length(step, FENCE_SECONDS), math.ceil(least / step))
    count = max(LEAST_BLOCKS, math.ceil(LEAST_SECONDS / (step * length)), math.ceil(BATCHES / length))
    steps = step * (1 + 0.01 * np.random.default_rng(seed).standard_normal(count * length))
    steps[cycle - 1 :: cycle] += growth * cycle * step
    return tuple(steps.reshape(count, length).mean(axis=1).tolist())


def seen(step: float, cycle: int, growth: float = 0.5) -> tuple[float, float, float]:
    """How far the stored figure, the same over blocks of at least 0.1 s, and the mean grow; 0.5 is all of it."""
    old, new = (blocks(step, cycle, planted, 0.0) for planted in (0.0, growth))
    longer = [estimate_run(blocks(step, cycle, planted, 0.1)).seconds for planted in (0.0, growth)]
    mean = float(np.mean(new) / np.mean(old)) - 1
    return estimate_run(new).seconds / estimate_run(old).seconds - 1, longer[1] / longer[0] - 1, mean


if __name__ == "__main__":
    print("step in s  every  stored  at least 0.1 s   mean")
    for step in STEPS:
        for cycle in CYCLES:
            stored, longer, mean = seen(step, cycle)
            print(f"{step:9g}  {cycle:5d}  {stored:6.0%}  {longer:14.0%}  {mean:5.0%}")
