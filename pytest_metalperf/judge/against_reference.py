"""--metal-against: a workload here and in the reference, interleaved in fresh pairs until there is a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..measure.in_turn import take_turns
from ..measure.plan import Plan, Progress, Request
from ..measure.worker import WorkerError
from ..results.measurement import Measurement, ReferenceRuns
from ..results.run import run_of
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .against_baseline import error_text
from .evidence import beside_means, rule_of
from .metrics import metrics_in_turn

if TYPE_CHECKING:
    from ..measure.worker import Worker


def compared(
    session: MetalSession, workload: Workload, settings: Settings, plan: Plan, nodeid: str, theirs: Workload
) -> Measurement:
    """Measure pairs until the gate is satisfied; pairs of an earlier test of this session count.

    Args:
        session: of pytest, with a reference.
        workload: to train here.
        settings: of this call.
        plan: of one run.
        nodeid: of the test that asks.
        theirs: the workload as the reference builds it.
    """
    reference = session.reference
    measurement = Measurement(workload, tolerance=settings.tolerance, strict_work=settings.strict_work, nodeid=nodeid)
    pairs = session.kept_pairs(workload.id, plan, workload)
    measurement.reference = ReferenceRuns(reference.name)
    requests = (
        Request(workload, session.backend_source(workload.backend)),
        Request(theirs, reference.moved(session.backend_source(workload.backend)), reference.interpreter),
    )

    def progress(phase: str, i: int, n: int, _which: int) -> None:
        session.on_progress(Progress(workload.label, workload.device, phase, i, n, len(pairs) + 1, settings.max_pairs))

    def check(workers: Sequence[Worker]) -> None:
        if reference.interpreter.moved is None:
            return
        for worker in workers:
            worker.ask("imports")
        session.fleet.wait(workers)
        here, there = (worker.results["imports"] for worker in workers)
        if wrong := reference.wrong_imports(here, there):
            raise WorkerError("reference", wrong)

    def look() -> bool:
        measurement.runs = [run_of(ours.answers, session.id) for ours, _ in pairs]
        runs = [run_of(variant.answers, session.id) for _, variant in pairs]
        measurement.reference = ReferenceRuns(reference.name, runs)
        if settings.metal == "smoke":
            return bool(pairs)
        from ..gate import judge_pairs  # numpy and scipy: only when a verdict is due

        if not pairs:
            return False
        rule = replace(rule_of(settings), max_runs=settings.max_pairs)
        judgement = judge_pairs([one.samples for one, _ in pairs], [other.samples for _, other in pairs], rule)
        means = [(run.estimate.seconds, run.mean_seconds) for run in runs]
        spent = len(pairs) >= settings.max_pairs
        judgement = beside_means(judgement, measurement.runs, means, settings.tolerance, spent=spent)
        measurement.judgement, measurement.verdict = judgement, judgement.verdict
        measurement.metrics = metrics_in_turn(measurement.runs, runs, settings)
        return judgement.decided and (spent or all(one.decided for one in measurement.metrics))

    try:
        while not look():
            pairs.append(take_turns(session.fleet, requests, plan, progress, len(pairs), check))
    except WorkerError as error:
        untracked = reference.missing_module(error.message)
        measurement.error = error_text(session, error, workload) + (f"\n  known     {untracked}" if untracked else "")
    finally:
        session.on_progress(None)
    return measurement
