"""What runs differ by when nothing changes: between runs of a session, and between sessions.

The model, in logarithms of seconds per batch: a run is its workload's level, plus an effect of its session, plus an
effect of its own. In the code's order:

1. Every entry (the workload's own stored runs, and those of its peers on the same machine and device) is reduced to two
   mean squares: within its sessions, and between the means of its sessions.
2. Each level is *moderated*. Five runs hardly know their own variance, but the peers' variances say what is usual on
   this machine. The variances of the entries are taken as draws from a scaled inverse chi-square distribution with scale
   ``s0²`` and ``d0`` degrees of freedom, and the workload's own becomes ``(d0·s0² + d·s²) / (d0 + d)`` (Smyth 2004,
   Statistical Applications in Genetics and Molecular Biology 3:3). A handful of entries cannot settle ``d0``, so it is
   averaged over a grid by its likelihood instead of being estimated: the more the entries agree, the higher it comes
   out, and the grid's end stands for the textbook's infinity.
3. The mean square between sessions holds run noise too. What is left without it is the session variance (Searle,
   Casella and McCulloch 1992, Variance Components, chapter 3), weighted by how probable it is that anything is left.
4. Where too little is stored a prior stands in, and ``Noise`` says so. Run noise: 5 %, worth four degrees of freedom,
   which fills up what all entries together lack of four; dedicated machines stay below 5 % and shared ones exceed it.
   Session noise: 1.5 % plus three quarters of the run noise. The constant is for what differs from day to day on the
   quietest machine (temperature, clocks, updates); the share is below one because the runs of a noisy, shared machine
   have most of its slow minutes among them already. In recorded sessions (``tests/gates/runs``) session noise was 0.5 to
   0.65 of run noise on a busy machine with two cores, and 1.1 to 1.8 of it on a GPU machine that slowed down by a quarter
   in nine minutes. Two sessions count for half, three replace it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Noise", "RunFigure", "learn_noise"]

PRIOR_RUN_SD = 0.05
PRIOR_RUN_DF = 4.0
SMALLEST_RUN_SD = 0.001
SESSIONS_TO_KNOW = 3
GRID_OF_D0 = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def prior_session_sd(run_sd: float, prior: float = 1.0) -> float:
    """The session noise assumed before there are sessions to learn it from (relative, like ``run_sd``)."""
    return 0.015 * prior + 0.75 * run_sd


@dataclass(frozen=True)
class RunFigure:
    """What the gate knows of one run: its estimate in seconds per batch, and the session that it belongs to."""

    seconds: float
    session: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"seconds of a run must be a positive finite number, not {self.seconds!r}")


@dataclass(frozen=True)
class Noise:
    """Relative standard deviations on both levels, with the degrees of freedom that they are worth."""

    run_sd: float
    run_df: float
    session_sd: float
    session_df: float
    run_known: bool
    session_known: bool


@dataclass(frozen=True)
class _Entry:
    """The two mean squares of one workload's stored runs, in squared logarithms."""

    within: float
    within_df: int
    between: float
    between_df: int
    share: float  # of the run variance in the mean square between sessions
    sessions: frozenset[str]


class Peer(tuple[RunFigure, ...]):
    """Stored runs of one of many workloads, from which noise is learned for each of the others: what they say is kept."""

    @functools.cached_property
    def entry(self) -> _Entry:
        return _entry_of(self)


def sessions_of(runs: Sequence[RunFigure]) -> dict[str, list[float]]:
    """The logarithms of seconds per batch, by session."""
    sessions: dict[str, list[float]] = {}
    for run in runs:
        sessions.setdefault(run.session, []).append(math.log(run.seconds))
    return sessions


def _entry(runs: Sequence[RunFigure]) -> _Entry:
    return runs.entry if isinstance(runs, Peer) else _entry_of(runs)


def _entry_of(runs: Sequence[RunFigure]) -> _Entry:
    sessions = sessions_of(runs)
    means = {name: sum(values) / len(values) for name, values in sessions.items()}
    within = sum((value - means[name]) ** 2 for name, values in sessions.items() for value in values)
    within_df = len(runs) - len(sessions)
    centre = sum(means.values()) / len(means)
    between = sum((mean - centre) ** 2 for mean in means.values())
    between_df = len(means) - 1
    return _Entry(
        within=within / max(1, within_df),
        within_df=within_df,
        between=between / max(1, between_df),
        between_df=between_df,
        share=sum(1 / len(values) for values in sessions.values()) / len(sessions),
        sessions=frozenset(sessions) if between_df else frozenset(),
    )


