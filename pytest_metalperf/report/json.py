"""From a session's results to the file of --metal-json, which is written anew after each of them."""

from __future__ import annotations

import functools
import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from ..baselines.writing import locked, make_room, put
from ..results.fingerprint import common
from ..results.measurement import Measurement, Speedup
from ..results.metrics import MetricResult
from ..results.run import Run, run_of
from ..session import MetalSession
from ..settings import Settings
from ..worker.clock import RealTime
from ..workloads.workload import Workload
from . import document, speedups, words

if TYPE_CHECKING:
    from ..baselines.schema import Fingerprint
    from ..gate import Judgement
    from ..worker.machine import MachineFacts

State = Literal["running", "finished", "interrupted"]


FREE, SHARE = 1.0, 0.005
"""Seconds, and the share of the session, that writing may take before results wait for the next time, or for the end."""


class SessionFile:
    """The file of one session. A kill at any instant leaves the whole of what it last held.

    The whole file is written each time, in milliseconds; only where results come faster than that (1,000 workloads of a
    second each), some wait for those after them.

    Attributes:
        path: where it is.
        problem: why the file does not hold everything, in one sentence; empty where it does.
    """

    def __init__(self, path: Path, gathered: Gathered) -> None:
        self.problem = ""
        self.path = path
        self._gathered = gathered
        self._spent = 0.0

    def begin(self) -> None:
        """Write what is known before anything is measured, in place of what an earlier session left.

        Raises:
            OSError: where that is impossible.
        """
        make_room(self.path)
        self._put("running", durable=False)

    def write(self) -> None:
        """Write what is known by now; a disk that is full ends no session."""
        if self._spent <= FREE + SHARE * self._gathered.seconds:
            self._try("running", durable=False)

    def end(self, *, whole: bool) -> None:
        """Write the last of it; `whole` is whether all tests have run."""
        self._try("finished" if whole else "interrupted", durable=True)

    def _try(self, state: State, *, durable: bool) -> None:
        try:
            self._put(state, durable=durable)
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror or error}; it holds what was known before"
        else:
            self.problem = ""

    def _put(self, state: State, *, durable: bool) -> None:
        since = RealTime.monotonic()
        with locked(self.path.resolve().parent):
            put(self.path, self._gathered.encoded(state), durable=durable)
        self._spent += RealTime.monotonic() - since


