"""Seconds per batch of every reference model from few steps: `python tests/speed/legs.py --backend torch --size full`.

For the slower leg of a table of speedups, where a step takes seconds: one process for each model, prepared side by side,
and the median of `--steps` steps after two that are not counted.
"""

from __future__ import annotations

import argparse
import statistics

from reference import NAMES, request

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.plan import Plan
from pytest_metalperf.measure.worker import WorkerError, kill


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="standard", choices=("quick", "standard", "full"))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--models", default=NAMES)
    parser.add_argument("--side", type=int, default=3, help="workers that prepare side by side")
    asked = parser.parse_args()
    fleet, plan = Fleet(session="legs"), Plan(asked.steps, 1)
    names = asked.models.split(",")
    try:
        for first in range(0, len(names), asked.side):
            some = names[first : first + asked.side]
            requests = [request(name, asked.device, asked.backend, asked.size) for name in some]
            workers = fleet.prepared(requests, plan, lambda *_: None)
            try:
                for (workload, *_), worker in zip(requests, workers, strict=True):
                    worker.ask("measure", batches=asked.steps, least_blocks=asked.steps, least_seconds=0.0)
                    try:
                        fleet.wait([worker])
                    except WorkerError as error:
                        print(f"{workload.id}: {error}", flush=True)
                        continue
                    finally:
                        worker.kill()
                    samples = worker.results["measure"]["samples"]
                    spread = (max(samples) - min(samples)) / statistics.median(samples)
                    print(
                        f"{workload.id}: {statistics.median(samples):.4f} s ({len(samples)} blocks, from the least to the"
                        f" largest {100 * spread:.0f} %)",
                        flush=True,
                    )
            finally:
                kill(workers)
    finally:
        fleet.close()


if __name__ == "__main__":
    main()
