"""Replay: what the stored figures leave open, the baseline's own code answers, trained in turn with today's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..baselines.schema import Entry
from ..measure.plan import plan_of
from ..references.replay import NoReplay, Replay
from ..results.measurement import Measurement, ReferenceRuns, Replayed
from ..results.run import Run
from ..session import MetalSession
from ..settings import Settings
from ..worker.machine import SYSTEM
from .evidence import peers, rule_of, runs_for_the_gate
from .in_pairs import Sides, in_pairs, judged_pairs

if TYPE_CHECKING:
    from ..gate import Judgement


def is_spared(measurement: Measurement, settings: Settings) -> bool:
    """Whether what the stored figures say of the first look is answer enough.

    It is where nothing became slower for sure: its 95 % interval, in which the noise of sessions is, ends below twice the
    tolerance. A slowdown as large as that would be missed in 2.5 % of the cases.
    """
    judgement = measurement.judgement
    if settings.confirm != "auto" or judgement is None:
        return settings.confirm == "stored"
    within = judgement.verdict == "within" and judgement.change_high < 2 * settings.tolerance
    return within and not (settings.update_baselines and judgement.change < -settings.tolerance)


def replay_of(session: MetalSession, measurement: Measurement, stored: Entry, settings: Settings) -> Replay | None:
    """How to train the baseline again; None, with the reason in the measurement, where that is impossible."""
    workload = measurement.workload
    if stored.accepted is None or workload.source.get("kind") not in ("import", "reference"):
        return None
    if not session.local:
        measurement.no_replay = "--metal-host has not the code and the packages of its baseline"
        return None
    today = session.today(workload, session.kept(workload, plan_of(settings)))
    if today is None:
        return None
    try:
        return session.recipes.replay(stored.accepted, workload, today, session.store.path)
    except NoReplay as error:
        measurement.no_replay = str(error)
        return None


def replayed(
    session: MetalSession, measurement: Measurement, stored: Entry, settings: Settings, replay: Replay
) -> None:
    """Train the baseline's code in turn with today's until there is a verdict.

    Raises:
        WorkerError: when a worker breaks.
    """
    assert replay.reference is not None
    assert measurement.judgement is not None
    by_figures, judgement = measurement.judgement, measurement.judgement
    theirs: list[Run] = []

    def enough(ours: list[Run], others: list[Run]) -> bool:
        nonlocal judgement, theirs
        measurement.runs, theirs = ours, others
        judgement = judged_pairs(ours, others, settings)
        return judgement.decided

    sides = Sides(replay.reference, measurement.workload, replay.workload)
    in_pairs(session, sides, settings, plan_of(settings), enough, purpose="replay")
    if replay.not_replayed and judgement.verdict == "within":
        why = f"not replayed, and the same on both sides: {'; '.join(replay.not_replayed)}"
        judgement = replace(judgement, verdict="inconclusive", reason=why)
    measurement.reference = ReferenceRuns(replay.reference.name, theirs)
    measurement.judgement, measurement.verdict = judgement, judgement.verdict
    moved = _moved(session, measurement, stored, settings)
    measurement.replayed = Replayed(
        by_figures, replay.differs, replay.not_replayed, (moved.change, moved.change_low, moved.change_high)
    )
    if judgement.verdict in ("within", "faster") and moved.change_low > settings.tolerance:
        measurement.verdict = "machine"
    lowest = by_figures.baseline_seconds * (1 + judgement.change_low) / stored.anchor.seconds_per_batch - 1
    allowed = settings.total_tolerance
    measurement.beyond_total = allowed is not None and judgement.verdict != "inconclusive" and lowest > allowed
    if measurement.beyond_total:
        measurement.verdict = "slower"


def _moved(session: MetalSession, measurement: Measurement, stored: Entry, settings: Settings) -> Judgement:
    """How the baseline's own code does today against its stored figures."""
    from ..gate import RunFigure, judge  # numpy and scipy: a verdict is due

    assert measurement.reference is not None
    known, others = runs_for_the_gate(session.store, stored), peers(session.store, measurement.workload.id)
    figures = [RunFigure(run.estimate.seconds, run.session) for run in measurement.reference.runs]
    return judge(figures, known, others, rule_of(settings))


def system_differs(measurement: Measurement) -> str:
    """What of the operating system and its drivers is not as it was recorded: `macos 15.1 -> 15.2`; empty for nothing."""
    if measurement.baseline is None or not measurement.runs:
        return ""
    before, now = measurement.baseline.runs[-1].versions, measurement.runs[-1].versions
    both = [name for name in SYSTEM if name in before and name in now and before[name] != now[name]]
    return ", ".join(f"{name} {before[name]} -> {now[name]}" for name in both)
