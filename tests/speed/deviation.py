"""How far apart a CPU and a GPU compute the same: `python tests/speed/deviation.py --backend torch`.

Each reference model on the CPU in float32, and on the GPU in each precision, from the same weights on the same batch with
dropout off, before any training: relative differences of the loss and of the gradient's norm, which the tolerances of
`pytest_metalperf/rounding.py` must leave room for.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from reference import NAMES, request

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.worker import Worker, WorkerError
from pytest_metalperf.results.rounding import TOLERANCES


def figures(worker: Worker) -> tuple[float, float]:
    """What it computed."""
    said = worker.results["parity"]
    return said["loss"], said["gradient_norm"]


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--size", default="standard", choices=("quick", "standard", "full"))
    parser.add_argument("--models", default=NAMES)
    asked = parser.parse_args()
    fleet = Fleet(session="deviation")
    try:
        for name in asked.models.split(","):
            file = fleet.folder / f"{name}.npz"
            first = fleet.building(request(name, "cpu", asked.backend, asked.size))
            others = {
                precision: fleet.building(request(name, asked.device, asked.backend, asked.size, precision=precision))
                for precision in TOLERANCES
            }
            first.ask("parity", load="", save=str(file))
            fleet.wait([first])
            loss, norm = figures(first)
            first.kill()
            for precision, worker in others.items():
                place = f"{name} {asked.size} on {asked.device}:{asked.backend} in {precision}"
                own = Path(f"{file}.{precision}.npz")
                shutil.copy(file, own)  # a worker removes what it has loaded
                try:
                    worker.ask("parity", load=str(own), save="")
                    fleet.wait([worker])
                except WorkerError as error:
                    print(f"{place}: {error}", flush=True)
                    continue
                finally:
                    worker.kill()
                its = figures(worker)
                print(
                    f"{place}: loss {its[0]:.6g} for {loss:.6g} ({abs(its[0] / loss - 1):.1e}),"
                    f" gradient norm {its[1]:.6g} for {norm:.6g} ({abs(its[1] / norm - 1):.1e})",
                    flush=True,
                )
    finally:
        fleet.close()


if __name__ == "__main__":
    main()
