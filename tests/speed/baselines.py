"""What the baseline file costs a session: opening and saving many entries, what noise is learned from, and what is no file.

    python tests/speed/baselines.py [MEGABYTES]

prints seconds of the processor, the lowest of three; for files that are none (`support/hostile.py`, 10 MB each) also the peak of
memory beyond what the process had before. Ends with status 1 where a demand is not met. Workloads are made up; files lie in a
temporary folder.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pytest_metalperf.baselines.errors import LONGEST, BaselineError
from pytest_metalperf.baselines.file import Store
from pytest_metalperf.baselines.format2 import rendered
from pytest_metalperf.baselines.reading import MOST_BYTES, parse
from pytest_metalperf.baselines.schema import Anchor, Entry, Fingerprint, Machine, StoredRun
from pytest_metalperf.baselines.writing import regular
from pytest_metalperf.judge.evidence import peers, runs_for_the_gate

sys.path.append(str(Path(__file__).parents[1] / "support"))
from hostile import HOSTILE

SESSIONS = 5
MOST_TO_OPEN, MOST_SECONDS, MOST_MEGABYTES = 0.3, 1.0, 200


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
        fingerprint=Fingerprint(operations={f"op{i}": i for i in range(12)}, flop=1e9, parameters=1000),
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


class Answer(NamedTuple):
    """What reading one file took: seconds of the processor, megabytes beyond those before, and the sentence that refused it."""

    seconds: float
    megabytes: float
    sentence: str


def answer(path: Path) -> Answer:
    """Read one file, in a process of its own."""
    before, since, sentence = peak_megabytes(), time.process_time(), "read"
    try:
        parse(regular(path, MOST_BYTES), path.name, "m")
    except BaselineError as error:
        sentence = str(error)
    return Answer(time.process_time() - since, peak_megabytes() - before, sentence)


def peak_megabytes() -> float:
    """The most that this process ever held; on Linux getrusage tells the parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 1e3
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def hostile(folder: Path, size: int) -> int:
    """Print what each file took, and return how many took too much."""
    missed = 0
    spawn = multiprocessing.get_context("spawn")
    for name, make in HOSTILE.items():
        path = folder / "m.json"
        path.write_bytes(make(size))
        answers = []
        for _ in range(3):
            with ProcessPoolExecutor(1, spawn) as pool:
                answers.append(pool.submit(answer, path).result())
        seconds, megabytes, sentence = min(answers)
        much = seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES or len(sentence) > LONGEST
        missed += much
        print(f"{name:34} {seconds:5.2f} s {megabytes:4.0f} MB  {sentence[:90]}{'   TOO MUCH' * much}", flush=True)
    return missed


def main() -> int:
    """Print all figures."""
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        opened, saved = open_and_save(Path(folder))
        print(f"10,000 entries of 2 runs: open {opened:.2f} s, save one entry {saved:.2f} s")
        print(f"200 workloads of 25 runs: {learn(Path(folder)):.2f} s a session to find what noise is learned from")
        missed = hostile(Path(folder), size)
    print(f"{len(HOSTILE)} files of {size / 1e6:g} MB: {missed} took more than {MOST_SECONDS} s or {MOST_MEGABYTES} MB")
    return bool(missed) or max(opened, saved) > MOST_TO_OPEN


if __name__ == "__main__":
    sys.exit(main())
