"""A sustained run: minutes of training instead of batches, whose end is judged by its start."""

from __future__ import annotations

from collections.abc import Callable

from ..measure.plan import Plan
from ..measure.worker import WorkerError
from ..results.conditions import load
from ..results.measurement import Measurement
from ..results.run import Run
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .against_baseline import error_text


def sustained_plan(settings: Settings) -> Plan:
    """One run of so many seconds."""
    return Plan(1, settings.warmup, least_seconds=settings.sustained or 0.0, timeout=settings.timeout, sustained=True)


def sustained(
    session: MetalSession, workload: Workload, settings: Settings, measure: Callable[[int], list[Run]], nodeid: str
) -> Measurement:
    """Train one fresh run for as long as was asked, and judge it by itself; nothing is stored.

    Args:
        session: of pytest.
        workload: what to train.
        settings: of this call.
        measure: returns so many fresh runs of the plan above.
        nodeid: of the test that asks.
    """
    measurement = Measurement(workload, tolerance=settings.sustained_tolerance, nodeid=nodeid)
    try:
        measurement.runs = measure(1)[:1]
    except WorkerError as error:
        measurement.error = error_text(session, error, workload)
        return measurement
    from ..gate import judge_sustained, last_over_first  # numpy and scipy: only when a verdict is due

    run = measurement.runs[0]
    measurement.sustained = last_over_first(run.samples, run.batches_per_block)
    measurement.verdict = judge_sustained(measurement.sustained, settings.sustained_tolerance)
    if measurement.verdict == "slower" and load(measurement.runs, measurement.device):
        measurement.verdict = "inconclusive"  # others may have come at its end
    return measurement
