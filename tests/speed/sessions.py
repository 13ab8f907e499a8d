"""Gated sessions on unchanged code: how often the gate says what, on this machine.

    python tests/speed/sessions.py [--sessions 50] [--recorded 3] [-k "head or style"] [pytest's arguments …]

First `--recorded` sessions store a baseline, each beside the ones before; then every session gates it. Prints a line per
session and counts at the end. As a pytest plugin (`-p sessions`) this module is the listener that reports verdicts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_metalperf import Measurement

FILE = "METALPERF_SESSION"


def pytest_metalperf_measured(measurement: Measurement) -> None:
    """Report one verdict."""
    line = {
        "workload": measurement.workload.label,
        "verdict": measurement.error or measurement.verdict,
        "change": measurement.change,
        "runs": len(measurement.runs),
        "why": measurement.judgement.reason if measurement.judgement else "",
        "conditions": [dict(run.conditions) for run in measurement.runs],
    }
    with Path(os.environ[FILE]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def session(folder: Path, arguments: list[str]) -> tuple[list[dict], float]:
    """One pytest of the reference suite: what it said of each workload, and the seconds it took."""
    report = folder / "verdicts.jsonl"
    report.unlink(missing_ok=True)
    path = os.pathsep.join([str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")])
    since = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--pyargs", "pytest_metalperf.suite", "-p", "sessions"),
            *(
                "-p",
                "no:cacheprovider",
                f"--metal-baselines={folder / 'baselines'}",
                "--metal-size",
                "quick",
                *arguments,
            ),
        ],
        env={**os.environ, FILE: str(report), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        sys.exit(done.stdout + done.stderr)
    return [json.loads(line) for line in report.read_text().splitlines()], time.monotonic() - since


def shown(one: dict) -> str:
    """One verdict in words."""
    why = f", {one['why']}" if one["why"] else ""
    return f"{one['workload']} {one['verdict']} {one['change'] or 0:+.1%} ({one['runs']} runs{why})"


def main() -> None:
    """Record, then gate again and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--recorded", type=int, default=3)
    parser.add_argument("-k", default="head or style")
    known, others = parser.parse_known_args()
    chosen = ["-k", known.k, *others]
    counts: Counter[str] = Counter()
    runs = verdicts = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(known.recorded):
            session(folder, [*chosen, "--metal-update-baselines", "--metal-update-mode", "extend"])
        for number in range(known.sessions):
            said, seconds = session(folder, chosen)
            counts.update(one["verdict"] for one in said)
            runs += sum(one["runs"] for one in said)
            verdicts += len(said)
            told = "; ".join(map(shown, said))
            print(f"{number + 1}: {seconds:.0f} s; {told}", flush=True)
    print(f"{verdicts} verdicts: {dict(counts)}, {runs / max(1, verdicts):.2f} runs each")


if __name__ == "__main__":
    main()
