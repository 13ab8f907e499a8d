"""Two variants of a workload, interleaved block by block in fresh pairs of workers, until promise and baseline are decided."""

from __future__ import annotations

import math
import statistics
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..baselines.errors import BaselineError
from ..baselines.file import Entries
from ..baselines.schema import SpeedupEntry
from ..measure.in_turn import Turns, take_turns
from ..measure.plan import OnProgress, Plan, Progress, Request, plan_of
from ..measure.worker import WorkerError
from ..report import speedups, words
from ..results.conditions import refusal, under_conditions, under_known_conditions, under_load
from ..results.measurement import Pair, PairFigure, Speedup
from ..results.run import run_of
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import WorkloadError
from .against_baseline import error_text, to_record, to_update
from .evidence import is_comparable, other_estimator, ratios_for_the_gate, rule_of, speedup_peers
from .look import is_beyond_total
from .parity import StepValues, mismatch, other_work

if TYPE_CHECKING:
    from ..gate import Judgement
    from ..measure.worker import Worker

CHECKED, NOT_WANTED = "checked", "not wanted"
SMALLEST_RISK = 2.0**-50
"""Of one look of very many: below it a level of confidence would round to certainty, which no interval has."""
Model = str | Callable[..., Any]
"""By name, or the function that builds it."""
Measure = Callable[[int], None]
Judge = Callable[[Sequence[PairFigure]], "Judgement"]


@dataclass(frozen=True)
class Variant:
    """One variant of a comparison."""

    model: Model
    device: str
    backend: str
    axes: Mapping[str, Any]


def variants(
    model: Model,
    of: Mapping[str, Any] | None,
    over: Mapping[str, Any] | Model | None,
    *,
    device: str | None,
    backend: str,
    axes: Mapping[str, Any],
    at_least: object,
) -> tuple[Variant, Variant]:
    """The two sides: by default the GPU over the CPU; else both on `device`, each with its own axes, or its own model.

    Raises:
        WorkloadError: for an `at_least` that is no ratio, or sides that are neither mappings nor models.
    """
    if at_least is not None and (
        isinstance(at_least, (bool, str)) or not isinstance(at_least, (int, float)) or not 0 < at_least < math.inf
    ):
        raise WorkloadError(f"at_least is a ratio such as 3.0 (three times as fast), got {at_least!r}")
    other = over if isinstance(over, str) or callable(over) else None
    both = []
    for variant, given, default in (("of", of, "gpu"), ("over", {} if other is not None else over, "cpu")):
        if given is not None and not isinstance(given, Mapping):
            more = ", or another model" if variant == "over" else ""
            raise WorkloadError(
                f"{variant} is a dict of axes such as {{'precision': 'mixed_float16'}}{more}, got {given!r}"
            )
        own = dict(given or {})
        where = own.pop("device", None) or device or ("gpu" if of or over else default)
        trained = model if other is None or variant == "of" else other
        both.append(Variant(trained, str(where), str(own.pop("backend", backend)), {**axes, **own}))
    return both[0], both[1]


def compare(session: MetalSession, speedup: Speedup, settings: Settings) -> None:
    """Measure fresh pairs until the promise and the stored ratio are decided, and store what is to be stored.

    Fills everything that is known of `speedup` only now; what breaks is its `error`.
    """
    speedup.tolerance = settings.tolerance
    measure = _measuring(session, speedup, settings)
    try:
        stored = speedup.baseline = session.store.speedups.get(speedup.id)
        if settings.metal == "smoke":
            measure(1)
        elif stored is not None and not is_comparable(stored) and not to_record(session, speedup.id, stored, settings):
            speedup.error = other_estimator(stored.pairs)
        elif to_record(session, speedup.id, stored, settings):
            _record(session, speedup, settings, measure)
        else:
            _decide(
                speedup,
                settings,
                measure,
                None if stored is None else judge_of(session.store, speedup, stored, settings),
            )
            if to_update(speedup, settings) and speedup.promise != "slower":
                _record(session, speedup, settings, measure)
    except WorkerError as error:
        speedup.error = error_text(session, error, speedup.of, speedup.over)
    except BaselineError as error:
        speedup.error = str(error)


