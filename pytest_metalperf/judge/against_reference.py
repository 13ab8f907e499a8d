"""--metal-against: a workload here and in the reference, interleaved in fresh pairs until there is a verdict."""

from __future__ import annotations

from dataclasses import replace

from ..measure.plan import Plan
from ..measure.worker import WorkerError
from ..results.measurement import Measurement, ReferenceRuns
from ..results.run import Run
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .against_baseline import error_text
from .in_pairs import Sides, in_pairs, judged_pairs
from .metrics import metrics_in_turn


def compared(
    session: MetalSession, workload: Workload, settings: Settings, plan: Plan, nodeid: str, theirs: Workload
) -> Measurement:
    """Measure pairs until the gate is satisfied.

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
    measurement.reference = ReferenceRuns(reference.name)

    def enough(ours: list[Run], others: list[Run]) -> bool:
        measurement.runs, measurement.reference = ours, ReferenceRuns(reference.name, others)
        if settings.metal == "smoke":
            return True
        judgement = judged_pairs(ours, others, settings)
        measurement.judgement, measurement.verdict = judgement, judgement.verdict
        measurement.metrics = metrics_in_turn(ours, others, settings)
        spent = len(ours) >= settings.max_pairs
        return judgement.decided and (spent or all(one.decided for one in measurement.metrics))

    try:
        apart = in_pairs(session, Sides(reference, workload, theirs), settings, plan, enough)
        measurement.reference = replace(measurement.reference, apart=apart)
    except WorkerError as error:
        untracked = reference.missing_module(error.message)
        measurement.error = error_text(session, error, workload) + (f"\n  known     {untracked}" if untracked else "")
    return measurement
