"""The timing loop: steps, blocks, fences. It knows neither framework nor protocol; a clock and two callables do."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from .observers import observer
from .problems import Problem
from .values import Reported, checked

Clock = Callable[[], float]

BLOCK_SECONDS = 0.1  # at least, so that short steps share a block with what is dearer now and then
NEARLY = 0.95  # of it will do, or a step of about that length would be one block now and half of one then
OVERHEAD_SHARE = 0.01  # fences and clock reads may cost this share of a block
LEAST_BLOCKS = 10
LEAST_SECONDS = 1.0


@dataclass
class Trainable:
    """Something that trains: what every backend makes of what a builder returned.

    Attributes:
        step: does one call of the train function and returns its outputs, device values that need not be ready.
        fence: reads a value computed on the device after those outputs back to the host; returns it as a float.
        batches_per_step: training updates that one call of `step` does (Keras' steps_per_execution).
        examples: examples in one batch; None where nobody can know.
        parameters: number of parameters; None where nobody can know.
        trainable_variables: how many there are; None where nobody can know.
        checksums: a number per trainable variable, to see which changed; None where there are none to look at.
        steps_per_update: calls of `step` that the weights wait for, where gradients are accumulated.
        broken_weights: names of trainable weights that hold a value which is not finite; None where there are none to look at.
        last_loss: trains one more batch and returns its own loss, not a running mean; None where there is no loss.
        work: noise-free facts of a step, as plain values (see `worker/fingerprint.py`); None where there is nothing to look at.
        loss_and_gradient: the loss of the batch and the norm of its gradient with dropout off, training nothing; None where it
            turns out that nobody can derive it.
        redrawn: lets the model draw other random numbers while it lasts.
        batch_checksum: a number that two batches of the same data have in common.
        weights_sum: a number that the same trainable weights have in common, in whatever order and layout.
        save_weights: writes all weights to a file.
        load_weights: reads them back, into a model that another device or backend holds.
        description: what it is, in words.
        unreached: axes that do not act on it unless its builder takes them; None is all where there are no checksums, else none.
        unchanged: what to look at where no weight changes, as a question.
        unknown: what a step of the user's own does not show of itself, in a few words each.
    """

    step: Callable[[], Any]
    fence: Callable[[Any], float]
    batches_per_step: int = 1
    examples: int | None = None
    parameters: int | None = None
    trainable_variables: int | None = None
    checksums: Callable[[], list[int]] | None = None
    steps_per_update: int = 1
    broken_weights: Callable[[], list[str]] | None = None
    last_loss: Callable[[], float] | None = None
    work: Callable[[], dict[str, Any]] | None = None
    loss_and_gradient: Callable[[], tuple[float, float] | None] | None = None
    redrawn: Callable[[], AbstractContextManager[None]] | None = None
    batch_checksum: Callable[[], int] | None = None
    weights_sum: Callable[[], int] | None = None
    save_weights: Callable[[str], None] | None = None
    load_weights: Callable[[str], None] | None = None
    description: str = ""
    unreached: frozenset[str] | None = None
    unchanged: str = "is the learning rate 0, or the loss not connected to the weights?"
    unknown: list[str] = field(default_factory=list)


def run_block(trainable: Trainable, steps: int, clock: Clock) -> tuple[float, Reported]:
    """Time `steps` calls and one fence. Returns seconds per batch and what the last call reported."""
    step = trainable.step
    outputs = None
    start = clock()
    for _ in range(steps):
        outputs = step()
    value = trainable.fence(outputs)
    seconds = clock() - start
    return seconds / (steps * trainable.batches_per_step), Reported(outputs, value)


def fence_seconds(trainable: Trainable, outputs: Any, clock: Clock) -> float:
    """What a fence and two clock reads cost when the device has nothing left to do (the least of five)."""
    costs = []
    for _ in range(5):
        start = clock()
        trainable.fence(outputs)
        costs.append(clock() - start)
    return min(costs)


def block_length(step_seconds: float, overhead_seconds: float, least_seconds: float = BLOCK_SECONDS) -> int:
    """Calls per block, such that it takes `least_seconds` or nearly, or more, and the fence costs under 1 % of it."""
    seconds = max(NEARLY * least_seconds, overhead_seconds / OVERHEAD_SHARE)
    return max(1, math.ceil(seconds / max(step_seconds, 1e-9)))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection while it lasts, and nobody who watches.

    Raises:
        Problem: where something traces, profiles or debugs this process: its times are not the code's own.
    """
    if watching := observer():
        raise Problem(
            "worker",
            f"{watching} is on in the process that trains, and would be timed with it: run performance tests without it",
        )
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def measure(
    trainable: Trainable,
    *,
    batches: int,
    steps_per_block: int,
    clock: Clock,
    progress: Callable[[int, int], None] = lambda done, of: None,
    least_blocks: int = LEAST_BLOCKS,
    least_seconds: float = LEAST_SECONDS,
) -> list[float]:
    """Time blocks until there are `batches` batches, `least_blocks` blocks and `least_seconds` seconds.

    A block before them is untimed: after a wait, clocks and caches come back up. Returns seconds per batch of each block, in
    order. `progress` is called with batches done and expected, between blocks.
    """
    per_block = steps_per_block * trainable.batches_per_step
    samples: list[float] = []
    spent = 0.0
    with undisturbed():
        if least_seconds:
            run_block(trainable, steps_per_block, clock)
        while len(samples) * per_block < batches or len(samples) < least_blocks or spent < least_seconds:
            seconds, reported = run_block(trainable, steps_per_block, clock)
            samples.append(seconds)
            spent += seconds * per_block
            done = len(samples) * per_block
            checked(reported, f"in batch {done}")
            progress(done, max(batches, least_blocks * per_block, math.ceil(done * least_seconds / max(spent, 1e-9))))
    return samples
