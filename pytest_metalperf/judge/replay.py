"""Replay: what the stored figures leave open, the baseline's own code answers, trained in turn with today's."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ..baselines.schema import Entry
from ..measure.plan import plan_of
from ..measure.worker import WorkerError
from ..references.replay import NoReplay, Replay, may_fetch
from ..report import words
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

    It is where a slowdown of twice the tolerance would have been missed at most once in twenty
    (`tests/statistics/test_gate_first_look.py`).
    """
    judgement = measurement.judgement
    if settings.confirm != "auto" or judgement is None:
        return settings.confirm == "stored"
    within = judgement.verdict == "within" and judgement.change_at_most < 2 * settings.tolerance
    return within and not (settings.update_baselines and judgement.change < -settings.tolerance)


def replay_of(
    session: MetalSession, measurement: Measurement, stored: Entry, settings: Settings, machine: str = ""
) -> Replay | None:
    """How to train the baseline again; None, with the reason in the measurement, where that is impossible.

    What another machine has accepted since is the baseline instead, where it can be trained here as it was there.

    Args:
        session: of pytest.
        measurement: with a fresh run.
        stored: its baseline.
        settings: of this call.
        machine: that recorded it, where it is another one.
    """
    workload, machine = measurement.workload, machine or session.store.machine
    if stored.accepted is None or workload.source.get("kind") not in ("import", "reference"):
        return None
    if not session.local:
        measurement.no_replay = "--metal-host has not the code and the packages of its baseline"
        return None
    today = session.today(workload)
    if today is None:
        return None
    if settings.total_tolerance is None:  # which is counted from this machine's own figures
        newest, entry = session.recipes.newest(workload.id, machine, stored)
        if newest != machine and entry.accepted is not None:
            with contextlib.suppress(NoReplay):  # then its own will do
                found = session.recipes.replay(entry.accepted, workload, today, newest)
                if not found.not_replayed:
                    return replace(found, accepted_on=newest)
    try:
        return session.recipes.replay(stored.accepted, workload, today, machine)
    except NoReplay as error:
        measurement.no_replay = str(error)
        return None


def replayed(
    session: MetalSession, measurement: Measurement, stored: Entry, settings: Settings, replay: Replay
) -> None:
    """Train the baseline's code in turn with today's until there is a verdict, and look whether the machine has changed.

    Raises:
        WorkerError: when a worker breaks.
    """
    by_figures = measurement.judgement
    assert by_figures is not None
    in_turn(session, measurement, settings, replay)
    if replay.accepted_on:  # what other code takes here today says nothing of this machine's figures
        assert measurement.replayed is not None
        measurement.replayed = replace(measurement.replayed, stored=by_figures)
        return
    moved, judgement = _moved(session, measurement, stored, settings), measurement.judgement
    assert judgement is not None
    assert measurement.replayed is not None
    measurement.replayed = replace(
        measurement.replayed, stored=by_figures, moved=(moved.change, moved.change_low, moved.change_high)
    )
    if judgement.verdict in ("within", "faster") and moved.change_low > settings.tolerance:
        measurement.verdict = "machine"
    lowest = by_figures.baseline_seconds * (1 + judgement.change_low) / stored.anchor.seconds_per_batch - 1
    allowed = settings.total_tolerance
    measurement.beyond_total = allowed is not None and judgement.verdict != "inconclusive" and lowest > allowed
    if measurement.beyond_total:
        measurement.verdict = "slower"


def in_turn(session: MetalSession, measurement: Measurement, settings: Settings, replay: Replay) -> None:
    """Train the two in turn until there is a verdict; the figures of another machine say nothing here.

    Raises:
        WorkerError: when a worker breaks.
    """
    assert replay.reference is not None
    name = replay.reference.name

    def enough(ours: list[Run], theirs: list[Run]) -> bool:
        judgement = judged_pairs(ours, theirs, settings)
        measurement.runs, measurement.reference, measurement.judgement = ours, ReferenceRuns(name, theirs), judgement
        return judgement.decided or session.budget.is_spent

    sides = Sides(replay.reference, measurement.workload, replay.workload)
    apart = in_pairs(session, sides, settings, plan_of(settings), enough, purpose="replay")
    judgement = measurement.judgement
    assert judgement is not None
    assert measurement.reference is not None
    measurement.reference = replace(measurement.reference, apart=apart)
    if not judgement.decided:
        why = words.out_of_budget(session.budget.seconds)
        judgement = replace(judgement, verdict="inconclusive", reason=why)
    if replay.not_replayed and judgement.verdict == "within":
        why = f"not replayed, and the same on both sides: {'; '.join(replay.not_replayed)}"
        judgement = replace(judgement, verdict="inconclusive", reason=why)
    measurement.judgement, measurement.verdict = judgement, judgement.verdict
    measurement.replayed = Replayed(None, replay.differs, replay.not_replayed, accepted_on=replay.accepted_on)


def by_the_same(measurement: Measurement, replay: Replay) -> None:
    """Today's code, packages and variables are those that another machine has accepted: there is nothing to compare."""
    measurement.judgement, measurement.verdict = None, "within"
    measurement.replayed = Replayed(None, accepted_on=replay.accepted_on)


def impossible(measurement: Measurement, replay: Replay, error: WorkerError) -> bool:
    """Whether it was the baseline's side that broke, or that would have trained something else: then there is no replay.

    Such as code that does not run any more, or a project that is installed and would be imported from there; or two sides that
    do not fit the memory together, though each does alone. The measurement is as it was before, with the reason.
    """
    name = "" if replay.reference is None else replay.reference.name
    if error.kind not in ("reference", "memory") and not (name and error.message.startswith(f"with {name}: ")):
        return False
    why = error.message.splitlines()[0]
    measurement.no_replay = f"both sides together do not fit: {why}" if error.kind == "memory" else why
    measurement.reference, measurement.replayed = None, None
    return True


def of_another_machine(session: MetalSession, measurement: Measurement, settings: Settings) -> None:
    """Without a baseline for this machine: train that of another one in turn with today's code.

    Raises:
        WorkerError: when a worker breaks.
    """
    found = session.elsewhere(measurement.workload)
    if found is None or settings.confirm == "stored" or not (settings.confirm == "replay" or may_install()):
        return
    machine, entry = found
    replay = replay_of(session, measurement, entry, settings, machine)
    if replay is None:
        return
    if replay.reference is None:
        by_the_same(measurement, replace(replay, accepted_on=replay.accepted_on or machine))
        return
    runs = measurement.runs
    if session.budget.is_spent:
        measurement.no_replay = words.out_of_budget(session.budget.seconds)
        return
    try:
        with session.budget.running():
            in_turn(session, measurement, settings, replay)
    except WorkerError as error:
        if not impossible(measurement, replay, error):
            raise
        measurement.runs, measurement.judgement, measurement.verdict = runs, None, "no baseline"


def may_install() -> bool:
    """Whether CI may compare with what another machine has recorded."""
    return bool(os.environ.get("CI")) and may_fetch()


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
    before, now = (
        {name: version for name, version in runs[-1].versions.items() if name in SYSTEM}
        for runs in (measurement.baseline.runs, measurement.runs)
    )
    return words.version_changes(before, now)