def _moderate(own: tuple[float, float], others: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Moderate one variance by others of its kind: ``(variance, df)`` in and out, entries without df ignored.

    The scale ``s0²`` is the maximum of the marginal likelihood (a scaled F distribution) for each ``d0`` of the grid,
    found by fixed-point iteration. All entries together know the usual variance only as well as their own df allow, so
    the df returned are capped; at twice their sum, because the tail that few df leave open is one of underestimated
    noise, and there the tolerance protects (found by simulation: the plain sum costs power and saves no alarms).
    """
    entries = np.array([(variance, df) for variance, df in (own, *others) if df > 0])
    variances, dfs = entries.T
    weighted = dfs * variances
    known = float(dfs.sum())
    start = float(weighted.sum()) / known
    if start == 0.0:
        return 0.0, 2 * known
    variance, df = own
    d0 = np.array(GRID_OF_D0)[:, None]  # a row each
    scale = np.full_like(d0, start)
    for _ in range(8):
        scale *= ((d0 + dfs) * weighted / (d0 * scale + weighted)).sum(axis=1, keepdims=True) / known
    scores = (
        gammaln((d0 + dfs) / 2)
        - gammaln(d0 / 2)
        - dfs / 2 * np.log(d0 * scale)
        - (d0 + dfs) / 2 * np.log1p(weighted / (d0 * scale))
    ).sum(axis=1, keepdims=True)
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    moderated = (d0 * scale + df * variance) / (d0 + df)
    usual_df = math.exp(float((weights * np.log(d0)).sum()))
    return float((weights * moderated).sum()), min(usual_df + df, 2 * known)


def _left(mean_square: float, df: float, expected: float) -> float:
    """What a mean square holds beyond the expected, times the probability that there is anything.

    Half of all mean squares exceed their expectation when there is nothing, so the plain difference would blunt every
    gate on a machine without session noise. The probability is that of Schwarz' criterion for one variance against two
    of ``df`` each (Kass and Raftery 1995, Journal of the American Statistical Association 90:773).
    """
    ratio = mean_square / expected
    if ratio <= 1:
        return 0.0
    odds = math.exp(min(700.0, df * math.log((1 + ratio) / 2) - df / 2 * math.log(ratio))) / math.sqrt(2 * df)
    return (mean_square - expected) * odds / (1 + odds)


def learn_noise(stored: Sequence[RunFigure], peers: Sequence[Sequence[RunFigure]], prior: float = 1.0) -> Noise:
    """Learn both noise levels of a workload from its stored runs and its peers' (either may be empty).

    ``prior`` is the share of the noise of times that is assumed of these figures before they tell their own.
    """
    entries = [_entry(runs) for runs in (stored, *peers) if runs]
    own = entries[0] if stored else _Entry(0.0, 0, 0.0, 0, 1.0, frozenset())
    others = entries[1:] if stored else entries

    lacking = PRIOR_RUN_DF - sum(entry.within_df for entry in entries)
    learned = [(entry.within, float(entry.within_df)) for entry in others]
    if lacking > 0:
        learned.append(((prior * PRIOR_RUN_SD) ** 2, lacking))
    run_variance, run_df = _moderate((own.within, float(own.within_df)), learned)
    run_variance = max(run_variance, SMALLEST_RUN_SD**2)

    session_variance, session_df = prior_session_sd(math.sqrt(run_variance), prior) ** 2, math.inf
    seen = len(frozenset().union(*(entry.sessions for entry in entries)))
    if seen > 1:
        # Peers with other numbers of runs per session carry another share of run noise between sessions.
        between = [
            (max(0.0, entry.between + (own.share - entry.share) * run_variance), float(entry.between_df))
            for entry in others
        ]
        mean_square, df = _moderate((own.between, float(own.between_df)), between)
        left = _left(mean_square, df, own.share * run_variance)
        weight = min(1.0, (seen - 1) / (SESSIONS_TO_KNOW - 1))
        session_variance = (1 - weight) * session_variance + weight * left
        session_df = df / weight
    return Noise(
        run_sd=math.sqrt(run_variance),
        run_df=run_df,
        session_sd=math.sqrt(session_variance),
        session_df=session_df,
        run_known=lacking < PRIOR_RUN_DF,
        session_known=seen >= SESSIONS_TO_KNOW,
    )
