"""Planted changes found by the fingerprint: `python tests/speed/fingerprints.py --backend tensorflow --device gpu`.

A small model (`tests/support/small_models.py`; `--how shorthand` or `step`: `layers.py`, without Keras) in fresh processes:
unchanged, and with an operation more, another optimizer (Keras), a second trace (TensorFlow) and an operation that the CPU
does (on a GPU). Prints how many of each differ from the first.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from reference import fresh_runs

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.plan import Plan, Request
from pytest_metalperf.workloads.workload import Workload


def works(fleet: Fleet, asked: argparse.Namespace, count: int, **axes: Any) -> list[Any]:
    """The fingerprints of so many fresh processes."""
    file, function = Path(__file__).parents[1] / "support" / "small_models.py", "small"
    if asked.how != "keras":
        file, function = Path(__file__).with_name("layers.py"), f"{asked.backend}_layers"
        axes |= {"depth": 2, "width": 64, "batch_size": 64, "how": asked.how}
    source = {"kind": "import", "module": file.stem, "file": str(file), "name": function, "root": str(file.parent)}
    workload = Workload("small", asked.device, asked.backend, axes, source)
    plan = Plan(2, 1, least_blocks=2, least_seconds=0.0)
    runs = fresh_runs(fleet, Request(workload, asked.backend), plan, asked.side)
    try:
        return [run.fingerprint for run in itertools.islice(runs, count)]
    finally:
        runs.close()


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--how", default="keras", choices=("keras", "shorthand", "step"), help="who writes the step")
    parser.add_argument(
        "--each", type=int, default=20, help="unchanged runs, and planted changes of all kinds together"
    )
    parser.add_argument("--side", type=int, default=2, help="workers that prepare side by side")
    asked = parser.parse_args()
    planted: dict[str, dict[str, Any]] = {}
    if asked.device != "cpu" and (asked.backend == "torch" or (asked.how == "keras" and asked.backend != "jax")):
        planted["an operation on the CPU"] = {"planted": "on_cpu"}
    if asked.backend == "tensorflow":
        planted["a second trace"] = {"planted": "retrace"}
    planted["an operation more"] = {"planted": "extra"}
    if asked.how == "keras":
        planted["SGD"] = {"optimizer": "sgd"}
    fleet = Fleet(session="fingerprints")
    try:
        first, *unchanged = works(fleet, asked, asked.each + 1)
        place = f"{asked.device}:{asked.backend}"
        print(f"{place}: unchanged: {sum(work != first for work in unchanged)} of {len(unchanged)} differ", flush=True)
        for name, axes in planted.items():
            found = works(fleet, asked, asked.each // len(planted), **axes)
            print(f"{place}: {name}: {sum(work != first for work in found)} of {len(found)} differ", flush=True)
            if name == "an operation on the CPU":
                print(f"{place}: on the CPU: {found[0]['operations_on_cpu']}, before {first['operations_on_cpu']}")
    finally:
        fleet.close()


if __name__ == "__main__":
    main()
