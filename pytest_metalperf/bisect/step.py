"""Whether BAD is slower than GOOD at all: without a step there is nothing to search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..gate import Rule, judge_pairs
from .likelihood import Pair

if TYPE_CHECKING:
    from ..gate import Judgement

MOST_PAIRS = 15
"""Of GOOD with BAD; as many as `--metal-against` takes by default."""
RULE = Rule(tolerance=0.0, max_runs=MOST_PAIRS, alarm_rate=0.01)
"""Any slowdown is one to search, however small. A false alarm costs a search without an answer, which one in a hundred may."""


def judged(pairs: Sequence[Pair]) -> Judgement:
    """What the gate says of BAD beside GOOD."""
    return judge_pairs([bad for bad, _ in pairs], [good for _, good in pairs], RULE)


def is_step(pairs: Sequence[Pair]) -> bool | None:
    """Whether there is a step; None where more pairs must tell."""
    judgement = judged(pairs)
    return judgement.verdict == "slower" if judgement.decided else None
