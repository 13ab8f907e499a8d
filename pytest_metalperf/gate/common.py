"""What the workloads of one session share: the hour, the machine or the framework made all of them slower.

A workload's change since its baseline holds its own change and what today is to every workload. In the code's order:

1. What is shared is the median of the *other* workloads' changes, in logarithms: those that became slower or faster by
   their own code do not move it while they are fewer than half. It is what Anders and Huber 2010 (Genome Biology 11:R106)
   take for the depth of a sample. Fewer than three others say nothing: of two, one that its own code made slower is half.
2. The variance of a median of ``n`` is ``π/2`` of the mean's (Cramér 1946, Mathematical Methods of Statistics, section
   28.5), here the mean variance of those changes over ``n``. It holds all of the session noise that the stored runs
   teach, also the part that is shared and so cancels: too wide where that part is large, right where there is none.
3. A workload is slower beyond the others where the difference of the two (differences in differences: Ashenfelter and
   Card 1985, Review of Economics and Statistics 67:648) is one that a true difference of exactly the tolerance would
   show in ``tolerance_alarm_rate`` of the cases. It is asked in addition to the gate's own rule, and only where the
   others became slower, so that it can take ``slower`` back and never bring it about.

Standard errors are read off the 95 % intervals as if these were normal; with few degrees of freedom that is too wide.
``machine_moved`` says the same of all workloads together, for a remark that decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from .verdict import Judgement, Rule, relative, student

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Shared", "is_slower_beyond", "machine_moved", "shared_slowdown"]

SMALLEST_MOVE = 0.02
LEAST_OTHERS = 3
"""By simulation, of two workloads slowed by 1.3, nearly all that are found are lost among two, 2 to 61 % among three, and 0
to 10 % among four (``tests/statistics/test_gate_common.py``)."""


@dataclass(frozen=True)
class Shared:
    """What other workloads became slower by together.

    Attributes:
        change: now over baseline minus one, in the median.
        error: the standard error of its logarithm.
        others: how many workloads there were.
    """

    change: float
    error: float
    others: int


def shared_slowdown(others: Sequence[Judgement]) -> Shared | None:
    """What the others share; None where they are not slower, or too few to tell.

    Args:
        others: today's judgements of other workloads of the session, of whose code nothing is known to have changed.
    """
    known = [one for one in others if one.change_low > -1]
    if len(known) < LEAST_OTHERS:
        return None
    middle = median(math.log1p(one.change) for one in known)
    if middle <= 0:
        return None
    variance = fmean(_error(one) ** 2 for one in known) * math.pi / 2 / len(known)
    return Shared(relative(middle), math.sqrt(variance), len(known))


def is_slower_beyond(judgement: Judgement, shared: Shared, rule: Rule) -> bool:
    """Whether a workload that is slower than its baseline is so by more than the others share and the tolerance."""
    own = math.log1p(judgement.change) - math.log1p(shared.change)
    error = math.hypot(_error(judgement), shared.error)
    return own >= math.log1p(rule.tolerance) + student(math.inf, 1 - rule.tolerance_alarm_rate) * error


def machine_moved(changes: Sequence[Judgement]) -> float | None:
    """The common relative change if most workloads moved alike, else None.

    Most: two thirds of them, and at least three. Alike: within a third of the median change, or within their own
    standard error where that is larger. A change: the mean of those alike is at least 2 % and three standard errors.
    """
    moved = [
        (math.log1p(judgement.change), (math.log1p(judgement.change_high) - math.log1p(judgement.change_low)) / 4)
        for judgement in changes
        if judgement.change_low > -1
    ]
    if not moved:
        return None
    common = median(change for change, _ in moved)
    alike = [(change, error) for change, error in moved if abs(change - common) <= max(abs(common) / 3, error)]
    if len(alike) < max(3.0, len(moved) * 2 / 3):
        return None
    mean = sum(change for change, _ in alike) / len(alike)
    error = math.hypot(*(error for _, error in alike)) / len(alike)
    return relative(mean) if abs(mean) >= max(SMALLEST_MOVE, 3 * error) else None


def _error(judgement: Judgement) -> float:
    """The standard error of the logarithm of a change."""
    return (math.log1p(judgement.change_high) - math.log1p(judgement.change_low)) / (2 * student(math.inf, 0.975))
