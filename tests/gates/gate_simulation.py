"""Whole sequential verdicts on simulated runs: the table of error rates that the gate must keep.

``python tests/gates/gate_simulation.py`` prints the table with many trials; the tests check its bounds with few.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from pytest_metalperf.gate import Judgement, Rule, RunFigure, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

RULE = Rule()


@dataclass(frozen=True)
class World:
    """A machine: its noise (relative sd on both levels), and what is stored of it."""

    run_sd: float
    session_sd: float = 0.0
    layout: Sequence[int] = (2, 2, 1)  # stored runs of each session
    workloads: int = 5
    shared: bool = False  # one session effect for all workloads instead of one each
    uneven: float = 0.0  # sd of the logarithm of the workloads' own run noise
    tail: float = 0.0  # share of runs that a slow minute makes 1.5 times slower

    def run(self, random: Random, level: float, session: str, run_sd: float) -> RunFigure:
        slow = math.log(1.5) if self.tail and random.random() < self.tail else 0.0
        return RunFigure(math.exp(level + slow + run_sd * random.gauss(0.0, 1.0)), session)

    def store(self, random: Random) -> tuple[list[list[RunFigure]], float]:
        """Stored runs of every workload (the judged one first), and the judged one's run noise."""
        common = [self.session_sd * random.gauss(0.0, 1.0) for _ in self.layout]
        noises = [self.run_sd * math.exp(self.uneven * random.gauss(0.0, 1.0)) for _ in range(self.workloads)]
        entries = []
        for workload in range(self.workloads):
            effects = common if self.shared else [self.session_sd * random.gauss(0.0, 1.0) for _ in self.layout]
            entries.append(
                [
                    self.run(random, workload + effect, f"stored {i}", noises[workload])
                    for i, (effect, runs) in enumerate(zip(effects, self.layout, strict=True))
                    for _ in range(runs)
                ]
            )
        return entries, noises[0]

    def verdict(self, random: Random, ratio: float | None, rule: Rule) -> tuple[Judgement, int]:
        """One whole measurement: the judgement and the runs it took. ``ratio`` None: exactly the smallest visible."""
        (stored, *peers), run_sd = self.store(random)
        if ratio is None:
            ratio = 1 + judge(stored[:1], stored, peers, rule).smallest_visible
        level = math.log(ratio) + self.session_sd * random.gauss(0.0, 1.0)
        now: list[RunFigure] = []
        while True:
            now.append(self.run(random, level, "now", run_sd))
            judgement = judge(now, stored, peers, rule)
            if judgement.decided:
                return judgement, len(now)


@dataclass(frozen=True)
class Rates:
    """Shares of the verdicts, mean runs spent, and the mean smallest visible slowdown."""

    slower: float
    inconclusive: float
    within: float
    faster: float
    runs: float
    smallest_visible: float


def simulate(world: World, ratio: float | None, trials: int, rule: Rule = RULE, seed: int = 20) -> Rates:
    verdicts: Counter[str] = Counter()
    spent, visible = 0, 0.0
    for trial in range(trials):
        judgement, runs = world.verdict(Random(f"{seed} {trial}"), ratio, rule)
        verdicts[judgement.verdict] += 1
        spent += runs
        visible += math.log1p(judgement.smallest_visible)
    shares = [verdicts[name] / trials for name in ("slower", "inconclusive", "within", "faster")]
    return Rates(*shares, runs=spent / trials, smallest_visible=math.expm1(visible / trials))


ROWS = {
    "0.3 %, 0": World(0.003),
    "1 %, 0": World(0.01),
    "2 %, 0": World(0.02),
    "5 %, 0": World(0.05),
    "1 %, 2 %, three sessions": World(0.01, 0.02),
    "1 %, 1 %, three sessions": World(0.01, 0.01),
    "2 %, 5 %, three sessions": World(0.02, 0.05),
    "5 %, 5 %, three sessions": World(0.05, 0.05),
    "1 %, 2 %, one session": World(0.01, 0.02, layout=(5,)),
    "2 %, 5 %, one session": World(0.02, 0.05, layout=(5,)),
    "quick: 10 %, 0, two runs, 6 workloads": World(0.10, layout=(2,), workloads=6),
    "quick: 10 %, 5 %": World(0.10, 0.05, layout=(2,), workloads=6),
    "quick: 10 %, 10 %": World(0.10, 0.10, layout=(2,), workloads=6),
    "1 %, 2 % shared by all, three sessions": World(0.01, 0.02, shared=True),
    "1 %, 4 %, twelve workloads": World(0.01, 0.04, workloads=12),
    "1 %, 4 % shared by all of twelve": World(0.01, 0.04, workloads=12, shared=True),
    "2 %, 0, uneven workloads": World(0.02, uneven=0.5),
    "2 %, 0, 3 % slow minutes": World(0.02, tail=0.03),
    "2 %, 0, no peers": World(0.02, workloads=1),
    "2 %, 0, one session, no peers": World(0.02, layout=(5,), workloads=1),
}


def main(trials: int) -> None:
    print(f"{'run sd, session sd':40} alarms inconcl.  runs  1.05   1.10   1.20   2.00 | visible  seen")
    for name, world in ROWS.items():
        same = simulate(world, 1.0, trials)
        powers = [simulate(world, ratio, trials // 4).slower for ratio in (1.05, 1.10, 1.20, 2.00)]
        seen = simulate(world, None, trials // 4).slower
        print(
            f"{name:40} {100 * same.slower:6.2f} {100 * same.inconclusive:6.2f}  {same.runs:6.3f}"
            + "".join(f" {100 * power:6.2f}" for power in powers)
            + f" | {100 * same.smallest_visible:5.1f}  {100 * seen:5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
