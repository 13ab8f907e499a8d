"""The decision: fresh runs and stored runs in, verdict out.

``d`` is the mean logarithm of the fresh runs minus the baseline's. In the code's order:

1. The baseline is the mean of its sessions, each weighted by the inverse of its variance (session noise plus run noise
   over its runs), so that twenty runs of one slow hour count little more than three.
2. The standard error of ``d`` after ``n`` fresh runs holds both noise levels on both sides: more fresh runs shrink run
   noise, never today's session effect. Its degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2:110).
3. The smallest visible slowdown is the last look's threshold plus what ``d`` falls short of the truth in ``1 - power``
   of the cases.
4. ``slower`` needs at least two fresh runs, a lower median of them beyond the tolerance (one run in a slow minute
   convinces nobody), and a ``d`` that only ``alarm_rate`` of the verdicts would show if nothing had changed and only
   ``tolerance_alarm_rate`` if the true slowdown were exactly the tolerance. Looks before the last use the smaller levels
   ``rate·(n/max_runs)³`` (the power family of Kim and DeMets 1987, Biometrika 74:149), so that looking several times
   costs next to nothing. ``faster`` is the mirror image.
5. ``within`` needs a ``d`` inside the tolerance that also speaks against the smallest visible slowdown: it would be as
   low in only ``(1 - power)·n/max_runs`` of the cases. Where noise is small against the tolerance one run is enough. A
   ``d`` far below the baseline first gets its chance to become ``faster``. Where the smallest visible slowdown is above
   200 % and twice the tolerance, ``within`` would promise nothing, and the answer is ``inconclusive``.
6. Otherwise one more fresh run is asked for (``spread_next``: some minutes later, where the one so far is suspicious, since
   runs in a row share a slow minute), and after ``max_runs`` the answer is ``inconclusive``.

Thresholds depend on stored runs only, never on the fresh ones: at a fixed number of runs the verdict is monotonic in
each of them. The rates are nominal; ``tests/gates/gate_simulation.py`` says what the whole procedure reaches, and where session
noise and run noise are alike, which five runs of three sessions cannot tell from run noise alone, it is above them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median_high, median_low
from typing import TYPE_CHECKING

from scipy.special import stdtrit

from .noise import Noise, RunFigure, learn_noise, sessions_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Judgement", "Rule", "judge", "spent"]

BLIND = 2.0
"""The relative slowdown that a gate must be able to see before it says ``within``: three times the time. Two runs of noise
of 10 % see 86 % on average; a limit of 50 % would leave 92 % of their verdicts without an answer, and one of 100 % 43 %
(``tests/statistics/test_gate_rates.py``, whose bound for them is 20 %)."""
UNSEEN = 0.05
"""By so much, at least, sessions are taken to differ of which fewer than three are known, before one look answers alone."""
SURE = 0.995
"""By simulation, this level of Student's t misses at most 5 % of slowdowns of twice the tolerance; 97.5 % misses up to 7 %,
99 % up to 6 % (``tests/statistics/test_gate_first_look.py``)."""
LARGEST = 700.0  # just below the logarithm of the largest float


@dataclass(frozen=True)
class Rule:
    """What is promised, and by what share of the noise of times the figures are taken to differ before they tell their own.

    Raises ``ValueError`` where a promise makes no sense.
    """

    tolerance: float = 0.05
    max_runs: int = 5
    alarm_rate: float = 0.001
    tolerance_alarm_rate: float = 0.1
    power: float = 0.9
    prior: float = 1.0
    blind: float = BLIND

    def is_blind(self, visible: float) -> bool:
        """Whether a gate that sees no less than this relative slowdown could not have said anything.

        ``within`` promises that nothing grave has happened. Where a slowdown by ``blind``, or by twice what the user
        tolerates, could have gone by unseen, it would promise nothing.
        """
        return not visible <= max(self.blind, 2 * self.tolerance)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance must be 0 or more, not {self.tolerance!r}")
        if self.max_runs < 2:
            raise ValueError(f"max_runs must be at least 2, to confirm a suspicion, not {self.max_runs!r}")
        for name in ("alarm_rate", "tolerance_alarm_rate"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} must lie between 0 and 0.5, not {getattr(self, name)!r}")
        if not 0 < self.prior <= 1:
            raise ValueError(f"prior must be above 0 and at most 1, not {self.prior!r}")
        if not 0.5 <= self.power < 1:
            raise ValueError(f"power must be at least 0.5 and below 1, not {self.power!r}")


@dataclass(frozen=True)
class Judgement:
    """The verdict on the fresh runs so far, and all that a person needs to believe it.

    ``decided`` is False where one more fresh run is wanted; ``spread_next`` says that it should be taken later in the
    session, because a slow minute could explain what was seen. ``change`` is now over baseline minus one with its 95 %
    interval, both noise levels included; the interval of ``now_seconds`` holds run noise only. Times are seconds per
    batch, standard deviations are relative. ``change_at_most`` is the upper end of what one look alone excludes, with more
    caution about sessions: by simulation a slowdown as large as that is missed at most once in twenty. What is unknown
    without a baseline is ``nan``.
    """

    verdict: str
    decided: bool
    spread_next: bool
    change: float
    change_low: float
    change_high: float
    now_seconds: float
    now_low: float
    now_high: float
    baseline_seconds: float
    run_sd: float
    smallest_visible: float
    change_at_most: float
    reason: str


@dataclass(frozen=True)
class _Baseline:
    """The baseline's level, and how much of each noise level is in it."""

    centre: float
    session_part: float
    run_part: float
    noise: Noise

    def error(self, runs: int) -> tuple[float, float]:
        """Standard error of now minus baseline after so many fresh runs, and its degrees of freedom."""
        session = (1 + self.session_part) * self.noise.session_sd**2
        run = (1 / runs + self.run_part) * self.noise.run_sd**2
        spread = session**2 / self.noise.session_df + run**2 / self.noise.run_df
        return math.sqrt(session + run), (session + run) ** 2 / spread

    def cautious(self) -> _Baseline:
        """The same where sessions differ by no less than `UNSEEN`, unless enough of them are known."""
        if self.noise.session_known:
            return self
        return replace(self, noise=replace(self.noise, session_sd=max(self.noise.session_sd, UNSEEN)))


