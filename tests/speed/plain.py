"""Our step against the same one in a loop written by hand, without Keras: `python tests/speed/plain.py --backend torch`.

Dense layers of `layers.py`, in PyTorch, JAX or MLX. Three of the same in one process take turns: what a
run makes of the shorthand, timed as a run times it, the loop that the framework's guide writes, and that loop once more,
which shows by how much two of the same differ. Prints the ratios of every process (each second one builds ours last) and
their interval over all. Narrow layers (`--width 32 --depth 20`) leave what the host does for a step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from layers import BUILDERS
from ways import Way, compared, in_turn, timed

from pytest_metalperf.worker.backends import BACKENDS
from pytest_metalperf.worker.loop import run_block
from pytest_metalperf.worker.sources import load

OURS, HAND, AGAIN = "ours", "by hand", "by hand again"
RATIOS = (OURS, HAND), (AGAIN, HAND)


def measured(asked: argparse.Namespace, ours_last: bool) -> list[dict[str, float]]:
    """Seconds per batch of each way in each round, in this process."""
    backend = load({"kind": "reference", "package": "backends", "name": BACKENDS[asked.backend]})()
    backend.set_up(asked.device, "float32", 0)
    axes = {"depth": asked.depth, "width": asked.width, "batch_size": asked.batch}

    def built(how: str) -> Any:
        return BUILDERS[asked.backend](backend.device_object(asked.device), **axes, how=how)

    def ours() -> Way:
        trainable = backend.trainable(built("shorthand"), "layers", {})
        return lambda steps: run_block(trainable, steps, time.perf_counter)[0]

    def by_hand() -> Way:
        return timed(built("step").run, lambda loss: float(loss.item()))

    makers = {OURS: ours, HAND: by_hand, AGAIN: by_hand}
    return in_turn({name: makers[name]() for name in (list(makers)[::-1] if ours_last else makers)}, OURS, asked.rounds)


def main() -> None:
    """Measure in fresh processes, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="torch", choices=sorted(BUILDERS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=24, help="in each process")
    parser.add_argument("--processes", type=int, default=6)
    asked = parser.parse_args()
    place = f"{asked.depth} layers {asked.width} wide, batch {asked.batch}, {asked.device}:{asked.backend}"
    compared(place, measured, asked, RATIOS)


if __name__ == "__main__":
    main()
