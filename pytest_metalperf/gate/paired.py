"""The decision where no baseline is needed: two workers take turns, in several fresh pairs.

``d`` is the mean logarithm of now over reference of ``ratio``, with the standard error and degrees of freedom that it
finds in the pairs themselves: slow minutes and slow days fall on both sides and cancel, so there is no session noise here.
In the code's order:

1. Fewer than ``LEAST_PAIRS`` decide nothing: two pairs hardly know how processes differ.
2. ``slower``, ``faster``, ``within`` and the smallest visible slowdown are those of ``verdict``, with a pair in the place
   of a fresh run: the same rates, spent over looks in the same way.
3. ``within`` also needs a bound below twice the tolerance, which a slowdown of that size passes once in ``MISSED`` of all
   replays, spent over looks as the other rates are: where pairs differ so much that nothing can be promised, the answer is
   ``inconclusive``. A tolerance of zero promises nothing of the kind. Where pairs differ by 8 and 12 %, so that their noise
   is known badly, 3.5 and 3.8 % go by (400 simulated replays each, ``tests/gates/in_turn.py``).
"""

from __future__ import annotations

import math
from statistics import fmean, geometric_mean, median_high, median_low
from typing import TYPE_CHECKING

from .estimate import estimate_run
from .ratio import log_ratio
from .verdict import Judgement, Rule, percent, relative, student, threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEAST_PAIRS", "judge_pairs"]

LEAST_PAIRS = 3
MISSED = 0.01
"""Slowdowns of twice the tolerance that may be called ``within``, were the noise of pairs known."""


def judge_pairs(now: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], rule: Rule) -> Judgement:
    """Judge fresh pairs of interleaved workers; ``rule.max_runs`` counts pairs.

    One inner sequence per pair: seconds per batch of each block, in order; block i of both were neighbours. Ask again with
    one more pair while ``decided`` is False. Raises ``ValueError`` as ``ratio_of_pairs`` does.
    """
    change, error, df = log_ratio(now, reference)
    pairs = len(now)
    each = [_level(one) - _level(other) for one, other in zip(now, reference, strict=True)]
    tolerance = math.log1p(rule.tolerance)
    margin = student(df, 0.975) * error
    share = min(1.0, pairs / rule.max_runs)

    pair_sd = error * math.sqrt(pairs)
    last, last_df = pair_sd / math.sqrt(max(pairs, rule.max_runs)), df + max(0, rule.max_runs - pairs)
    visible = threshold(last, last_df, rule, 1.0) + student(last_df, rule.power) * last
    beyond = threshold(error, df, rule, share)
    inside = min(tolerance, visible - student(df, 1 - (1 - rule.power) * share) * error)

    enough = pairs >= LEAST_PAIRS
    spent = pairs >= max(rule.max_runs, LEAST_PAIRS)
    at_most = change + student(df, 1 - MISSED * share) * error
    blind = rule.is_blind(relative(visible)) or (rule.tolerance > 0 and at_most >= math.log1p(2 * rule.tolerance))
    verdict, decided, reason = "inconclusive", spent, ""
    if enough and change >= beyond and median_low(each) >= tolerance:
        verdict, decided = "slower", True
    elif enough and change <= -beyond and median_high(each) <= -tolerance:
        verdict, decided = "faster", True
    elif enough and change <= inside and not blind:
        verdict, decided = "within", spent or change >= -tolerance
    else:
        reason = (
            f"fresh pairs differ by {percent(pair_sd)} here, so a slowdown under {percent(relative(visible))} cannot be"
            " told from noise"
        )
    figures, before = ([estimate_run(samples).seconds for samples in variant] for variant in (now, reference))
    return Judgement(
        verdict=verdict,
        decided=decided,
        spread_next=False,
        change=relative(change),
        change_low=relative(change - margin),
        change_high=relative(change + margin),
        now_seconds=geometric_mean(figures),
        now_low=min(figures),
        now_high=max(figures),
        baseline_seconds=geometric_mean(before),
        run_sd=pair_sd,
        smallest_visible=relative(visible),
        change_at_most=relative(at_most),
        reason=reason,
    )


def _level(samples: Sequence[float]) -> float:
    return fmean(math.log(sample) for sample in samples)
