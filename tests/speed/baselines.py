"""What the baseline file costs a session: opening and saving many entries, and what noise is learned from.

    python tests/speed/baselines.py

prints seconds of the processor, the lowest of three. Workloads are made up; the file lies in a temporary folder.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_metalperf.baselines.file import Store
from pytest_metalperf.baselines.format2 import rendered
from pytest_metalperf.baselines.schema import Anchor, Entry, Fingerprint, Machine, StoredRun
from pytest_metalperf.judge.evidence import peers, runs_for_the_gate

SESSIONS = 5


def machine(workloads: int, runs: int) -> Machine:
    """So many workloads of so many runs, from a few sessions on different days."""
    chance = random.Random(0)
    return Machine(
        machine={"id": "m"},
        workloads={f"model{i}[b8]@cpu:tensorflow": _entry(chance, runs) for i in range(workloads)},
    )


def _entry(chance: random.Random, runs: int) -> Entry:
    return Entry(
        anchor=Anchor(seconds_per_batch=0.1, recorded="2026-11-01"),
        runs=[_run(chance, i % SESSIONS) for i in range(runs)],
        examples=8,
        work=Fingerprint(operations={f"op{i}": i for i in range(12)}, flop=1e9, parameters=1000),
    )


def _run(chance: random.Random, session: int) -> StoredRun:
    seconds = round(chance.lognormvariate(-2.3, 0.02), 5)
    return StoredRun(
        seconds_per_batch=seconds,
        lower_quartile=seconds,
        upper_quartile=seconds,
        mean_seconds=seconds,
        batches=20,
        first_batch_seconds=5.0,
        session=f"202611{session + 1:02}T120000-abcd",
        recorded=f"2026-11-{session + 1:02}",
        commit="0123456789" * 4,
        clean=True,
        versions={"python": "3.12.3", "tensorflow": "2.21.0", "numpy": "2.5.2"},
        conditions={"load1": round(chance.uniform(0, 8), 2), "throttled": "", "virtual": True, "stolen": 0.0},
    )


def lowest(action: Callable[[], object], times: int = 3) -> float:
    """Seconds that the fastest of a few repeats took."""
    found = []
    for _ in range(times):
        since = time.process_time()
        action()
        found.append(time.process_time() - since)
    return min(found)


def open_and_save(folder: Path, workloads: int = 10_000, runs: int = 2) -> tuple[float, float]:
    """Seconds to open a file, and to store one entry in it."""
    path = folder / "m.json"
    path.write_bytes(rendered(machine(workloads, runs)))
    opened = lowest(lambda: Store(folder, "m"))
    store, number = Store(folder, "m"), iter(range(100))

    def save() -> None:
        entry = _entry(random.Random(next(number)), runs)
        store.update("model7[b8]@cpu:tensorflow", lambda old: entry, {"id": "m"})

    return opened, lowest(save)


def learn(folder: Path, workloads: int = 200, runs: int = 25) -> float:
    """Seconds that a session of all workloads spends on finding what noise is learned from."""
    (folder / "m.json").write_bytes(rendered(machine(workloads, runs)))

    def session() -> None:
        store = Store(folder, "m")
        for key, entry in store.workloads.items():
            runs_for_the_gate(store, entry)
            peers(store, key)

    return lowest(session)


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        opened, saved = open_and_save(Path(folder))
        print(f"10,000 entries of 2 runs: open {opened:.2f} s, save one entry {saved:.2f} s")
        print(f"200 workloads of 25 runs: {learn(Path(folder)):.2f} s a session to find what noise is learned from")


if __name__ == "__main__":
    main()
