"""A request for a reference model, as the commands of this folder ask a fleet for it."""

from __future__ import annotations

from typing import Any

from pytest_metalperf.fleet import Request
from pytest_metalperf.models import known_models
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.workload import Workload

NAMES = ",".join(REFERENCE_MODELS)


def request(name: str, device: str, backend: str, size: str, **axes: Any) -> Request:
    """`name` at one of its sizes."""
    model = known_models([])[name]
    return Request(Workload(name, device, backend, {**model.sizes[size], **axes}, model.source), backend)
