"""What the commands of this folder ask a fleet for: reference models, and fresh runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.plan import Plan, Request
from pytest_metalperf.measure.worker import kill
from pytest_metalperf.results.run import Run, run_of
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.workloads.models import known_models
from pytest_metalperf.workloads.workload import Workload

NAMES = ",".join(name for name, model in REFERENCE_MODELS.items() if "image_size" in model.axes)
"""Those that Apple named."""


def request(name: str, device: str, backend: str, size: str, **axes: Any) -> Request:
    """`name` at one of its sizes."""
    model = known_models([])[name]
    return Request(Workload(name, device, backend, {**model.sizes[size], **axes}, model.source), backend)


def fresh_runs(fleet: Fleet, request: Request, plan: Plan, side: int) -> Iterator[Run]:
    """Fresh runs for as long as they are asked for, `side` of them prepared at once and measured one after the other."""
    while True:
        workers = fleet.prepared([request] * side, plan, lambda *_: None)
        try:
            for worker in workers:
                worker.ask(
                    "measure", batches=plan.batches, least_blocks=plan.least_blocks, least_seconds=plan.least_seconds
                )
                worker.ask("finish")
                fleet.wait([worker])
                worker.kill()
                yield run_of(worker.results, fleet.session)
        finally:
            kill(workers)
