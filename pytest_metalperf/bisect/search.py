"""Which commit is compared next, and how probable each is: the one module that knows git-bayesect.

Its `Bisector` picks the commit whose answer is expected to leave the least entropy. It knows answers of yes and no; what pairs
say in degrees reaches it as the prior weights, anew before every choice, with the error rates of a comparison as its Beta
priors, so narrow that they are rates.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from git_bayesect import Bisector

from .likelihood import Seen, Step, log_likelihoods, mistaken, step_at

SURE = 0.95
"""The posterior probability at which a search ends."""
PAIRS = 3
"""Of one comparison: the fewest of which a session says anything (`gate.LEAST_PAIRS`)."""
MOST_COMPARISONS = 60
"""After so many a search ends without an answer: pairs differ too much for the step."""
KNOWN = 1e6
"""Observations that a rate is taken to be known from."""
SIMULATED = 100
"""Searches from which the cost of one is forecast."""

Compare = Callable[[int], Sequence[float] | None]
"""Trains a candidate in turn with BAD: the figures of its pairs, or None where it cannot be trained."""


@dataclass(frozen=True)
class Group:
    """Candidates that no pairs can tell apart: one that can be trained, and those skipped right before it.

    Attributes:
        first: index of the oldest.
        last: of the newest, which can be trained.
        share: the probability that the first slower commit is among them.
    """

    first: int
    last: int
    share: float


@dataclass(frozen=True)
class Belief:
    """What is known of a search so far.

    Attributes:
        groups: the oldest first.
        step: that of the most probable group.
    """

    groups: tuple[Group, ...]
    step: Step

    @property
    def best(self) -> Group:
        """The most probable group."""
        return max(self.groups, key=lambda group: group.share)

    @property
    def is_sure(self) -> bool:
        """Whether the search ends."""
        return self.best.share >= SURE

    def range(self, mass: float = SURE) -> Group:
        """The fewest neighbours that hold so much of the probability, as one group."""
        shares = np.cumsum([0.0, *(group.share for group in self.groups)])
        wanted = min(mass, shares[-1]) - 1e-9
        ends = np.searchsorted(shares, shares[:-1] + wanted)
        starts = np.flatnonzero(ends < len(shares))
        widths = ends[starts] - starts
        held = shares[ends[starts]] - shares[starts]
        first = int(starts[np.lexsort((-held, widths))[0]])
        last = int(ends[first])
        return Group(self.groups[first].first, self.groups[last - 1].last, float(shares[last] - shares[first]))


def belief(count: int, seen: Seen, skipped: Collection[int] = ()) -> Belief:
    """How probable each candidate is.

    Args:
        count: of candidates, the oldest first; the last one is BAD.
        seen: figures of pairs by the index of their commit, those of GOOD among them.
        skipped: candidates that cannot be trained; each may be the first slower one all the same.
    """
    logs = log_likelihoods(count, seen)
    bounds = list(_bounds(count, skipped))
    weights = np.add.reduceat(np.exp(logs - logs.max()), [first for first, _ in bounds])
    shares = Bisector(weights[::-1]).distribution[::-1]
    groups = tuple(Group(*bound, float(share)) for bound, share in zip(bounds, shares, strict=True))
    best = max(groups, key=lambda group: group.share)
    return Belief(groups, step_at(best.last, seen))


def next_candidate(found: Belief) -> int:
    """The candidate whose comparison is expected to tell most; there are two groups at least."""
    wrong = min(0.45, max(0.001, mistaken(found.step, PAIRS)))
    bisector = Bisector(
        [group.share for group in reversed(found.groups)],
        alpha_new=KNOWN * (1 - wrong),
        beta_new=KNOWN * wrong,
        alpha_old=KNOWN * wrong,
        beta_old=KNOWN * (1 - wrong),
    )
    chosen = len(found.groups) - 1 - int(bisector.select())
    return found.groups[min(chosen, len(found.groups) - 2)].last  # BAD itself is known to be slow


def searched(
    count: int, seen: Mapping[int, Sequence[float]], compare: Compare, skipped: Collection[int] = ()
) -> Iterator[Belief]:
    """What is known before the first comparison, and after each; the last one is the answer.

    Args:
        count: of candidates.
        seen: figures of pairs so far; those of GOOD show the step.
        compare: is asked for one comparison after the other.
        skipped: candidates that are known not to train.
    """
    pairs = {key: list(figures) for key, figures in seen.items()}
    gone = set(skipped)
    found = belief(count, pairs, gone)
    yield found
    for _ in range(MOST_COMPARISONS):
        if found.is_sure:
            return
        index = next_candidate(found)
        figures = compare(index)
        if figures is None:
            gone.add(index)
        else:
            pairs.setdefault(index, []).extend(figures)
        found = belief(count, pairs, gone)
        yield found


def forecast(count: int, seen: Seen, skipped: Collection[int] = (), seed: int = 0) -> list[int]:
    """How many more comparisons simulated searches take that go on from what is known, in order of size.

    Their step and noise are those known so far, and the commit is drawn by its probability.
    """
    known, drawn = belief(count, seen, skipped), random.Random(seed)
    shares = [group.share for group in known.groups]

    def comparisons() -> int:
        (group,) = drawn.choices(known.groups, shares)

        def compare(index: int) -> list[float]:
            mean = known.step.log if index < group.last else 0.0
            return [drawn.gauss(mean, known.step.pair_sd) for _ in range(PAIRS)]

        return sum(1 for _ in searched(count, seen, compare, skipped)) - 1

    return sorted(comparisons() for _ in range(SIMULATED))


def _bounds(count: int, skipped: Collection[int]) -> Iterator[tuple[int, int]]:
    """The oldest and the newest of each group."""
    first = 0
    for index in range(count):
        if index not in skipped or index == count - 1:
            yield first, index
            first = index + 1
