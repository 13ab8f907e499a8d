"""Every sentence of a search: pure text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence

from ..baselines.errors import printable
from ..report.words import duration, factor, percent, plural, span
from .likelihood import GOOD, Change, Seen, change
from .question import SHORT, Question
from .search import PAIRS, Belief, Group
from .step import MOST_PAIRS

MOST_SKIPPED = 10
"""Skipped commits that are listed."""


def commit(asked: Question, of: str) -> str:
    """`1a2b3c4d5e Two layers more`."""
    return printable(f"{of[:SHORT]} {asked.subject(of)}".strip())


def beginning(asked: Question, pairs: int, *, dirty: bool) -> Iterator[str]:
    """What is searched, before anything is measured."""
    count = len(asked.commits)
    yield f"{plural(count, 'commit')} from GOOD {commit(asked, asked.good)}"
    yield f"{'':{len(plural(count, 'commit'))}} to   BAD  {commit(asked, asked.bad)}"
    if dirty:
        yield "the working tree has changes that are in no commit; they are left out"
    if pairs:
        yield f"goes on with {plural(pairs, 'pair')} that were measured before (--restart begins anew)"
    else:
        yield f"first GOOD is trained in turn with BAD: {PAIRS} to {MOST_PAIRS} pairs"


def cost(comparisons: Sequence[int], seconds: float) -> str:
    """What the search is expected to take.

    Args:
        comparisons: of simulated searches, in order of size.
        seconds: of one.
    """
    usual, most = (max(1, comparisons[math.ceil(share * len(comparisons)) - 1]) for share in (0.5, 0.9))
    return (
        f"about {plural(usual, 'comparison')} of {PAIRS} pairs, {duration(usual * seconds)};"
        f" 9 in 10 searches take at most {most}, {duration(most * seconds)}"
    )


def compared(asked: Question, of: str, figures: Sequence[float], seconds: float, found: Belief | None) -> str:
    """One comparison, and what is most probable after it."""
    change = percent(math.expm1(sum(figures) / len(figures)), sign=True)
    text = f"{of[:SHORT]}  BAD takes {change:>8} beside it  ({plural(len(figures), 'pair')}, {duration(seconds)})"
    if found is None:
        return text
    return f"{text}  most probable: {_named(asked, found.best)} {_share(found.best)}"


def skipped(of: str, why: str) -> str:
    """A commit that cannot be trained."""
    return f"{of[:SHORT]}  skipped: {why}"


def no_step(verdict: str, change: float, low: float, high: float, pairs: int) -> str:
    """There is nothing to search."""
    interval = f"{span(low, high)}; {plural(pairs, 'pair')}"
    if verdict == "faster":
        return f"BAD is {factor(change)} than GOOD ({interval}), so no commit made it slower"
    return (
        f"no step to search: beside GOOD, BAD takes {percent(change, sign=True)} ({interval}), which noise alone explains;"
        " a quieter machine or more --metal-batches shows smaller ones"
    )


def answer(
    asked: Question, found: Belief, seen: Seen, workload: str, gone: Mapping[int, str], seconds: float
) -> Iterator[str]:
    """The last words of a search that has found the commit, or commits of which all but one were skipped."""
    group, commits = found.best, asked.commits
    sure = _share(group)
    if group.first == group.last:
        culprit = commits[group.last]
        yield f"{commit(asked, culprit)}"
        yield f"is the first slower commit ({sure})"
        yield _own(asked, group, seen)
        yield from _figures(asked, found, seen, workload, seconds)
        yield from _skipped(asked, gone)
        parents = asked.parents(culprit)
        if len(parents) > 1:
            side = parents[1][:SHORT]
            yield f"  it is a merge: a bisect from `git merge-base {parents[0][:SHORT]} {side}` to {side} looks into it"
        yield f"  look at it with  git show {culprit[:SHORT]}"
        return
    yield f"the first slower commit is one of {group.last - group.first + 1}, of which only the last can be trained ({sure})"
    for index in range(group.first, group.last + 1):
        yield f"  {commit(asked, commits[index])}"
    yield _own(asked, group, seen)
    yield from _figures(asked, found, seen, workload, seconds)
    yield from _skipped(asked, gone)
    yield f"  look at them with  {_range(asked, group)}"


def no_answer(
    asked: Question, found: Belief, seen: Seen, workload: str, gone: Mapping[int, str], seconds: float
) -> Iterator[str]:
    """The last words of a search that takes too many comparisons."""
    group = found.range()
    yield (
        f"no answer after so many pairs: they differ by {percent(found.step.pair_sd)} here."
        f" The first slower commit is among {group.last - group.first + 1} ({_share(group)})"
    )
    yield from _figures(asked, found, seen, workload, seconds)
    yield from _skipped(asked, gone)
    yield f"  look at them with  {_range(asked, group)}"
    yield "  the same command goes on with further pairs"


def again(asked: Question) -> str:
    """How an interrupted search goes on."""
    words = shlex.join(asked.arguments)
    return (
        f"interrupted; the same command goes on: bisect {asked.good[:SHORT]} {asked.bad[:SHORT]} -- {printable(words)}"
    )


def _own(asked: Question, group: Group, seen: Seen) -> str:
    """What a group changed, by the pairs of the nearest commits that were compared, before it and from its last on."""
    bad = len(asked.commits) - 1
    older = max(index for index in seen if index < group.first)
    later = min((index for index in seen if index >= group.last), default=bad)
    return _row("step", change(seen, older, later, bad), "by the pairs right before and after it")


def _row(name: str, found: Change, of: str) -> str:
    value, low, high = (percent(one, sign=True) for one in (found.value, found.low, found.high))
    return f"  {name:<8} {value} ({low} to {high}) {of}"


def _figures(asked: Question, found: Belief, seen: Seen, workload: str, seconds: float) -> Iterator[str]:
    bad, pairs = len(asked.commits) - 1, sum(map(len, seen.values()))
    yield _row("in all", change(seen, GOOD, bad, bad), f"from GOOD to BAD, in {printable(workload)}")
    yield f"  pairs    {pairs}, which differ by {percent(found.step.pair_sd)}; {duration(seconds)}"
    if found.step.uneven:
        yield "  uneven   other commits differ by more than noise: more than one may have changed the time"


def _skipped(asked: Question, gone: Mapping[int, str]) -> Iterator[str]:
    for index, why in sorted(gone.items())[:MOST_SKIPPED]:
        yield f"  skipped  {asked.commits[index][:SHORT]}: {why}"
    if len(gone) > MOST_SKIPPED:
        yield f"  skipped  {len(gone) - MOST_SKIPPED} more"


def _share(group: Group) -> str:
    """A probability, which is never rounded up to certainty."""
    return percent(math.floor(1000 * group.share) / 1000)


def _named(asked: Question, group: Group) -> str:
    first, last = asked.commits[group.first][:SHORT], asked.commits[group.last][:SHORT]
    return last if group.first == group.last else f"{first} to {last}"


def _range(asked: Question, group: Group) -> str:
    before = asked.commits[group.first - 1] if group.first else asked.good
    return f"git log --first-parent {before[:SHORT]}..{asked.commits[group.last][:SHORT]}"
