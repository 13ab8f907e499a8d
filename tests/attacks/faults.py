"""Sessions that are killed at random instants: a command that counts what was lost and what was left.

    python tests/attacks/faults.py [TRIALS] [SEED]

Each trial ends a session that records, updates, extends or upgrades a baseline file, or one of its workers, by a random signal
after a random time. Then the file must be the old one or a whole new one, nothing that the session had started may live five
seconds later, and the next session must pass and leave nothing but the file in the folder. One that was ended by SIGINT or
SIGTERM must have ended within five seconds, with a row of its table for each test that had passed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from suites import CONFTEST

from pytest_metalperf.baselines.errors import BaselineError
from pytest_metalperf.baselines.reading import parse

TESTS = """
import os, sys, time
import pytest
from fake_backend import FakeModel

def build(number):
    if number == 1 and not os.fork():  # what a data loader leaves
        os.setsid()
        time.sleep(60)
        os._exit(0)
    return FakeModel(0.1 * float(os.environ.get("FACTOR", "1")))

@pytest.mark.parametrize("number", range(3))
def test_it(metal_bench, number):
    metal_bench(build, name=f"model {number}", number=number)
"""
INI = "[pytest]\nmetal_backend = fake\nmetal_machine = here\nmetal_devices = cpu\nmetal_runs = 2\naddopts = -p no:cacheprovider\n"
MODES = {
    "record": (["--metal-update-baselines"], ""),
    "update": (["--metal-update-baselines"], "recorded"),
    "extend": (["--metal-update-baselines", "--metal-update-mode=extend"], "recorded"),
    "all": (["--metal-update-baselines", "--metal-update-mode=all"], "recorded"),
    "upgrade": (["--metal-update-baselines", "--metal-update-mode=all"], "format 1"),
    "gate": ([], "recorded"),
}
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "worker")


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", *more]


def environment(folder: Path, factor: float = 1.0) -> dict[str, str]:
    return {**os.environ, "PYTEST_METALPERF_LOCK": str(folder.parent / "lock"), "FACTOR": str(factor), "FAKE": "{}"}


def format_1(recorded: bytes) -> bytes:
    """The same figures as 0.1 wrote them."""
    whole = json.loads(recorded)
    entries = {}
    for key, entry in whole["workloads"].items():
        run = {
            k: v for k, v in entry["runs"][0].items() if k not in ("estimator", "mean_seconds", "versions", "session")
        }
        run |= {"session": "20260101T000000-aaaa", "recorded": "2026-01-01", "commit": None, "versions": {}}
        anchor = {"seconds_per_batch": run["seconds_per_batch"], "recorded": "2026-01-01", "commit": None}
        entries[key] = {"anchor": anchor, "runs": [run]}
    return json.dumps({"format": 1, "machine": {"id": "here"}, "workloads": entries}).encode()


def descendants(pid: int) -> set[psutil.Process]:
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return set()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def untold(text: str) -> list[str]:
    """What a session's table lacks of the tests that have passed."""
    tests, _, table = text.partition("= training performance =")
    passed = re.findall(r"test_it\[cpu-(\d)\] PASSED", tests)
    return [f"the table lacks model {number}" for number in passed if f"\nmodel {number}[" not in table]


def trial(chance: random.Random, folder: Path, before: dict[str, bytes], length: float) -> list[str]:
    """What was wrong after one session that was ended."""
    mode, how = chance.choice(list(MODES)), chance.choice(SIGNALS)
    flags, start = MODES[mode]
    file = folder / "baselines" / "here.json"
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    if start:
        file.write_bytes(before[start])
    after = chance.uniform(0.1, length)
    out = folder.parent / "out.txt"
    with (
        out.open("w") as printed,
        subprocess.Popen(
            command("-v", *flags),
            cwd=folder,
            env=environment(folder, chance.choice((1.0, 1.3))),
            stdout=printed,
            stderr=subprocess.DEVNULL,
        ) as session,
    ):
        started: set[psutil.Process] = set()
        until = time.monotonic() + after
        while time.monotonic() < until and session.poll() is None:
            started |= descendants(session.pid)
            time.sleep(0.02)
        started |= descendants(session.pid)
        if how == "worker":
            workers = [one for one in started if lives(one)]
            if workers:
                chance.choice(workers).kill()
        elif session.poll() is None:
            session.send_signal(getattr(signal, how))
        try:
            session.wait(5 if how != "worker" else 60)
        except subprocess.TimeoutExpired:
            session.kill()
            return [f"{mode}, {how} after {after:.2f} s: pytest did not end"]
    wrong = [f"{mode}, {how} after {after:.2f} s: {sentence}" for sentence in untold(out.read_text())]
    wrong = wrong if how in ("SIGINT", "SIGTERM") else []
    until = time.monotonic() + 5
    while (left := [one for one in started if lives(one)]) and time.monotonic() < until:
        time.sleep(0.05)
    for one in left:
        wrong.append(f"{mode}, {how} after {after:.2f} s: left {one}")
        one.kill()
    if file.exists():
        try:
            parse(file.read_bytes(), file.name, "here")
        except BaselineError as error:
            wrong.append(f"{mode}, {how} after {after:.2f} s: {error}")
    elif start:
        wrong.append(f"{mode}, {how} after {after:.2f} s: the file is gone")
    done = subprocess.run(
        command("--metal-update-baselines", "--metal-update-mode=all"),
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        wrong.append(f"{mode}, {how} after {after:.2f} s: the next session: {done.stdout.splitlines()[-1]}")
    stray = [path.name for path in file.parent.iterdir() if path != file and not path.name.startswith(".")]
    if stray:
        wrong.append(f"{mode}, {how} after {after:.2f} s: stray {', '.join(stray)}")
    return wrong


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 14)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name) / "suite"
        folder.mkdir()
        for file, text in {"conftest.py": CONFTEST, "test_suite.py": TESTS, "pytest.ini": INI}.items():
            (folder / file).write_text(text)
        started = time.monotonic()
        subprocess.run(
            command("--metal-update-baselines"), cwd=folder, env=environment(folder), check=True, capture_output=True
        )
        length = time.monotonic() - started
        recorded = (folder / "baselines" / "here.json").read_bytes()
        before = {"recorded": recorded, "format 1": format_1(recorded)}
        done = 0
        with contextlib.suppress(KeyboardInterrupt):  # what was tried until then counts
            for done in range(trials):
                for sentence in trial(chance, folder, before, length):
                    found["wrong"] += 1
                    print(f"{done}: {sentence}", flush=True)
            done = trials
    print(f"{done} trials of sessions of {length:.1f} s: {found['wrong']} things lost, left or untold")
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
