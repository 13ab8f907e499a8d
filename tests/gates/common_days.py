"""Days that all workloads of a machine share: verdicts by stored figures, with and without what the others show.

``python tests/gates/common_days.py 4000`` prints the table of gate/README.md; the tests check its bounds with few trials.
Every workload is recorded in the same sessions, unless they are ``apart``. Today each of the others is looked at once, as a
suspect at the end of a session finds them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from pytest_metalperf.gate import Judgement, Peer, Rule, RunFigure, is_slower_beyond, judge, shared_slowdown

RULE = Rule()
LAYOUTS = {1: (5,), 2: (3, 2), 3: (2, 2, 1), 5: (1, 1, 1, 1, 1)}
"""Runs of each session, by how many sessions are stored."""


class Rates(NamedTuple):
    """Shares of the verdicts of one workload that are `slower`: by its own figures, and beside the others'."""

    alone: float
    beside: float


@dataclass(frozen=True)
class Days:
    """A machine: relative standard deviations of runs, of what a session is to all workloads, and to each by itself."""

    workloads: int
    run_sd: float
    common_sd: float = 0.0
    own_sd: float = 0.0
    sessions: int = 3
    apart: bool = False

    def verdict(self, random: Random, ratio: float, slowed: int) -> tuple[bool, bool]:
        """Whether the first workload is `slower`, alone and beside the others, where the first so many are slowed."""
        layout = LAYOUTS[self.sessions]
        days = self._days(random, layout)
        stored = [
            Peer(self._recorded(random, self._days(random, layout) if self.apart else days, layout))
            for _ in range(self.workloads)
        ]
        today = self.common_sd * random.gauss(0.0, 1.0)
        levels = [
            today + self.own_sd * random.gauss(0.0, 1.0) + (math.log(ratio) if workload < slowed else 0.0)
            for workload in range(self.workloads)
        ]

        def judged(workload: int, runs: list[RunFigure]) -> Judgement:
            return judge(runs, stored[workload], stored[:workload] + stored[workload + 1 :], RULE)

        now: list[RunFigure] = []
        while True:
            now.append(self._run(random, levels[0], "now"))
            judgement = judged(0, now)
            if judgement.decided:
                break
        if judgement.verdict != "slower":
            return False, False
        looks = [judged(i, [self._run(random, levels[i], "now")]) for i in range(1, self.workloads)]
        shared = shared_slowdown(looks)
        return True, shared is None or is_slower_beyond(judgement, shared, RULE)

    def _days(self, random: Random, layout: tuple[int, ...]) -> list[float]:
        return [self.common_sd * random.gauss(0.0, 1.0) for _ in layout]

    def _recorded(self, random: Random, days: list[float], layout: tuple[int, ...]) -> list[RunFigure]:
        effects = [day + self.own_sd * random.gauss(0.0, 1.0) for day in days]
        return [
            self._run(random, effect, f"stored {i}")
            for i, (effect, runs) in enumerate(zip(effects, layout, strict=True))
            for _ in range(runs)
        ]

    def _run(self, random: Random, level: float, session: str) -> RunFigure:
        return RunFigure(math.exp(level + self.run_sd * random.gauss(0.0, 1.0)), session)

    def rates(self, ratio: float, trials: int, slowed: int = 1, seed: int = 15) -> Rates:
        """Rates of `slower` where the first so many workloads take `ratio` times as long."""
        found = [self.verdict(Random(f"{seed} {trial}"), ratio, slowed) for trial in range(trials)]
        alone, beside = (sum(each) / trials for each in zip(*found, strict=True))
        return Rates(alone, beside)


NOISES = {
    "1 %, 4 % shared": (0.01, 0.04, 0.0),
    "1.5 %, 7 % shared": (0.015, 0.07, 0.0),
    "1.5 %, 10 % shared": (0.015, 0.10, 0.0),
    "1 %, 4 % each": (0.01, 0.0, 0.04),
    "1.5 %, 5 % shared and 5 % each": (0.015, 0.05, 0.05),
    "1.5 %, 7 % shared today": (0.015, 0.07, 0.0),
    "2 %, 0": (0.02, 0.0, 0.0),
    "5 %, 0": (0.05, 0.0, 0.0),
}
APART = {"1.5 %, 7 % shared today"}
"""Machines of which each workload was recorded on days of its own."""
SIZES = ((1, 3), (3, 3), (4, 3), (10, 1), (10, 2), (10, 3), (10, 5), (30, 3))
"""Workloads, and stored sessions."""


def main(trials: int) -> None:
    print(f"{'run sd, session sd':32} workloads sessions | same | 1.10 | 1.20 | 1.50 | two of them 1.3 | all 1.3")
    for name, noise in NOISES.items():
        for workloads, sessions in SIZES:
            days, fewer = Days(workloads, *noise, sessions, apart=name in APART), trials // 4
            rates = [days.rates(1.0, trials), *(days.rates(ratio, fewer) for ratio in (1.1, 1.2, 1.5))]
            rates += [days.rates(1.3, fewer, slowed=min(slowed, workloads)) for slowed in (2, workloads)]
            shown = " | ".join(f"{100 * alone:5.1f} {100 * beside:5.1f}" for alone, beside in rates)
            print(f"{name:32} {workloads:9} {sessions:8} | {shown}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
