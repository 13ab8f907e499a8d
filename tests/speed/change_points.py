"""Planted steps: how often `history` finds them within three commits, and how often it sees one where nothing changed.

    python tests/speed/change_points.py [--series 500] [--runs 1] [--step 0.05] [--margin 10]

Each series has 60 commits, a run of each; the step lies anywhere but among the first and the last ten. Seeds are fixed. Beside
ours stand two other rules, both with the true noise: ruptures on what was measured (penalty 4 sd² ln n), and the same on the
means of hours. `possible` is what one finds who knows the noise, and that there is one step at most: by the likeliest stretch of
seven commits, where a step is as significant as one in a hundred unchanged series. Exit code 1 where a row of ours has false
steps in more than 1 %, or is below 95 % though 97 % are possible.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruptures import KernelCPD

from pytest_metalperf.history.change_points import Step, find_steps

GATES = Path(__file__).parents[1] / "gates"
sys.path.insert(0, str(GATES))
COMMITS = 60
NEAR = 3


@dataclass(frozen=True)
class Row:
    """Relative standard deviations of runs and of hours, commits that one hour measures, runs of each commit."""

    run_sd: float
    hour_sd: float
    commits: int
    runs: int = 1

    @property
    def hours(self) -> np.ndarray:
        """The hour of each commit."""
        return np.arange(COMMITS) // self.commits

    def series(self, random: np.random.Generator) -> np.ndarray:
        """Logarithms of seconds: a row per commit, a column per run; without a step."""
        hours = self.hour_sd * random.standard_normal(self.hours[-1] + 1)
        return hours[self.hours][:, None] + self.run_sd * random.standard_normal((COMMITS, self.runs))

    @property
    def covariance(self) -> np.ndarray:
        """Of the means of commits."""
        same = self.hours[:, None] == self.hours[None]
        return self.hour_sd**2 * same + self.run_sd**2 / self.runs * np.eye(COMMITS)


ROWS = [Row(run_sd, hour_sd, commits) for run_sd in (0.01, 0.02) for hour_sd in (0.0, 0.02) for commits in (1, 4)]


def planted(row: Row, count: int, step: float, margin: int) -> Iterator[tuple[np.ndarray, int]]:
    """So many series, and the first commit after the step in each; 0 where `step` is."""
    seed = [16, round(1000 * row.run_sd), round(1000 * row.hour_sd), row.commits, row.runs, bool(step)]
    random = np.random.default_rng(seed)
    for _ in range(count):
        levels, place = row.series(random), int(random.integers(margin, COMMITS - margin + 1))
        levels[place:] += math.log1p(step)
        yield levels, place if step else 0


def ours(levels: np.ndarray, hours: np.ndarray) -> list[Step]:
    """What `history` says."""
    return find_steps(np.exp(levels).tolist(), hours.tolist())


def plain(levels: np.ndarray, row: Row) -> list[int]:
    """Ruptures on what was measured, as if commits of an hour knew nothing of each other."""
    sd = math.hypot(row.run_sd / math.sqrt(row.runs), row.hour_sd)
    return _ruptures(levels.mean(axis=1), sd)


def collapsed(levels: np.ndarray, row: Row) -> list[int]:
    """Ruptures on the means of hours; a step is where the hour begins."""
    means = np.bincount(row.hours, levels.mean(axis=1)) / row.commits
    sd = math.hypot(row.run_sd / math.sqrt(row.runs * row.commits), row.hour_sd)
    return [row.commits * place for place in _ruptures(means, sd)]


def _ruptures(values: np.ndarray, sd: float) -> list[int]:
    penalty = 4 * sd**2 * math.log(len(values))
    return KernelCPD(kernel="linear", min_size=2).fit(values[:, None] - values.mean()).predict(pen=penalty)[:-1]


def informed(levels: np.ndarray, inverse: np.ndarray) -> tuple[float, int]:
    """How significant the best step is, the noise known; and the middle of the seven places that hold it most probably."""
    columns = (np.arange(COMMITS)[:, None] >= np.arange(1, COMMITS)).astype(float)
    ones, values = np.ones(COMMITS), levels.mean(axis=1)
    level = ones @ inverse
    free = columns - np.outer(ones, level @ columns / (level @ ones))
    left = values - level @ values / (level @ ones)
    gain = np.square(left @ inverse @ free) / np.einsum("nt,nm,mt->t", free, inverse, free)
    probable = np.exp((gain - gain.max()) / 2)
    around = np.convolve(probable, np.ones(2 * NEAR + 1), mode="same")
    return float(gain.max()), 1 + int(np.argmax(around))


def near(places: Sequence[int], truth: int) -> bool:
    """Whether one of them is within three commits."""
    return any(abs(place - truth) <= NEAR for place in places)


def figures(row: Row, series: int, step: float, margin: int) -> dict[str, float]:
    """The shares of one row of the table."""
    inverse = np.linalg.inv(row.covariance)
    found: dict[str, list[bool]] = {}

    def add(**hits: bool) -> None:
        for name, hit in hits.items():
            found.setdefault(name, []).append(hit)

    significance, known = [], []
    for levels, truth in planted(row, series, step, margin):
        gain, place = informed(levels, inverse)
        known.append(gain if abs(place - truth) <= NEAR else 0.0)
        steps = ours(levels, row.hours)
        near_one = [one for one in steps if abs(one.place - truth) <= NEAR]
        add(
            found=bool(near_one),
            seen=bool(steps),
            more=len(steps) > 1,
            within=any(one.first <= truth <= one.last for one in steps),
            interval=bool(steps) and any(one.change_low <= step <= one.change_high for one in steps),
            plain=near(plain(levels, row), truth),
            collapsed=near(collapsed(levels, row), truth),
        )
    for levels, _ in planted(row, series, 0.0, margin):
        significance.append(informed(levels, inverse)[0])
        add(
            false=bool(ours(levels, row.hours)),
            plain_false=bool(plain(levels, row)),
            collapsed_false=bool(collapsed(levels, row)),
        )
    shares = {name: sum(hits) / len(hits) for name, hits in found.items()}
    shares["possible"] = float(np.mean(np.array(known) > np.quantile(significance, 0.99)))
    seen = max(1, sum(found["seen"]))
    shares["interval"] = sum(found["interval"]) / seen
    shares["within"] = sum(found["within"]) / seen
    return shares


def recorded(file: Path, commits: int, count: int) -> Iterator[tuple[str, int, int]]:
    """Of each workload of a recording: unchanged series of its sessions, drawn again and again, in which ours sees a step."""
    from recordings import our_estimate, read_runs

    random, hours = np.random.default_rng(3), np.arange(COMMITS) // commits
    for workload, sessions in read_runs(file).items():
        figures = [[math.log(our_estimate(np.array(run.samples))) for run in runs] for runs in sessions.values()]
        seen = 0
        for _ in range(count):
            levels: list[float] = []
            for _ in range(COMMITS // commits):
                runs = figures[random.integers(len(figures))]
                start = random.integers(len(runs))
                levels += [runs[(start + later) % len(runs)] for later in range(commits)]
            seen += bool(ours(np.array(levels)[:, None], hours))
        yield workload, seen, count


def main() -> int:
    """Print the table; 1 where a row falls short of what it promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--margin", type=int, default=10)
    asked = parser.parse_args()
    since, short = time.perf_counter(), False
    print(
        "| runs differ by | hours by | commits an hour | found | possible | a step at all | false | its range holds it |"
        " its interval holds 5 % | ruptures alone: found, false | on means of hours: found, false |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in (Row(one.run_sd, one.hour_sd, one.commits, asked.runs) for one in ROWS):
        got = figures(row, asked.series, asked.step, asked.margin)
        short |= got["false"] > 0.01 or got["found"] < 0.95 <= got["possible"] - 0.02
        cells = [f"{100 * row.run_sd:g} %", f"{100 * row.hour_sd:g} %", f"{row.commits}"]
        cells += [f"{100 * got[name]:.1f} %" for name in ("found", "possible", "seen", "false", "within", "interval")]
        cells += [f"{100 * got[name]:.1f} %, {100 * got[f'{name}_false']:.1f} %" for name in ("plain", "collapsed")]
        print("| " + " | ".join(cells) + " |", flush=True)
    for file in sorted((GATES / "runs").glob("*.jsonl")):
        for commits in (1, 4):
            for workload, seen, count in recorded(file, commits, asked.series // 2):
                print(f"recorded {workload}, {commits} commits an hour: a step in {seen} of {count} unchanged series")
    print(
        f"{asked.series} series a row, runs a commit: {asked.runs}; {time.perf_counter() - since:.0f} s,"
        f" load {os.getloadavg()[0]:.1f}"
    )
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