def overall(promise: str, stored: str) -> str:
    """One verdict of two, of which either may be empty: a promise not kept or a shrunk speedup fails."""
    both = promise, stored
    return next((word for word in ("slower", "inconclusive", "faster", "within") if word in both), "")


def most_pairs(settings: Settings) -> int:
    """Fresh pairs that one comparison may take."""
    from ..gate import LEAST_PAIRS  # numpy and scipy: only when a verdict is due

    return max(settings.max_runs, LEAST_PAIRS)


def _decide(speedup: Speedup, settings: Settings, measure: Measure, judge: Judge | None) -> None:
    """Measure until there is a verdict."""
    from ..gate import LEAST_PAIRS  # numpy and scipy: only when a verdict is due

    most = most_pairs(settings)
    measure(LEAST_PAIRS)
    while not look_at(speedup, most, judge) and len(speedup.runs) < most:
        measure(len(speedup.runs) + 1)


def look_at(speedup: Speedup, most: int, judge: Judge | None = None) -> bool:
    """What the pairs so far say, of at most so many; whether that is all there is to know."""
    from ..gate import ratio_of_pairs, spent  # numpy and scipy: only when a verdict is due

    over, of = zip(*speedup.pairs, strict=True)
    speedup.ratio = ratio_of_pairs(over, of)
    if speedup.at_least is not None:
        # looking several times must not cost more than looking once
        risk = max(SMALLEST_RISK, (1 - speedup.ratio.confidence) * spent(len(speedup.runs) / most))
        decisive = ratio_of_pairs(over, of, confidence=1 - risk)
        low, high = decisive.low, decisive.high
        speedup.promise = (
            "within" if low >= speedup.at_least else "slower" if high < speedup.at_least else "inconclusive"
        )
    judgement = speedup.judgement = None if judge is None else judge(speedup.pair_results)
    stored = "" if judgement is None else "slower" if speedup.beyond_total else judgement.verdict
    speedup.verdict = overall(speedup.promise, stored)
    return speedup.promise != "inconclusive" and (judgement is None or judgement.decided)


def judge_of(store: Entries, speedup: Speedup, stored: SpeedupEntry, settings: Settings) -> Judge:
    """What compares pairs with the stored ones: the gate of workloads, on the seconds of one variant counted in the other's."""
    from ..gate import RunFigure, judge  # numpy and scipy: only when a verdict is due

    rule = replace(rule_of(settings), max_runs=most_pairs(settings))
    known, peers = ratios_for_the_gate(store, stored), speedup_peers(store, speedup.id)
    device, before = speedup.device, [pair.conditions for pair in stored.pairs]

    def judged_by(pairs: Sequence[PairFigure]) -> Judgement:
        return judge([RunFigure(1 / pair.ratio, pair.session) for pair in pairs], known, peers, rule)

    def judged(pairs: Sequence[PairFigure]) -> Judgement:
        # load on one variant alone makes a ratio smaller or larger
        judgement = under_conditions(pairs, before, device, judged_by, rule.max_runs, excused=("slower", "faster"))
        quiet = under_known_conditions(pairs, before, device)
        speedup.beyond_total = (
            judgement.verdict != "inconclusive"
            and bool(quiet)
            and is_beyond_total(judged_by(quiet), 1 / stored.anchor.ratio, settings)
        )
        return judgement

    return judged


def _record(session: MetalSession, speedup: Speedup, settings: Settings, measure: Measure) -> None:
    """Measure what a baseline and the promise want, and store it; a ratio below the promise is not accepted by a flag."""
    measure(settings.runs)
    _decide(speedup, settings, measure, None)
    if speedup.promise == "slower":
        return
    if not settings.force and under_load(speedup.pair_results, speedup.device):  # once more: it may have passed
        measure(2 * len(speedup.runs))
        look_at(speedup, most_pairs(settings))
        if speedup.promise == "slower":
            return
    why = refusal(speedup.pair_results, speedup.device) or under_load(speedup.pair_results, speedup.device)
    if why and not settings.force:
        speedup.verdict, speedup.error = "", words.refused(why)
        return
    session.updates.record_speedup(
        session.store,
        speedup.id,
        [pair.stored(*session.revision) for pair in speedup.pair_results],
        statistics.median(pair.ratio for pair in speedup.pair_results),
        settings.update_mode,
        session.stored_facts,
    )
    speedup.verdict = speedup.verdict if speedup.promise == "inconclusive" else "recorded"


