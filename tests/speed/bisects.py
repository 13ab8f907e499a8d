"""Searches of `bisect`: simulated from recorded pairs of a noisy machine, and one for real.

    python tests/speed/bisects.py [--searches 200] [--commits 16] [--ratio 1.10] [--simulated]
    python tests/speed/bisects.py --real FOLDER [--slower 11] [--backend tensorflow] [--device cpu]

A simulated search draws pairs of `tests/gates/pairs` at random, swaps the sides of half of them, since both are the same code,
and makes BAD's side slower where the commit is older than the first slower one, which is another in each search. It is the
command's own search, the question whether there is a step at all among it. Prints a row per source: in how many searches the
right commit was found, and how many pairs they took. Status 1 where fewer than 95 % were right with recorded pairs.

`--real` makes a repository of 16 commits in FOLDER, a net of 20 dense layers of which one commit makes 22 (Keras; plain PyTorch
with `--backend torch`), and searches it with the command; asked again with the same folder, it goes on where it was ended.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "gates"))

import replays  # noqa: E402
from in_turn import Pair, drawn, simulated, sources, spread  # noqa: E402

from pytest_metalperf.bisect.likelihood import GOOD, figure  # noqa: E402
from pytest_metalperf.bisect.search import PAIRS, searched  # noqa: E402
from pytest_metalperf.bisect.step import is_step  # noqa: E402

LEAST_RIGHT = 0.95


@dataclass(frozen=True)
class Search:
    """How one simulated search ended: `right`, `wrong`, `no step` or `open`, after so many pairs."""

    end: str
    pairs: int


def search(source: Iterator[Pair], commits: int, first: int, ratio: float) -> Search:
    """One search for a step at a commit, from GOOD's comparison on."""
    spent = 0

    def pairs(index: int) -> list[Pair]:
        nonlocal spent
        spent += PAIRS
        slower = ratio if index < first else 1.0
        found = (next(source) for _ in range(PAIRS))
        return [([sample * slower for sample in bad], theirs) for bad, theirs in found]

    good = pairs(GOOD)
    while (verdict := is_step(good)) is None:
        good += pairs(GOOD)
    if not verdict:
        return Search("no step", spent)
    *_, last = searched(
        commits, {GOOD: [figure(pair) for pair in good]}, lambda index: [figure(pair) for pair in pairs(index)]
    )
    if not last.is_sure:
        return Search("open", spent)
    return Search("right" if last.best.last == first else "wrong", spent)


def searches(name: str, source: Sequence[Pair] | float, count: int, commits: int, ratio: float) -> list[Search]:
    """So many searches, the step at each commit in turn, each with a seed of its own."""
    found = []
    for number in range(count):
        random = Random(f"{name} {number}")
        pairs = simulated(source, random) if isinstance(source, float) else drawn(source, random)
        found.append(search(pairs, commits, number % commits, ratio))
    return found


def row(name: str, source: Sequence[Pair] | float, found: Sequence[Search]) -> str:
    """Ends and pairs of the searches of one source."""
    sd = source if isinstance(source, float) else spread(source)
    ends, pairs = Counter(one.end for one in found), sorted(one.pairs for one in found)
    nine = pairs[math.ceil(0.9 * len(pairs)) - 1]
    return (
        f"  {name:48} {100 * sd:5.1f} %  {ends['right']:4} of {len(found)}  {ends['wrong']:5}  {ends['no step']:7}"
        f"  {ends['open']:4}  {statistics.mean(pairs):6.1f} {statistics.median(pairs):6.0f} {nine:6}"
    )


def simulate(asked: argparse.Namespace) -> int:
    """The table; 1 where too few searches with recorded pairs were right."""
    print(
        f"{asked.searches} searches of {asked.commits} commits, one of which makes a step {asked.ratio:g} times longer"
    )
    print(f"  {'pairs':48} {'pair sd':>7}  {'right':>11}  wrong  no step  open  pairs: mean, median, 90 %")
    every: list[Search] = []
    mixed: Mapping[str, Sequence[Pair] | float] = sources()
    for name, source in mixed.items():
        if isinstance(source, float) and not asked.simulated:
            continue
        found = searches(name, source, asked.searches, asked.commits, asked.ratio)
        print(row(name, source, found), flush=True)
        if not isinstance(source, float):
            every += found
    right = sum(one.end == "right" for one in every) / len(every)
    print(f"recorded pairs: {100 * right:.1f} % right")
    return 0 if right >= LEAST_RIGHT else 1


class Project:
    """A repository in which one of so many commits makes the net two layers deeper."""

    NET = "DEPTH = {depth}\nMORE = {more}\n\n\ndef build(batch_size=128, width=512):\n{body}\n\n\n# {number}\n"

    def __init__(self, root: Path, backend: str) -> None:
        self.root = root
        self.backend = backend

    def git(self, *words: str) -> str:
        own = ["git", "-C", str(self.root), "-c", "user.name=trial", "-c", "user.email=trial@localhost"]
        return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()

    def make(self, commits: int, slower: int) -> None:
        """GOOD, and so many commits after it."""
        self.root.mkdir(parents=True)
        (self.root / "test_net.py").write_text(replays.TEST)
        (self.root / ".gitignore").write_text("__pycache__\n.pytest_cache\n")
        self.git("init", "--quiet")
        for number in range(commits + 1):
            body = replays.BODIES["torch" if self.backend == "torch" else "keras"].strip("\n")
            more = replays.MORE if number >= slower else 0
            (self.root / "net.py").write_text(self.NET.format(depth=replays.DEPTH, more=more, body=body, number=number))
            self.git("add", "--all")
            title = "two layers more" if number == slower else f"no effect ({number})"
            self.git("commit", "--quiet", "--message", title)


def real(asked: argparse.Namespace) -> int:
    """A search with the command; 0 where it names the right commit."""
    project = Project(asked.real.resolve() / "project", asked.backend)
    if not project.root.exists():
        project.make(asked.commits, asked.slower)
    history = project.git("rev-list", "--reverse", "HEAD").split()
    wanted = project.git("log", "--format=%H", "--grep", "^two layers more$")
    since, load = time.monotonic(), os.getloadavg()[0]
    command = [sys.executable, "-m", "pytest_metalperf", "bisect", history[0], "HEAD", "--", "test_net.py"]
    process = subprocess.Popen(
        [*command, f"--metal-devices={asked.device}", f"--metal-backend={asked.backend}"],
        cwd=project.root,
        env={**os.environ, "PYTEST_METALPERF_CACHE": str(asked.real.resolve() / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        print(line, end="", flush=True)
        said.append(line)
    code, named = process.wait(), any(line.endswith(f"git show {wanted[:10]}\n") for line in said)
    end = {0: "right" if named else "wrong", 1: "no answer", 130: "interrupted"}.get(code, "not asked")
    minutes = (time.monotonic() - since) / 60
    print(
        f"{end}: commit {history.index(wanted)} of {len(history) - 1}; {minutes:.1f} min,"
        f" load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    return 0 if end == "right" else 1


def main() -> int:
    """Simulate, or search for real."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--commits", type=int, default=16)
    parser.add_argument("--ratio", type=float, default=1.10)
    parser.add_argument("--simulated", action="store_true", help="rows of simulated pairs too")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    parser.add_argument("--slower", type=int, default=11, help="the commit that makes the net deeper")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "torch", "jax"))
    asked = parser.parse_args()
    return real(asked) if asked.real else simulate(asked)


if __name__ == "__main__":
    sys.exit(main())