class Gathered:
    """What a session has found by now, as a document. A row is made once, when its result is finished."""

    def __init__(self, session: MetalSession) -> None:
        self._session = session
        self._rows: dict[int, tuple[Measurement | Speedup, msgspec.Raw]] = {}
        self._runs: dict[int, tuple[object, msgspec.Raw]] = {}

    @property
    def seconds(self) -> float:
        """Of the session until now."""
        return RealTime.monotonic() - self._session.since

    def add(self, result: Measurement | Speedup, settings: Settings, command: str) -> None:
        """Take a result beside those before it."""
        row = (
            measured(result, settings, command) if isinstance(result, Measurement) else sped(result, settings, command)
        )
        self._rows[id(result)] = result, msgspec.Raw(document.encoded(row))

    def encoded(self, state: State) -> bytes:
        """The bytes of the document."""
        return document.encoded(self._document(state))

    def _document(self, state: State) -> document.Document:
        session, settings = self._session, self._session.settings
        rows = [self._rows[id(result)][1] for result in session.results if id(result) in self._rows]
        runs, pairs = session.fresh_runs, session.fresh_pairs
        others = self._other_runs()
        reasons: list[tuple[Literal["skipped", "refused", "put off"], Iterable[tuple[str, str]]]] = [
            ("skipped", session.skipped),
            ("refused", session.refused),
            ("put off", session.suspects.waiting.items()),
        ]
        (commit, clean), waits = session.revision, session.waits
        return document.Document(
            version=1,
            session=document.Session(
                id=session.id,
                started=session.started,
                written=RealTime.utc("%Y-%m-%dT%H:%M:%SZ"),
                state=state,
                plugin=_version(),
                commit=commit,
                clean=clean,
            ),
            machine=machine_row(session.facts, session.extra_facts),
            options=document.Options(
                metal=settings.metal,
                update_baselines=settings.update_baselines,
                update_mode=settings.update_mode,
                against=settings.against,
                budget=settings.budget,
                force=settings.force,
                host=settings.host,
            ),
            cost=document.Cost(
                seconds=round(self.seconds, 3),
                runs=len(runs),
                pairs=len(pairs),
                waited_for_others=round(waits.lock, 3),
                waited_for=waits.whom,
                waited_for_slow_minutes=round(waits.slow_minutes, 3),
                budget_spent=round(session.budget.spent, 3),
            ),
            gate=_gate() if rows or others else None,
            results=cast("Any", rows),
            other_runs=others,
            not_measured=[
                document.NotMeasured(nodeid=nodeid, how=how, reason=why)
                for how, found in reasons
                for nodeid, why in found
            ],
            unavailable=dict(session.unavailable),
        )

    def _other_runs(self) -> list[document.OtherRuns]:
        """What was measured and is in no result."""
        held: set[int] = set()
        turned: set[str] = set()
        for result in self._session.results:
            if isinstance(result, Speedup):
                turned |= {result.id} if result.runs else set()
            elif result.reference is not None:
                turned.add(f"{result.workload.id} replay" if result.replayed is not None else result.workload.id)
            else:
                held |= {id(run) for run in result.runs}
        found: dict[str, list[msgspec.Raw]] = {}
        for id_, run in self._session.fresh_runs:
            if id(run) not in held:
                found.setdefault(id_, []).append(self._raw(run, run))
        others = [document.OtherRuns(id=id_, runs=cast("Any", runs)) for id_, runs in found.items()]
        pairs: dict[str, list[tuple[msgspec.Raw, ...]]] = {}
        for id_, pair in self._session.fresh_pairs:
            if id_ not in turned:
                sides = (self._raw(side, run_of(side.answers, self._session.id)) for side in pair)
                pairs.setdefault(id_, []).append(tuple(sides))
        for id_, both in pairs.items():
            first, second = ([pair[side] for pair in both] for side in (0, 1))
            others.append(document.OtherRuns(id=id_, runs=cast("Any", first), reference=cast("Any", second)))
        return others

    def _raw(self, of: object, run: Run) -> msgspec.Raw:
        if id(of) not in self._runs:
            self._runs[id(of)] = of, msgspec.Raw(document.encoded(run_row(run)))
        return self._runs[id(of)][1]


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("pytest-metalperf")
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path
        return "unknown"


def _gate() -> document.Gate:
    from ..gate import ESTIMATOR, PAIR_ESTIMATOR, Rule  # numpy and scipy: only when something was measured

    rule = Rule()
    return document.Gate(
        estimator=ESTIMATOR,
        pair_estimator=PAIR_ESTIMATOR,
        alarm_rate=rule.alarm_rate,
        tolerance_alarm_rate=rule.tolerance_alarm_rate,
        power=rule.power,
    )


# rows


def machine_row(facts: MachineFacts, added: Mapping[str, str]) -> document.Machine:
    """The row of the machine, with what hooks of the suite say of it."""
    return document.Machine(
        id=facts.id,
        system=facts.system,
        chip=facts.chip,
        model=facts.model,
        cores=facts.cores,
        memory_gb=facts.memory_gb,
        gpus=list(facts.gpus),
        os=facts.os,
        virtual=facts.virtual,
        rosetta=facts.rosetta,
        added=dict(added),
    )


