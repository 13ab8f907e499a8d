"""What --metal-json adds to a session, and what reading its file takes: 200 workloads of 5 runs of 100 samples.

    python tests/speed/documents.py [--workloads 200] [--runs 5] [--samples 100]

Prints seconds and bytes; exit code 1 where writing takes 2 s or more, or the file is as large as 8 MB.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pytest_metalperf.baselines.schema import Anchor, Entry
from pytest_metalperf.gate import ESTIMATOR, RunFigure, judge
from pytest_metalperf.report import document
from pytest_metalperf.report.json import SessionFile
from pytest_metalperf.results.measurement import Measurement
from pytest_metalperf.results.run import Run
from pytest_metalperf.session import MetalSession
from pytest_metalperf.settings import Settings
from pytest_metalperf.workloads.workload import Workload

VERSIONS = dict.fromkeys(("tensorflow", "keras", "numpy", "h5py", "protobuf", "python", "macos", "ml-dtypes"), "1.23.4")
CONDITIONS = dict.fromkeys(("other_load", "stolen", "background", "memory_free", "speed_limit", "temperature"), 0.123)
WORK = {"operations": {f"Operation{number}": number for number in range(1, 60)}, "flop": 4.1e9, "parameters": 5_000_000}


def run(samples: int, session: str) -> Run:
    """One run with everything that a run may know."""
    seconds = random.gauss(0.1, 0.002)
    return Run(
        samples=tuple(random.gauss(seconds, 0.003) for _ in range(samples)),
        batches_per_block=1,
        first_batch_seconds=3.1,
        session=session,
        recorded="2026-01-01",
        peak_memory_bytes=10**9,
        versions=VERSIONS,
        conditions=CONDITIONS,
        joules_per_batch=1.0,
        fingerprint=WORK,
        trace=[[0.5 * tick, 1980.0, 300.0, 41.0, 0.9] for tick in range(20)],
    )


def measurement(number: int, runs: int, samples: int) -> Measurement:
    """One workload, compared with as many stored runs."""
    stored = [run(samples, f"before-{one}").stored() for one in range(runs)]
    entry = Entry(anchor=Anchor(recorded="2026-01-01", seconds_per_batch=0.1, estimator=ESTIMATOR), runs=stored)
    fresh = [run(samples, "now") for _ in range(runs)]
    figures = [RunFigure(one.estimate.seconds, one.session) for one in fresh]
    judgement = judge(figures, [RunFigure(one.seconds_per_batch, one.session) for one in stored], [])
    workload = Workload(f"net{number}", "gpu", "tensorflow", axes={"image_size": 224, "batch_size": 32})
    return Measurement(
        workload, fresh, judgement.verdict, judgement, entry, nodeid=f"tests/test_net.py::test_it[{number}]"
    )


def main() -> int:
    """Write a session's file as the session would, and read it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=100)
    asked = parser.parse_args()
    random.seed(1)
    found = [measurement(number, asked.runs, asked.samples) for number in range(asked.workloads)]
    settings = Settings()
    with tempfile.TemporaryDirectory() as folder:
        session, path = MetalSession(settings, Path(folder), {}, {}), Path(folder) / "out.json"
        file = SessionFile(path, session)
        took = []
        steps = [
            file.begin,
            *[lambda one=one: added(session, file, one) for one in found],
            lambda: file.end(whole=True),
        ]
        for step in steps:
            since = time.perf_counter()
            step()
            took.append(time.perf_counter() - since)
        since = time.perf_counter()
        document.read(path)
        reading, size = time.perf_counter() - since, path.stat().st_size
    print(f"{asked.workloads} workloads, {asked.runs} runs, {asked.samples} samples: {size / 1e6:.1f} MB")
    each = f"median {1e3 * statistics.median(took):.1f} ms, last {1e3 * took[-1]:.0f} ms"
    print(f"written {len(took)} times in {sum(took):.2f} s ({each})")
    print(f"read in {reading:.2f} s")
    return int(sum(took) >= 2 or size >= 8e6)


def added(session: MetalSession, file: SessionFile, one: Measurement) -> None:
    """A result, as a session finishes it."""
    session.results.append(one)
    session._runs[one.workload.id, "", ""] = one.runs
    file.add(one, Settings(), f'pytest "{one.nodeid}"')


if __name__ == "__main__":
    sys.exit(main())
