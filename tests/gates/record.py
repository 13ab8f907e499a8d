"""Record runs with the plugin itself, samples and conditions of every fresh process, for the benchmark of gates.

    python tests/gates/record.py FILE [--sessions N] [--runs N] [--pause SECONDS] [pytest's arguments …]
    python tests/gates/record.py FILE --pairs N [pytest's arguments …]

Each session is one pytest of the reference suite; its runs are appended to FILE, one JSON object a line. As a pytest
plugin (`-p record`) this module is the listener that writes them. With `--pairs`, pairs of unchanged code are recorded, by
--metal-against with this very interpreter and a tolerance that no verdict ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_metalperf import Measurement

FILE = "METALPERF_RECORD"


def pytest_metalperf_measured(measurement: Measurement) -> None:
    """Append the runs of one measurement."""
    if measurement.error:
        return
    with Path(os.environ[FILE]).open("a") as file:
        if measurement.reference is not None:
            for now, reference in zip(measurement.runs, measurement.reference.runs, strict=True):
                two = [[float(f"{sample:.5g}") for sample in run.samples] for run in (now, reference)]
                load = now.conditions.get("load1")
                file.write(json.dumps({"workload": measurement.workload.id, "pair": two, "load1": load}) + "\n")
            return
        for run in measurement.runs:
            line = {
                "workload": measurement.workload.id,
                "session": run.session,
                "batches_per_block": run.batches_per_block,
                "samples": [float(f"{sample:.5g}") for sample in run.samples],
                "first_batch_seconds": float(f"{run.first_batch_seconds:.4g}"),
                "conditions": {k: round(v, 4) if isinstance(v, float) else v for k, v in run.conditions.items()},
                "versions": dict(run.versions),
            }
            file.write(json.dumps(line) + "\n")


def main() -> None:
    """Run the sessions, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pairs", type=int, help="pairs of unchanged code in each session, instead of runs")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between sessions")
    known, others = parser.parse_known_args()
    for session in range(known.sessions):
        if session:
            time.sleep(known.pause)
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(sys.executable, "-m", "pytest", "--pyargs", "pytest_metalperf.suite", "-p", "record"),
                *("-p", "no:cacheprovider", f"--metal-baselines={folder}"),
                *(
                    ("--metal-update-baselines", "--metal-update-mode", "all", "--metal-runs", str(known.runs))
                    if known.pairs is None
                    else (
                        f"--metal-against={sys.executable}",
                        "--metal-tolerance=0.01%",
                        f"--metal-max-runs={known.pairs // 3}",
                    )
                ),
                *others,
            ]
            path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, FILE: str(known.file.resolve()), "PYTHONPATH": path}
            subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