def measured(result: Measurement, settings: Settings, command: str) -> document.Measurement:
    """The row of a measurement, from its call's settings and the command that runs its test alone."""
    runs, known = result.runs, bool(result.runs) and not result.error
    changes = result.fingerprint_changes
    worth_accepting = (
        result.verdict in ("slower", "faster", "machine", "no baseline")
        or any(one.worse for one in result.metrics)
        or bool(changes)
    )
    own = result.reference is None or result.replayed is not None
    accept = words.accepting(result)
    return document.Measurement(
        nodeid=result.nodeid,
        workload=workload_row(result.workload),
        verdict="" if result.error else result.verdict,
        error=result.error,
        asked=_asked(settings),
        commands=document.Commands(
            repeat=command,
            accept=f"{command} {accept}" if accept and worth_accepting and known else "",
            compare=words.compared_by(result, command) if own and known else "",
        ),
        judgement=judgement_row(result.judgement),
        beyond_total=result.beyond_total,
        total=_number(result.total) if known else None,
        seconds_per_batch=_number(result.seconds_per_batch) if known else None,
        examples_per_second=_number(result.examples_per_second) if known else None,
        flop_per_second=_number(result.flop_per_second) if known else None,
        peak_flop_per_second=_number(result.peak_flop_per_second) if known else None,
        peak_arithmetic=result.peak.arithmetic if known else "",
        share_of_peak=_number(result.share_of_peak) if known else None,
        no_share_of_peak=result.no_share_of_peak if known else "",
        first_batch_seconds=_number(result.first_batch_seconds) if known else None,
        peak_memory_bytes=_number(result.peak_memory_bytes),
        joules_per_batch=_number(result.joules_per_batch),
        runs=run_rows(runs),
        baseline=result.baseline,
        reference=None
        if result.reference is None
        else document.Reference(
            name=result.reference.name, runs=run_rows(result.reference.runs), apart=result.reference.apart
        ),
        replay=_replay(result),
        no_replay=result.no_replay,
        metrics=[_metric(one) for one in result.metrics],
        sustained=None
        if result.sustained is None
        else document.Sustained(**{name: float(value) for name, value in vars(result.sustained).items()}),
        work=result.fingerprint,
        work_before=result.fingerprint_before,
        changes=document.Changes(
            work=changes,
            packages=words.changed_versions(result) if runs and result.versions_before else "",
            machine=words.conditions(result),
            counters=words.counters(result),
            tail=words.freezes(result) if known else "",
        ),
        notes=list(result.notes),
    )


def sped(result: Speedup, settings: Settings, command: str) -> document.Speedup:
    """The row of a speedup, likewise."""
    known = result.ratio is not None and bool(result.runs)
    over, of = result.seconds if known else (None, None)
    accept = "" if result.error else speedups.accepting(result)
    return document.Speedup(
        nodeid=result.nodeid,
        id=result.id,
        of=workload_row(result.of),
        over=workload_row(result.over),
        verdict="" if result.error else result.verdict,
        error=result.error,
        asked=_asked(settings),
        commands=document.Commands(repeat=command, accept=f"{command} {accept}" if accept else ""),
        at_least=_number(result.at_least),
        promise=result.promise,
        parity=result.parity,
        ratio=None
        if result.ratio is None
        else document.Ratio(value=result.value, low=result.low, high=result.high, confidence=result.ratio.confidence),
        per_example=result.per_example,
        of_seconds=of,
        over_seconds=over,
        of_peak_memory_bytes=_number(result.of_peak_memory_bytes),
        over_peak_memory_bytes=_number(result.over_peak_memory_bytes),
        of_joules=_number(result.of_joules),
        over_joules=_number(result.over_joules),
        pairs=[document.Pair(of=run_row(pair.of), over=run_row(pair.over), ratio=pair.ratio) for pair in result.runs],
        baseline=result.baseline,
        judgement=judgement_row(result.judgement),
        beyond_total=result.beyond_total,
        notes=list(result.notes),
    )


def workload_row(workload: Workload) -> document.Workload:
    """The row of what was trained."""
    return document.Workload(
        id=workload.id,
        label=workload.label,
        name=workload.name,
        device=workload.device,
        backend=workload.backend,
        where=workload.where,
        axes=_plain(workload.whole_axes),
        defaults=_plain(workload.defaults),
    )


