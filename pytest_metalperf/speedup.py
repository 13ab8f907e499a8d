"""Two variants of a workload, interleaved block by block in fresh pairs of workers, until the promise is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .fleet import Plan, kill
from .measurement import Speedup
from .session import MetalSession, Progress
from .settings import Settings
from .workload import WorkloadError

if TYPE_CHECKING:
    from .fleet import Worker

BLOCKS = 10  # per variant and pair, at least
SETTLE = 2  # untimed steps after each switch, so that clocks and caches are up
LEAST_PAIRS = 3  # two know too little of how processes differ: their interval would have to be absurdly wide


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
    from .gate import ratio_of_pairs  # numpy and scipy: only when a verdict is due

    smoke = settings.metal == "smoke"
    plan = Plan(1 if smoke else settings.batches, 0 if smoke else settings.warmup, timeout=settings.timeout)
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
    """One fresh pair of workers, blocks in the order A B B A: samples over and of, in order."""

    def hear(phase: str, i: int, n: int, _which: int) -> None:
        session.on_progress(Progress(speedup.of.label, "speedup", phase, i, n, number, of))

    sides = (speedup.over, speedup.of)
    workers = session.fleet.prepared([(side, session.backend_source(side.backend)) for side in sides], plan, hear)
    try:
        speedup.per_example = _examples(workers[0]) != _examples(workers[1])
        samples: tuple[list[float], list[float]] = ([], [])
        batches = [0, 0]
        for worker in workers:
            worker.pause()
        rounds = 0
        while rounds < BLOCKS or min(batches) < plan.batches:
            for side in (0, 1) if rounds % 2 == 0 else (1, 0):
                worker = workers[side]
                worker.resume()
                worker.ask("interleave", blocks=1, settle=SETTLE)
                session.fleet.wait([worker], hear, plan.timeout)
                worker.pause()
                answer = worker.results["interleave"]
                per = (_examples(worker) or 1) if speedup.per_example else 1
                samples[side].extend(sample / per for sample in answer["samples"])
                batches[side] += answer["batches_per_block"] * len(answer["samples"])
            rounds += 1
            hear("interleaved", min(batches), plan.batches, 0)
            if plan.batches == 1:  # smoke
                break
        return samples
    finally:
        kill(workers)
        session.on_progress(None)


def _examples(worker: Worker) -> int | None:
    examples: int | None = worker.results["prepare"]["examples"]
    return examples
