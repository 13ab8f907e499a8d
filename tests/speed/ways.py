"""Several ways to do the same step, which take turns in one process, in another order each round; over fresh processes."""

from __future__ import annotations

import math
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

LEAST_SECONDS = 0.25
"""Of one turn."""

Way = Callable[[int], float]
"""Takes a number of steps, returns seconds per step."""


def timed(step: Callable[[], Any], value: Callable[[Any], float]) -> Way:
    """Seconds per step, until the last one's loss is known."""

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        value(loss)
        return (time.perf_counter() - start) / steps

    return seconds


def in_turn(ways: dict[str, Way], paced_by: str, rounds: int) -> list[dict[str, float]]:
    """Seconds per step of each way in each round, after two untimed steps of each: to trace, compile, bring clocks up."""
    for seconds in ways.values():
        seconds(2)
    steps = max(3, round(LEAST_SECONDS / max(ways[paced_by](5), 1e-4)))
    dice = random.Random(0)
    return [{name: ways[name](steps) for name in dice.sample(list(ways), len(ways))} for _ in range(rounds)]


def compared(
    place: str, measured: Callable[..., list[dict[str, float]]], asked: Any, pairs: Sequence[tuple[str, str]]
) -> None:
    """Print the ratios of `measured(asked, ours_last)` in fresh processes, each second one with ours built last."""
    medians: dict[tuple[str, str], list[float]] = {}
    for process in range(asked.processes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rounds = pool.apply(measured, (asked, process % 2 == 1))
        milliseconds = {name: 1000 * statistics.median(one[name] for one in rounds) for name in rounds[0]}
        print(f"{place}: " + ", ".join(f"{name} {value:.3f} ms" for name, value in milliseconds.items()))
        for pair in pairs:
            if set(pair) <= set(milliseconds):
                low, middle, high = statistics.quantiles([one[pair[0]] / one[pair[1]] for one in rounds], n=4)
                medians.setdefault(pair, []).append(middle)
                print(
                    f"{place}: {' / '.join(pair)} {middle:.4f} (quartiles of the rounds {low:.4f} to {high:.4f})",
                    flush=True,
                )
    for pair, each in medians.items():
        print(f"{place}: {' / '.join(pair)}: {interval(each)}")


def interval(medians: Sequence[float]) -> str:
    """Geometric mean of the processes' medians with its 95 % interval, by Student's t."""
    logs = [math.log(one) for one in medians]
    middle = math.exp(statistics.fmean(logs))
    if len(logs) < 2:
        return f"{middle:.4f} (one process)"
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = (math.exp(math.log(middle) + side * half) for side in (-1, 1))
    return f"{middle:.4f} (95 % interval over {len(logs)} processes {low:.4f} to {high:.4f})"
