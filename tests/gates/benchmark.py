"""The benchmark of gates: false alarms, power and cost of our gate and of other tools' rules on the same runs.

    python tests/gates/benchmark.py [--quick] [--rows PATTERN] [--runs FOLDER] [--plot FILE]

Prints one table: first the rows that the gate must reach, then the grid of noise, then slow minutes, then recorded runs.
``alarms`` is the percentage of ``slower`` on unchanged code. The columns of ratios say how often a step that takes so
many times as long is called ``slower``: at 1.05, our tolerance, it need not be; beyond it this is power. ``inconcl.``, runs
and batches (fresh ones, per verdict) are those of unchanged code. Last come the replays: simulated pairs and recorded ones.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import in_turn
from peers import GATES
from recordings import BadRecording, Store, read_runs, stores
from simulated import Machine
from trial import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trial import Gate, Trial

RATIOS = (1.00, 1.05, 1.10, 1.20, 1.50)
RUN_SDS = (0.003, 0.01, 0.02, 0.05, 0.10)
SESSION_SDS = (0.0, 0.01, 0.02, 0.05)
TO_REACH = {
    "0.3 %, 0": Machine(0.003),
    "1 %, 0": Machine(0.01),
    "2 %, 0": Machine(0.02),
    "5 %, 0": Machine(0.05),
    "1 %, 2 %": Machine(0.01, 0.02),
    "1 %, 2 %, one session": Machine(0.01, 0.02, layout=(5,)),
    "2 %, 5 %, one session": Machine(0.02, 0.05, layout=(5,)),
}
BOUNDS = {  # false alarms, inconclusive on unchanged code, power at 1.10 and 1.20, runs spent on unchanged code
    "0.3 %, 0": (0.001, 0.001, 0.995, 1.0, 1.05),
    "1 %, 0": (0.001, 0.005, 0.99, 1.0, 1.1),
    "2 %, 0": (0.001, 0.03, 0.97, 0.999, 1.4),
    "5 %, 0": (0.003, 0.20, None, 0.90, 3.0),
    "1 %, 2 %": (0.005, 0.10, 0.60, 0.99, 1.5),
    "1 %, 2 %, one session": (None, None, None, None, 3.0),
    "2 %, 5 %, one session": (None, None, None, None, 3.0),
}
RUNS = Path(__file__).parent / "runs"


class Source(Protocol):
    """Where trials come from."""

    def trials(self, name: str, count: int) -> Iterator[Trial]: ...


@dataclass(frozen=True)
class Effort:
    """Trials of a row: at a true ratio of 1.00 and at each other ratio for our gate, and at each ratio for a peer."""

    same: int
    slower: int
    peers: int

    def of(self, gate: Gate, ratio: float) -> int:
        if gate.name != OURS:
            return self.peers
        return self.same if ratio == 1 else self.slower


FULL = Effort(same=20_000, slower=5_000, peers=600)
RECORDED = Effort(same=4_000, slower=4_000, peers=600)  # so few sessions hold no more that differ
QUICK = Effort(same=20, slower=10, peers=5)


@dataclass(frozen=True)
class Rates:
    """What a gate reaches in a row: shares of ``slower`` by ratio, and its answers and costs on unchanged code."""

    slower: Mapping[float, float]
    inconclusive: float
    runs: float
    batches: float


def percent(share: float) -> str:
    return f"{100 * share:g} %" if share else "0"


def rows(folder: Path) -> dict[str, Source]:
    """Every row by name: noise of runs and of sessions, or a recording and what is stored of it."""
    grid = {
        f"{percent(run)}, {percent(session)}": Machine(run, session) for run, session in product(RUN_SDS, SESSION_SDS)
    }
    slow = {f"{percent(run)}, 0, slow minutes": Machine(run, slow_minutes=True) for run in RUN_SDS}
    recorded: dict[str, Source] = {}
    for path in sorted(folder.glob("*.jsonl")):
        recorded.update(stores(path.stem, read_runs(path)))
    return {**TO_REACH, **grid, **slow, **recorded}


def measure(name: str, source: Source, effort: Effort) -> dict[str, Rates]:
    """All gates on the same trials, the first ones of the row."""
    spent: dict[tuple[str, float], Counter[str]] = {(gate.name, ratio): Counter() for gate in GATES for ratio in RATIOS}
    for number, trial in enumerate(source.trials(name, max(effort.same, effort.slower, effort.peers))):
        for gate in GATES:
            for ratio in RATIOS:
                if number < effort.of(gate, ratio):
                    outcome = gate.judge(trial, ratio)
                    spent[gate.name, ratio].update(
                        {outcome.verdict: 1, "verdicts": 1, "runs": outcome.runs, "batches": outcome.batches}
                    )
    return {gate.name: _rates({ratio: spent[gate.name, ratio] for ratio in RATIOS}) for gate in GATES}


def _rates(counts: Mapping[float, Counter[str]]) -> Rates:
    same = counts[1.00]
    inconclusive, runs, batches = (same[key] / same["verdicts"] for key in ("inconclusive", "runs", "batches"))
    slower = {ratio: count["slower"] / count["verdicts"] for ratio, count in counts.items()}
    return Rates(slower, inconclusive, runs, batches)


def header(effort: Effort) -> str:
    columns = "  ".join(["alarms", *(f"{ratio:6.2f}" for ratio in RATIOS[1:]), "inconcl.", "  runs", "batches"])
    return (
        f"run sd, session sd; {effort.same:,} verdicts of ours on unchanged code and {effort.slower:,} at each slowdown "
        f"(on recorded runs {min(effort.same, RECORDED.same):,}), {effort.peers:,} of a peer\n{'':26}{columns}"
    )


def lines(name: str, table: Mapping[str, Rates]) -> Iterator[str]:
    yield name
    for gate, rates in table.items():
        shares = "  ".join(f"{100 * share:6.2f}" for share in rates.slower.values())
        yield f"  {gate:24}{shares}  {100 * rates.inconclusive:8.2f}  {rates.runs:6.2f}  {rates.batches:7.1f}"


def bounds(name: str) -> Iterator[str]:
    """What our gate has to reach in a row, under its columns."""
    if name in BOUNDS:
        alarms, inconclusive, *power, runs = BOUNDS[name]
        below, *above = (_bound("≤", alarms), *(_bound("≥", share) for share in power))
        yield f"  {'to reach':24}{below}  {'':6}  {'  '.join(above)}  {'':6}    {_bound('≤', inconclusive)}  {f'≤{runs:.2f}':>6}"


def _bound(sign: str, share: float | None) -> str:
    return f"{sign}{100 * share:.1f}".rjust(6) if share is not None else " " * 6


def plot(results: Mapping[str, Mapping[str, Rates]], file: Path) -> None:
    """False alarms and power at 1.10 against run sd, one line per gate, no session noise."""
    import matplotlib.pyplot as plt  # only here: the table needs no plotting library

    plt.rcParams["svg.hashsalt"] = "gates"  # the same file from the same figures
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharex=True)
    for axis, ratio, title in zip(axes, (1.00, 1.10), ("false alarms, %", "power at a 10 % slowdown, %"), strict=True):
        for gate in GATES:
            points = [
                (100 * run_sd, 100 * results[name][gate.name].slower[ratio])
                for run_sd in RUN_SDS
                if (name := f"{percent(run_sd)}, 0") in results
            ]
            style = {"linewidth": 3.0, "color": "black", "zorder": 3} if gate.name == OURS else {"linewidth": 1.2}
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=gate.name, **style)
        axis.set(title=title, xlabel="run-to-run sd, %", xscale="log")
        axis.set_xticks([100 * sd for sd in RUN_SDS], [f"{100 * sd:g}" for sd in RUN_SDS], minor=False)
        axis.minorticks_off()
    axes[0].set_yscale("symlog", linthresh=0.1)
    axes[0].set_ylim(-0.01, 60)
    axes[0].set_yticks([0, 0.1, 1, 10, 50], ["0", "0.1", "1", "10", "50"])
    axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a handful of trials: whether it runs, not what it says")
    parser.add_argument("--rows", type=re.compile, default="", help="only rows in whose name this pattern is found")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of recorded runs")
    parser.add_argument("--plot", type=Path, default=Path(__file__).parent / "gates.svg")
    known = parser.parse_args(arguments)
    effort = QUICK if known.quick else FULL
    try:
        chosen = {name: source for name, source in rows(known.runs).items() if re.search(known.rows, name)}
        print(header(effort), flush=True)
        results = {}
        for name, source in chosen.items():
            own_effort = RECORDED if isinstance(source, Store) and not known.quick else effort
            results[name] = measure(name, source, own_effort)
            print(*lines(name, results[name]), *bounds(name), sep="\n", flush=True)
        pairs = {name: source for name, source in in_turn.sources().items() if re.search(known.rows, name)}
        for line in in_turn.lines(pairs, 5 if known.quick else 1000) if pairs else ():
            print(line, flush=True)
    except BadRecording as error:
        sys.exit(str(error))
    if any(f"{percent(run_sd)}, 0" in results for run_sd in RUN_SDS):
        plot(results, known.plot)


if __name__ == "__main__":
    main()