def _baseline(stored: Sequence[RunFigure], noise: Noise) -> _Baseline:
    sessions = list(sessions_of(stored).values())
    weights = [1 / (noise.session_sd**2 + noise.run_sd**2 / len(values)) for values in sessions]
    weights = [weight / sum(weights) for weight in weights]
    return _Baseline(
        centre=sum(w * sum(values) / len(values) for w, values in zip(weights, sessions, strict=True)),
        session_part=sum(w**2 for w in weights),
        run_part=sum(w**2 / len(values) for w, values in zip(weights, sessions, strict=True)),
        noise=noise,
    )


def student(df: float, level: float) -> float:
    return float(stdtrit(min(df, 1e6), level))


def _seconds(logarithm: float) -> float:
    return math.exp(min(logarithm, LARGEST))


def relative(logarithm: float) -> float:
    return math.expm1(min(logarithm, LARGEST))


def judge(
    now: Sequence[RunFigure],
    stored: Sequence[RunFigure],
    peers: Sequence[Sequence[RunFigure]],
    rule: Rule = Rule(),
) -> Judgement:
    """Judge the fresh runs of a measurement against its baseline.

    ``now`` holds the fresh runs so far (at least one), ``stored`` the workload's baseline runs, ``peers`` the stored runs
    of the machine's other entries of the same device, from which noise is learned too. Ask again with one more fresh run
    while ``decided`` is False.
    """
    if not now:
        raise ValueError("a verdict needs at least one fresh run")
    noise = learn_noise(stored, peers, rule.prior)
    levels = [math.log(run.seconds) for run in now]
    runs, level = len(levels), sum(levels) / len(levels)
    now_margin = student(noise.run_df, 0.975) * noise.run_sd / math.sqrt(runs)

    verdict, decided, reason = "no baseline", True, ""
    centre = change = margin = most = visible = math.nan
    if stored:
        baseline = _baseline(stored, noise)
        centre = baseline.centre
        change = level - centre
        tolerance = math.log1p(rule.tolerance)
        error, df = baseline.error(runs)
        margin = student(df, 0.975) * error
        share = min(1.0, runs / rule.max_runs)
        cautious, cautious_df = baseline.cautious().error(runs)
        most = student(cautious_df, SURE) * cautious

        last_error, last_df = baseline.error(rule.max_runs)
        visible = threshold(last_error, last_df, rule, 1.0) + student(last_df, rule.power) * last_error
        beyond = threshold(error, df, rule, share)
        inside = min(tolerance, visible - student(df, 1 - (1 - rule.power) * share) * error)

        confirmed = runs >= 2
        if confirmed and change >= beyond and median_low(levels) - centre >= tolerance:
            verdict = "slower"
        elif confirmed and change <= -beyond and median_high(levels) - centre <= -tolerance:
            verdict = "faster"
        elif change <= inside:
            verdict = "within"
            decided = runs >= rule.max_runs or change >= -tolerance
            if rule.is_blind(relative(visible)):
                verdict, reason = "inconclusive", _reason(noise, visible)
        else:
            verdict = "inconclusive"
            decided = runs >= rule.max_runs
            reason = _reason(noise, visible)

    return Judgement(
        verdict=verdict,
        decided=decided,
        spread_next=not decided and abs(change) > math.log1p(rule.tolerance),
        change=relative(change),
        change_low=relative(change - margin),
        change_high=relative(change + margin),
        now_seconds=_seconds(level),
        now_low=_seconds(level - now_margin),
        now_high=_seconds(level + now_margin),
        baseline_seconds=_seconds(centre),
        run_sd=noise.run_sd,
        smallest_visible=relative(visible),
        change_at_most=relative(change + most),
        reason=reason,
    )


def threshold(error: float, df: float, rule: Rule, share: float) -> float:
    """The ``d`` from which a look that has used this share of the runs may say ``slower``."""
    return max(
        student(df, 1 - rule.alarm_rate * spent(share)) * error,
        math.log1p(rule.tolerance) + student(df, 1 - rule.tolerance_alarm_rate * spent(share)) * error,
    )


def spent(share: float) -> float:
    """The part of an error rate that looks may have used up when they have seen this share of all runs (see 4 above)."""
    return min(1.0, share) ** 3


def _reason(noise: Noise, visible: float) -> str:
    if noise.run_sd >= noise.session_sd:
        cause = f"runs differ by {percent(noise.run_sd)} here"
    elif noise.session_known:
        cause = f"sessions differ by {percent(noise.session_sd)} here"
    else:
        cause = f"fewer than three sessions an hour apart are stored (taken to differ by {percent(noise.session_sd)})"
    return f"{cause}, so a slowdown under {percent(relative(visible))} cannot be told from noise"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
