"""What the timing loop costs over a bare hand-written one: `python tests/speed/loop.py`.

The same compiled train function of about 5 ms a step, timed in turn by our loop (blocks, fences, checks) and by the
simplest loop that a person would write. Prints seconds per batch of both and their ratio, with quartiles.
"""

from __future__ import annotations

import statistics
import time

import keras
import numpy as np

from pytest_metalperf.worker.backends.tensorflow import TensorFlow
from pytest_metalperf.worker.fence import read_back
from pytest_metalperf.worker.loop import block_length, fence_seconds, measure

STEPS = 100
ROUNDS = 30


def builder() -> tuple[keras.Model, tuple[np.ndarray, np.ndarray]]:
    """A dense network whose step takes about 5 ms on one or two cores."""
    model = keras.Sequential(
        [keras.Input((512,)), *[keras.layers.Dense(512, "relu") for _ in range(3)], keras.layers.Dense(1)]
    )
    model.compile(optimizer="sgd", loss="mse", jit_compile=False)
    data = np.random.default_rng(0)
    return model, (data.normal(size=(256, 512)).astype("float32"), data.normal(size=(256, 1)).astype("float32"))


def main() -> None:
    """Print both and their ratio."""
    backend = TensorFlow()
    backend.set_up("cpu", "float32", 0)
    trainable = backend.trainable(builder(), "dense", {})
    for _ in range(50):
        outputs = trainable.step()
    read_back(outputs)
    start = time.perf_counter()
    read_back(trainable.step())
    length = block_length(time.perf_counter() - start, fence_seconds(trainable, outputs, time.perf_counter))

    def ours() -> list[float]:
        return measure(trainable, batches=STEPS, steps_per_block=length, clock=time.perf_counter, least_seconds=0.0)

    def bare() -> list[float]:
        """Reads the loss after every step, as train_on_batch does."""
        samples = []
        for _ in range(STEPS // length):
            begin = time.perf_counter()
            for _ in range(length):
                logs = trainable.step()
            float(logs["loss"])
            samples.append((time.perf_counter() - begin) / length)
        return samples

    pairs = []
    for turn in range(ROUNDS):
        both = {}
        for which in (ours, bare) if turn % 2 else (bare, ours):
            both[which] = statistics.median(which())
        pairs.append((both[ours], both[bare]))
    low, middle, high = statistics.quantiles([one / other for one, other in pairs], n=4)
    print(
        f"timing loop: ours {1000 * statistics.median(p[0] for p in pairs):.3f} ms,"
        f" bare {1000 * statistics.median(p[1] for p in pairs):.3f} ms a step; ratio of medians {middle:.4f}"
        f" (quartiles {low:.4f} to {high:.4f}, {ROUNDS} pairs of {STEPS} steps in turn, blocks of {length})"
    )


if __name__ == "__main__":
    main()