def _measuring(session: MetalSession, speedup: Speedup, settings: Settings) -> Measure:
    """What measures until there are so many fresh pairs; those of an earlier test of this session count."""
    plan = plan_of(settings)
    most = 1 if settings.metal == "smoke" else most_pairs(settings)
    unchecked = speedup.parity == NOT_WANTED
    taken = session.kept_pairs(speedup.id, plan, speedup.of, speedup.over, unchecked=unchecked)
    over, of = (Request(variant, session.backend_source(variant.backend)) for variant in (speedup.over, speedup.of))
    different = other_work(speedup.of, speedup.over)

    def progress(phase: str, i: int, n: int, _which: int) -> None:
        number = len(taken) + 1
        session.on_progress(Progress(speedup.of.label, "speedup", phase, i, n, number, max(number, most)))

    def built(workers: Sequence[Worker]) -> None:
        if not taken and not different and not unchecked:
            _check_parity(session, speedup, workers, plan, progress)

    def measure(count: int) -> None:
        try:
            while len(taken) < count:
                taken.append(take_turns(session.fleet, (over, of), plan, progress, len(taken) + 1, built=built))
        finally:
            session.on_progress(None)
        speedup.runs = [Pair(*(run_of(variant.answers, session.id) for variant in pair)) for pair in taken]
        if not speedup.parity:
            speedup.parity = speedups.other_work(different) if different else _parity(speedup, *taken[0])
            if speedup.parity != CHECKED:
                speedup.notes.append(speedups.not_checked(speedup))

    return measure


def _check_parity(
    session: MetalSession, speedup: Speedup, workers: Sequence[Worker], plan: Plan, progress: OnProgress
) -> None:
    """Ask both sides, over and of, for loss and gradient from the weights of the first.

    Weights of another builder's lie elsewhere in its model: there both sides begin with their own, which have to be the same.

    Raises:
        WorkerError: when they differ, or one cannot say.
    """
    fleet, (over, of) = session.fleet, workers
    name = f"pytest-metalperf-{uuid.uuid4().hex}.npz"  # elsewhere it lies where temporary files of that machine do
    file = str(fleet.folder / name) if fleet.local else name
    handed = file if speedup.same_builder else ""
    try:
        over.ask("parity", load="", save=handed)
        fleet.wait([over], progress, plan.timeout)
        first = _step_values(over.results)
        if first is None or first.drawn:
            return
        of.ask("parity", load=handed, save="")
        fleet.wait([of], progress, plan.timeout)
    finally:
        (fleet.folder / name).unlink(missing_ok=True)
    expected, computed = _step_values(over.results), _step_values(of.results)
    if expected is None or computed is None or computed.drawn or _begin_otherwise(speedup, expected, computed):
        return
    if wrong := mismatch(speedup.of, speedup.over, computed, expected):
        raise WorkerError("parity", wrong)


def _step_values(answers: Mapping[str, Mapping[str, Any]]) -> StepValues | None:
    answer = answers.get("parity", {})
    loss, norm = answer.get("loss"), answer.get("gradient_norm")
    if loss is None or norm is None:
        return None
    return StepValues(loss, norm, answer.get("batch"), bool(answer.get("drawn")), answer.get("weights"))


def _parity(speedup: Speedup, over: Turns, of: Turns) -> str:
    """`checked`, or why it was not: a pair that did not agree has not been measured."""
    both = []
    for workload, variant in ((speedup.over, over), (speedup.of, of)):
        values = _step_values(variant.answers)
        if values is None:
            return speedups.no_model(workload.id)
        if values.drawn:
            return speedups.DRAWN
        both.append(values)
    return _begin_otherwise(speedup, *both) or CHECKED


def _begin_otherwise(speedup: Speedup, expected: StepValues, computed: StepValues) -> str:
    """Why their loss may differ though both compute the same: they begin with other data, or weights; empty where they do not."""
    if len({expected.batch, computed.batch} - {None}) > 1:
        return speedups.OTHER_DATA
    if not speedup.same_builder and (expected.weights is None or expected.weights != computed.weights):
        return speedups.OTHER_WEIGHTS
    return ""