def run_rows(runs: Sequence[Run]) -> list[document.Run]:
    """The rows of runs that stand beside each other: what they have in common of the work is the measurement's."""
    shared = common(run.work for run in runs)
    return [run_row(run, shared) for run in runs]


def run_row(run: Run, shared: Fingerprint | None = None) -> document.Run:
    """The row of one run; `shared` is the work that need not be said again."""
    estimate, work = run.estimate, run.work
    return document.Run(
        session=run.session,
        recorded=run.recorded,
        samples=list(run.samples),
        batches_per_block=run.batches_per_block,
        seconds_per_batch=estimate.seconds,
        lower_quartile=estimate.lower_quartile,
        upper_quartile=estimate.upper_quartile,
        first_batch_seconds=run.first_batch_seconds,
        prepare_seconds=run.prepare_seconds,
        warm_up=list(run.warm_up),
        freezes=estimate.freezes,
        drift=estimate.drift,
        examples=run.examples,
        parameters=run.parameters,
        peak_memory_bytes=run.peak_memory_bytes,
        joules_per_batch=_number(run.joules_per_batch),
        first_loss=_number(run.first_loss),
        last_loss=_number(run.last_loss),
        changed_variables=run.changed_variables,
        trainable_variables=run.trainable_variables,
        versions=dict(run.versions),
        conditions=_plain(run.conditions),
        trace=[[_number(one) for one in row] for row in run.trace],
        work=None if work == shared else work,
        no_work=run.no_fingerprint,
    )


def judgement_row(judgement: Judgement | None) -> document.Judgement | None:
    """The row of the gate's figures; None where nothing was compared."""
    if judgement is None or not math.isfinite(judgement.change):
        return None
    return document.Judgement(
        verdict=judgement.verdict,
        change=judgement.change,
        change_low=judgement.change_low,
        change_high=judgement.change_high,
        now=judgement.now_seconds,
        now_low=judgement.now_low,
        now_high=judgement.now_high,
        baseline=judgement.baseline_seconds,
        run_sd=judgement.run_sd,
        visible=_number(judgement.smallest_visible),
        change_at_most=_number(judgement.change_at_most),
        reason=judgement.reason,
    )


def _replay(result: Measurement) -> document.Replay | None:
    replayed = result.replayed
    if replayed is None:
        return None
    return document.Replay(
        stored=judgement_row(replayed.stored),
        differs=list(replayed.differs),
        not_replayed=list(replayed.not_replayed),
        moved=replayed.moved,
        accepted_on=replayed.accepted_on,
    )


def _metric(one: MetricResult) -> document.Metric:
    low, high = one.interval
    judgement = one.judgement
    return document.Metric(
        name=one.metric.name,
        unit=one.metric.unit,
        tolerance=one.tolerance,
        verdict=one.verdict,
        worse=one.worse,
        now=_number(one.now),
        now_low=_number(low),
        now_high=_number(high),
        baseline=_number(one.baseline),
        change=_number(one.change),
        change_low=None if judgement is None else _number(judgement.change_low),
        change_high=None if judgement is None else _number(judgement.change_high),
        visible=_number(one.visible),
        runs=one.runs,
        reason=one.reason,
    )


def _asked(settings: Settings) -> document.Asked:
    return document.Asked(
        batches=settings.batches,
        warmup=settings.warmup,
        runs=settings.runs,
        max_runs=settings.max_runs,
        tolerance=settings.tolerance,
        confirm=settings.confirm,
        total_tolerance=settings.total_tolerance,
        metrics=dict(settings.metrics),
        strict=settings.strict,
        strict_work=settings.strict_work,
        sustained=settings.sustained,
        sustained_tolerance=None if settings.sustained is None else settings.sustained_tolerance,
    )


def _number(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: what is not finite is not known."""
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one if _is_plain(one) else str(one) for key, one in values.items()}


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, str)) or (isinstance(value, int) and -(2**63) <= value < 2**63)
