"""Two variants of a workload, interleaved block by block in fresh pairs of workers, until the promise is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fleet import Plan, Request, plan_of
from .interleave import take_turns
from .measurement import Speedup
from .session import MetalSession, Progress
from .settings import Settings
from .workload import WorkloadError


@dataclass(frozen=True)
class Variant:
    """One side of a comparison."""

    device: str
    backend: str
    axes: Mapping[str, Any]


def variants(
    of: Mapping[str, Any] | None,
    over: Mapping[str, Any] | None,
    *,
    device: str | None,
    backend: str,
    axes: Mapping[str, Any],
    at_least: object,
) -> tuple[Variant, Variant]:
    """The two sides: by default the GPU over the CPU; else both on `device`, each with its own axes.

    Raises:
        WorkloadError: for an `at_least` that is no ratio, or sides that are no mappings.
    """
    if at_least is not None and (
        isinstance(at_least, (bool, str)) or not isinstance(at_least, (int, float)) or not 0 < at_least < math.inf
    ):
        raise WorkloadError(f"at_least is a ratio such as 3.0 (three times as fast), got {at_least!r}")
    for side, given in (("of", of), ("over", over)):
        if given is not None and not isinstance(given, Mapping):
            raise WorkloadError(f"{side} is a dict of axes such as {{'precision': 'mixed_float16'}}, got {given!r}")
    sides = []
    for given, place in ((of, "gpu"), (over, "cpu")):
        own = dict(given or {})
        where = own.pop("device", None) or device or ("gpu" if of or over else place)
        sides.append(Variant(str(where), str(own.pop("backend", backend)), {**axes, **own}))
    return sides[0], sides[1]


def compare(session: MetalSession, speedup: Speedup, settings: Settings) -> None:
    """Measure fresh pairs until the interval of the ratio lies on one side of the promise.

    Fills `ratio`, `pairs` and `verdict` of `speedup`.

    Raises:
        WorkerError: when a worker breaks.
    """
    from .gate import LEAST_PAIRS, ratio_of_pairs  # numpy and scipy: only when a verdict is due

    smoke, plan = settings.metal == "smoke", plan_of(settings)
    pairs: list[tuple[list[float], list[float]]] = []
    while True:
        pairs.append(_pair(session, speedup, plan, len(pairs) + 1, max(settings.max_runs, LEAST_PAIRS)))
        speedup.pairs = pairs
        if smoke:
            return
        speedup.ratio = ratio_of_pairs([over for over, _ in pairs], [of for _, of in pairs])
        if len(pairs) < LEAST_PAIRS:
            continue
        if speedup.at_least is None:
            return
        if speedup.ratio.low >= speedup.at_least:
            speedup.verdict = "within"
            return
        if speedup.ratio.high < speedup.at_least:
            speedup.verdict = "slower"
            return
        if len(pairs) >= settings.max_runs:
            speedup.verdict = "inconclusive"
            return


def _pair(session: MetalSession, speedup: Speedup, plan: Plan, number: int, of: int) -> tuple[list[float], list[float]]:
    """One fresh pair of workers: samples over and of, in seconds per batch, or per example where batches differ."""

    def hear(phase: str, i: int, n: int, _which: int) -> None:
        session.on_progress(Progress(speedup.of.label, "speedup", phase, i, n, number, of))

    over, faster = (Request(side, session.backend_source(side.backend)) for side in (speedup.over, speedup.of))
    try:
        sides = take_turns(session.fleet, (over, faster), plan, hear, number)
    finally:
        session.on_progress(None)
    examples = [side.answers["prepare"]["examples"] for side in sides]
    speedup.per_example = examples[0] != examples[1]
    first, second = (
        [sample / ((count or 1) if speedup.per_example else 1) for sample in side.samples]
        for side, count in zip(sides, examples, strict=True)
    )
    return first, second
