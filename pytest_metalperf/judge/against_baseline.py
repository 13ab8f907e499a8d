"""From fresh runs to a verdict: measure until the gate is satisfied, and store what is to be stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import geometric_mean

from .. import suspects
from ..baselines.errors import BaselineError
from ..baselines.schema import Accepted, Entry, SpeedupEntry
from ..baselines.update import mode_of_change, stores_changes, stores_everything
from ..measure.capacity import side_by_side
from ..measure.worker import WorkerError
from ..report import words
from ..results.conditions import least_loaded, refusal, under_load
from ..results.measurement import Measurement, Speedup
from ..results.run import Run
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .evidence import is_comparable, other_estimator, others_today, rule_of
from .look import Figures, beside_others, is_beyond_total, unanswered_rule
from .metrics import gate_metrics
from .replay import by_the_same, impossible, is_spared, of_another_machine, replay_of, replayed


def judged(
    session: MetalSession,
    workload: Workload,
    settings: Settings,
    measure: Callable[[int], list[Run]],
    nodeid: str,
    first_look: Callable[[], Run] | None = None,
    *,
    later: bool = False,
) -> Measurement:
    """Measure until there is a verdict, and store what is to be stored.

    Args:
        session: of pytest.
        workload: what to train.
        settings: of this call.
        measure: returns so many fresh runs, of which earlier calls' are the first.
        nodeid: of the test that asks.
        first_look: a cheaper run, believed only when it says `within`.
        later: whether the test can be run again at the end of the session.

    Raises:
        Suspected: when it should be.
    """
    measurement = Measurement(workload, tolerance=settings.tolerance, strict_work=settings.strict_work, nodeid=nodeid)
    try:
        stored = measurement.baseline = session.store.workloads.get(workload.id)
        if settings.metal == "smoke":
            measurement.runs = measure(1)
        elif to_record(session, workload.id, stored, settings):
            _record(session, measurement, settings, measure)
        elif stored is not None and not is_comparable(stored):
            measurement.error = other_estimator(stored.runs)
        elif stored is None:
            measurement.runs = [first_look()] if first_look is not None else measure(1)
            measurement.verdict = "no baseline"
            if first_look is None:
                of_another_machine(session, measurement, settings)
        else:
            _gate(session, measurement, stored, settings, measure, first_look, later=later)
            gate_metrics(session.store, measurement, stored, settings, measure)
            _look_again_at_work(measurement, settings, measure)
            mode = to_update(measurement, settings)
            if mode:
                _record(session, measurement, replace(settings, update_mode=mode), measure)
    except WorkerError as error:
        measurement.error = error_text(session, error, workload)
    except BaselineError as error:
        measurement.error = str(error)
    return measurement


def error_text(session: MetalSession, error: WorkerError, *trained: Workload) -> str:
    """What broke, with its details; of a full memory also which batch has fitted, of the workload that is the largest."""
    message = error.message
    if error.kind == "memory":
        largest = max(trained, key=lambda workload: int(workload.axes.get("batch_size") or 0))
        message = words.fitted(message, session.largest_that_fitted(largest))
    return words.broken(message, error.details)


def to_record(
    session: MetalSession,
    id: str,  # noqa: A002
    stored: Entry | SpeedupEntry | None,
    settings: Settings,
) -> bool:
    """Whether to store what is measured, whatever the gate would say: an earlier test of this session did, or it is asked."""
    return id in session.updates.recorded or (
        settings.update_baselines and stores_everything(settings.update_mode, known=is_comparable(stored))
    )


def to_update(judged: Measurement | Speedup, settings: Settings) -> str:
    """How to store what the gate found; empty: not at all."""
    if not settings.update_baselines:
        return ""
    return mode_of_change(judged, settings.update_mode, strict_work=settings.strict_work)


def _gate(
    session: MetalSession,
    measurement: Measurement,
    stored: Entry,
    settings: Settings,
    measure: Callable[[int], list[Run]],
    first_look: Callable[[], Run] | None,
    *,
    later: bool,
) -> None:
    unanswered = unanswered_rule(settings)
    rule = rule_of(settings) if first_look is None else unanswered
    figures = Figures(measurement.workload.id, measurement.device, stored, session.store)

    def look(runs: list[Run], *, same: bool = False) -> bool:
        """Where all that can be seen is the `same`, load excuses nothing: it is what the verdict `machine` means."""
        judgement = figures.judged(runs, rule, same=same)
        measurement.runs, measurement.judgement, measurement.verdict = runs, judgement, judgement.verdict
        measurement.beyond_total = figures.beyond_total(judgement, runs, rule, settings)
        quiet = figures.of_the_quiet(runs, rule)
        if quiet is not None and not measurement.fingerprint_changes:  # or load, or its code, explains what it became
            session.looks[measurement.workload.id] = quiet
        return judgement.decided and (len(runs) > 1 or not measurement.beyond_total)  # one run convinces nobody

    again = session.suspects.had_a_first_look(measurement.nodeid)
    if first_look is not None and not again and look([first_look()]) and measurement.verdict == "within":
        return
    done = look(measure(1))
    replay = None
    if first_look is None and not is_spared(measurement, settings):
        suspicious = not done and measurement.judgement is not None and measurement.judgement.spread_next
        if later and (suspicious or settings.budget is not None):  # a budget is for the most suspicious of all
            _put_off(session, measurement)
        if session.budget.is_spent:
            _out_of_budget(session, measurement)
            return
        replay = replay_of(session, measurement, stored, settings)
        if replay is not None and replay.reference is None and replay.accepted_on:
            by_the_same(measurement, replay)
            return
        if replay is not None and replay.reference is not None:
            try:
                with session.budget.running():
                    replayed(session, measurement, stored, settings, replay)
                return
            except WorkerError as error:
                if not impossible(measurement, replay, error):
                    raise
            replay = None
        if replay is None:
            rule = unanswered
        done = look(measure(1), same=replay is not None)
    same = replay is not None
    if not done and not same and measurement.judgement is not None and measurement.judgement.spread_next:
        session.wait_since_look(measurement.workload, 0.0 if later else suspects.PATIENCE)
        if later:
            _put_off(session, measurement)
    while not done and not session.budget.is_spent:
        # what one run left open, one more seldom settles: several cost little more time, since they prepare side by side
        with session.budget.running():
            done = look(measure(min(settings.max_runs, len(measurement.runs) + side_by_side())), same=same)
    if not done:
        _out_of_budget(session, measurement)
        return
    if same and measurement.judgement is not None:  # what is slower today is no code: the total is that of the baseline
        unchanged = replace(measurement.judgement, change_low=0.0)
        measurement.beyond_total = is_beyond_total(unchanged, stored.anchor.seconds_per_batch, settings)
        measurement.verdict = "machine" if measurement.verdict == "slower" else measurement.verdict
    accepting = settings.update_baselines and stores_changes(settings.update_mode)
    if not same and not accepting and (measurement.verdict == "slower" or measurement.beyond_total):
        if later:  # when all others have been looked at
            _put_off(session, measurement)
        beside_others(measurement, others_today(session.looks, measurement.workload.id), settings)
    if measurement.beyond_total:
        measurement.verdict = "slower"


def _put_off(session: MetalSession, measurement: Measurement) -> None:
    """End a first attempt; those that differ by more of what can be seen come first when tests are run again.

    Raises:
        Suspected: always.
    """
    judgement = measurement.judgement
    assert judgement is not None
    suspicion = judgement.change / judgement.smallest_visible
    session.suspects.put_off(measurement.nodeid, words.suspected(measurement), suspicion)


def _out_of_budget(session: MetalSession, measurement: Measurement) -> None:
    assert measurement.judgement is not None
    reason = words.out_of_budget(session.budget.seconds)
    measurement.judgement = replace(measurement.judgement, verdict="inconclusive", reason=reason)
    measurement.verdict, measurement.beyond_total = "inconclusive", False


def _look_again_at_work(measurement: Measurement, settings: Settings, measure: Callable[[int], list[Run]]) -> None:
    """Before a changed fingerprint has consequences, a second process must show the same."""
    matters = settings.strict_work or (settings.update_baselines and stores_changes(settings.update_mode))
    if measurement.fingerprint_changes and matters and len(measurement.runs) < 2:
        measurement.runs = measure(2)


def _record(
    session: MetalSession,
    measurement: Measurement,
    settings: Settings,
    measure: Callable[[int], list[Run]],
) -> None:
    runs, device = measure(settings.runs), measurement.device
    if not settings.force and under_load(runs, device) and not refusal(runs, device):  # once more, for those without
        runs = least_loaded(measure(2 * len(runs)), device, len(runs))
    measurement.runs = runs
    why = refusal(runs, device) or under_load(runs, device)
    if why and not settings.force:
        measurement.verdict, measurement.error = "", words.refused(why)
        return
    examples = {run.examples for run in measurement.runs}
    workload, (commit, clean) = measurement.workload, session.revision
    today = session.today(workload)

    def accept() -> Accepted | None:
        return None if today is None else session.recipes.accepted(workload, today, commit)

    session.updates.record(
        session.store,
        workload.id,
        [run.stored(commit, clean) for run in measurement.runs],
        geometric_mean(run.estimate.seconds for run in runs),
        settings.update_mode,
        session.stored_facts,
        fingerprint=measurement.fingerprint,
        examples=examples.pop() if len(examples) == 1 else None,
        force=settings.force,
        accept=accept,
    )
    measurement.verdict = "recorded"
    measurement.metrics = [replace(one, verdict="recorded", worse=False) for one in measurement.metrics]
