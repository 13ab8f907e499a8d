"""Rates of the replay: recorded pairs of unchanged code, drawn again and again, judged as a session judges them.

A trial draws up to 15 pairs with replacement and swaps the sides of half of them, since both are the same code; one side is then
made slower. ``python tests/gates/in_turn.py`` prints the rows that ``benchmark.py`` ends with.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec
from recordings import BadRecording

from pytest_metalperf.gate import Rule, judge_pairs
from pytest_metalperf.gate.ratio import log_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PAIRS = Path(__file__).parent / "pairs"
RULE = Rule(max_runs=15)
RATIOS = (1.00, 1.05, 1.10, 1.20)
SIMULATED = (0.02, 0.04, 0.08, 0.12)

Pair = tuple[list[float], list[float]]


class RecordedPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file: seconds per batch of each block of two workers of the same code that took turns."""

    workload: str
    pair: Pair
    load1: float | None = None


def read_pairs(path: Path) -> dict[str, list[Pair]]:
    """All pairs of a file, by workload. Raises ``BadRecording`` for a line that is none."""
    found: dict[str, list[Pair]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            one = msgspec.json.decode(line, type=RecordedPair)
            log_ratio([one.pair[0]], [one.pair[1]])
        except (msgspec.DecodeError, ValueError) as error:
            raise BadRecording(f"{path}:{number}: {error}") from None
        found.setdefault(one.workload, []).append(one.pair)
    return found


def drawn(pairs: Sequence[Pair], random: Random) -> Iterator[Pair]:
    """Pairs at random, one after the other, without end."""
    while True:
        one, other = random.choice(pairs)
        yield (one, other) if random.random() < 0.5 else (other, one)


def simulated(pair_sd: float, random: Random) -> Iterator[Pair]:
    """Pairs whose processes differ by that much, in slow minutes that both sides share."""
    while True:
        offset, minute = random.gauss(0, pair_sd), 0.0
        sides: Pair = ([], [])
        for _ in range(12):
            minute += random.gauss(0, 0.05)
            for side, level in zip(sides, (offset, 0.0), strict=True):
                side.append(0.1 * math.exp(level + minute + random.gauss(0, 0.03)))
        yield sides


def verdict(source: Iterator[Pair], ratio: float) -> tuple[str, int]:
    """One whole replay: its verdict, and the pairs that it took."""
    now: list[list[float]] = []
    reference: list[list[float]] = []
    while True:
        ours, theirs = next(source)
        now.append([sample * ratio for sample in ours])
        reference.append(theirs)
        judgement = judge_pairs(now, reference, RULE)
        if judgement.decided:
            return judgement.verdict, len(now)


def spread(pairs: Sequence[Pair]) -> float:
    """The standard deviation of the log ratios of pairs."""
    values = [log_ratio([one], [other])[0] for one, other in pairs]
    return math.sqrt(sum(value**2 for value in values) / len(values))  # around no difference: both are the same code


def lines(sources: Mapping[str, Sequence[Pair] | float], trials: int) -> Iterator[str]:
    """The table: shares of ``slower`` at each ratio, of ``inconclusive`` without a change, of ``within`` at 1.10, and pairs."""
    yield (
        f"in turn: {trials:,} replays at each ratio\n{'':44}pair sd  alarms"
        + "".join(f"  {ratio:6.2f}" for ratio in RATIOS[1:])
        + "  inconcl.  missed  pairs, unchanged and at 1.10"
    )
    for name, source in sources.items():
        sd = source if isinstance(source, float) else spread(source)
        shares, open_, missed, pairs = [], 0.0, 0.0, []
        for ratio in RATIOS:
            random = Random(f"{name} {ratio}")
            found = Counter[str]()
            spent = 0
            for _ in range(trials):
                one = simulated(source, random) if isinstance(source, float) else drawn(source, random)
                said, count = verdict(one, ratio)
                found[said] += 1
                spent += count
            shares.append(found["slower"] / trials)
            pairs.append(spent / trials)
            if ratio == 1:
                open_ = found["inconclusive"] / trials
            if ratio == 1.10:
                missed = found["within"] / trials
        figures = "".join(f"  {100 * share:6.2f}" for share in shares)
        yield f"  {name:40} {100 * sd:5.1f} %{figures}  {100 * open_:8.2f}  {100 * missed:6.2f}  {pairs[0]:6.1f} {pairs[2]:5.1f}"


def sources(folder: Path = PAIRS) -> dict[str, Sequence[Pair] | float]:
    """Every row: simulated pairs, and the recorded ones of each workload."""
    found: dict[str, Sequence[Pair] | float] = {f"simulated, {100 * sd:g} %": sd for sd in SIMULATED}
    for path in sorted(folder.glob("*.jsonl")):
        found.update({f"{path.stem}, {workload}": pairs for workload, pairs in read_pairs(path).items()})
    return found


if __name__ == "__main__":
    print(*lines(sources(), 1000), sep="\n")
