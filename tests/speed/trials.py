"""Verdicts at a small tolerance: `python tests/speed/trials.py --backend torch --device gpu`.

A stack of 20 dense layers is recorded (three times three runs, prepared anew each time, stored as three sessions), then
judged again and again: unchanged (`--same` verdicts) and with a 21st layer, which makes its step 5 % longer (`--longer`).
Every verdict takes fresh processes, one run or as many as the gate asks for. Prints what runs differ by, and the verdicts.
Three sessions, because the gate takes sessions to differ by 1.5 % and more until it has seen as many: with `--sessions 1` a
step 5 % longer is `inconclusive` at a tolerance of 2 %, however quiet the machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reference import fresh_runs

from pytest_metalperf.gate import Rule, RunFigure, judge
from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.plan import Plan, Request
from pytest_metalperf.results.run import Run
from pytest_metalperf.workloads.workload import Workload

DEPTH = 20
STORED_RUNS = 3  # of a session


def runs(fleet: Fleet, asked: argparse.Namespace, depth: int, side: int) -> Iterator[Run]:
    """Fresh runs, prepared side by side, for as long as they are asked for."""
    module, function = ("dense", "dense") if asked.how == "keras" else ("layers", f"{asked.backend}_layers")
    file = str(Path(__file__).with_name(f"{module}.py"))
    source = {"kind": "import", "module": module, "file": file, "name": function, "root": str(Path(file).parent)}
    axes: dict[str, object] = {"depth": depth, "width": asked.width, "batch_size": asked.width}
    if asked.how != "keras":
        axes["how"] = asked.how
    workload = Workload(module, asked.device, asked.backend, axes, source)
    return fresh_runs(fleet, Request(workload, asked.backend), Plan(10, 3), side)


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--how", default="keras", choices=("keras", "shorthand", "step"), help="who writes the step")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--side", type=int, default=4, help="workers that prepare side by side")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=0.02)
    parser.add_argument("--same", type=int, default=20)
    parser.add_argument("--longer", type=int, default=10)
    asked = parser.parse_args()
    rule = Rule(tolerance=asked.tolerance)
    fleet = Fleet(session="trials")
    try:
        stored = []
        for number in range(asked.sessions):
            recorded = runs(fleet, asked, DEPTH, STORED_RUNS)
            stored += [RunFigure(next(recorded).estimate.seconds, f"session {number}") for _ in range(STORED_RUNS)]
            recorded.close()
        seen = [run.seconds for run in stored]
        print("stored: " + " ".join(f"{1000 * seconds:.3f}" for seconds in seen) + " ms", flush=True)
        fresh = runs(fleet, asked, DEPTH, asked.side)
        for what, depth, trials in (("unchanged", DEPTH, asked.same), ("one layer more", DEPTH + 1, asked.longer)):
            fresh = fresh if depth == DEPTH else runs(fleet, asked, depth, asked.side)
            verdicts: Counter[str] = Counter()
            changes, spent, measured = [], 0, []
            for _ in range(trials):
                now: list[RunFigure] = []
                while True:
                    now.append(RunFigure(next(fresh).estimate.seconds, "now"))
                    judgement = judge(now, stored, [], rule)
                    if judgement.decided:
                        break
                verdicts[judgement.verdict] += 1
                changes.append(judgement.change)
                spent += len(now)
                measured += [f"{1000 * run.seconds:.3f}" for run in now]
                seen += [run.seconds for run in now] if depth == DEPTH else []
            said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
            low, high = 100 * min(changes), 100 * max(changes)
            print(
                f"{what}: {trials} verdicts: {said}; change {low:+.2f} to {high:+.2f} %, {spent} fresh runs", flush=True
            )
            print(f"  {' '.join(measured)} ms", flush=True)
        mean = statistics.fmean(seen)
        print(
            f"{asked.device}:{asked.backend}, {asked.how}: {1000 * mean:.3f} ms a batch; {len(seen)} runs of unchanged code"
            f" differ by {100 * statistics.stdev(seen) / mean:.2f} % (sd)"
        )
    finally:
        fleet.close()


if __name__ == "__main__":
    main()
