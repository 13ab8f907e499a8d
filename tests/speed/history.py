"""A history of 100,000 runs: seconds to open it, to add a session, and to answer the trend of one workload.

    python tests/speed/history.py [--workloads 200] [--sessions 500] [--all]

With `--all`, also those to list all workloads. Each is what a fresh process takes, imports apart. Prints seconds and bytes; exit
code 1 where one of the first three takes a second or more.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import ruptures  # noqa: F401 - loaded before the clock starts

from pytest_metalperf.history.change_points import find_steps  # noqa: F401
from pytest_metalperf.history.rows import RunRow, SessionRow
from pytest_metalperf.history.store import Store
from pytest_metalperf.history.trend import history

VERSIONS = dict.fromkeys(("tensorflow", "keras", "numpy", "h5py", "protobuf", "python", "macos", "ml-dtypes"), "1.23.4")
CONDITIONS = dict.fromkeys(("other_load", "stolen", "background", "memory_free", "speed_limit", "temperature"), 0.012)
CONDITIONS["speed_limit"] = 1.0


def session(number: int, workloads: int) -> tuple[SessionRow, list[RunRow]]:
    """One run of each workload; from the middle of 500 on, all are 5 % slower."""
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + 7200 * number))
    head = SessionRow(
        machine="macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb",
        id=f"{day.replace('-', '').replace(':', '')[:-1]}-{number % 65536:04x}",
        started=day,
        written=day,
        state="finished",
        plugin="0.1.0",
        estimator="mean of what quarters share",
        os="macOS 14.1",
        commit=f"{number:040x}",
        clean=True,
    )
    one = RunRow(
        workload="",
        device="gpu",
        in_turn=False,
        seconds_per_batch=0.1,
        lower_quartile=0.099,
        upper_quartile=0.102,
        first_batch_seconds=3.1,
        batches=100,
        examples=32,
        parameters=5_000_000,
        flop=4.1e9,
        peak_memory_bytes=10**9,
        joules_per_batch=1.0,
        versions=msgspec.json.encode(VERSIONS).decode(),
        conditions=msgspec.json.encode(CONDITIONS).decode(),
    )
    level = 0.1 * (1.05 if number >= 250 else 1.0)
    runs = [
        replace(one, workload=f"net{which}[224px,b32]@gpu:tensorflow", seconds_per_batch=level * random.gauss(1, 0.02))
        for which in range(workloads)
    ]
    return head, runs


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    since = time.perf_counter()
    found = what()
    return time.perf_counter() - since, found


def main() -> int:
    """Fill a store, and time what a session and a person ask of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--all", action="store_true")
    asked = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "past.db"
        with Store(path, write=True) as store:
            filling, _ = timed(
                lambda: [store.add(*session(number, asked.workloads)) for number in range(asked.sessions)]
            )
        opening, store = timed(lambda: Store(path, write=True))
        adding, _ = timed(lambda: store.add(*session(asked.sessions, asked.workloads)))
        store.close()
        (machine, workload), reading = ("", ""), Store(path)
        listing, series = timed(reading.workloads)
        machine, workload = series[len(series) // 2]
        trend, found = timed(lambda: history(reading, machine, workload))
        whole, _ = timed(lambda: [history(reading, *one) for one in series]) if asked.all else (None, None)
        reading.close()
        size = path.stat().st_size
    runs = asked.workloads * (asked.sessions + 1)
    print(f"{runs:,} runs of {asked.workloads} workloads, {size / 1e6:.0f} MB, filled in {filling:.1f} s")
    print(f"opened in {1e3 * opening:.0f} ms; {asked.workloads} runs added in {1e3 * adding:.0f} ms")
    steps = ", ".join(f"{100 * one.change:+.1f} % at point {one.likely}" for one in found.changes)
    print(f"workloads listed in {1e3 * listing:.0f} ms; trend of {found.runs} runs in {1e3 * trend:.0f} ms ({steps})")
    if whole is not None:
        print(f"trends of all in {whole:.1f} s")
    print(f"load {os.getloadavg()[0]:.1f}")
    return int(max(opening, adding, listing + trend) >= 1)


if __name__ == "__main__":
    sys.exit(main())
