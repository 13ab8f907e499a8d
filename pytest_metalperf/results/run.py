"""What one fresh process measured, and what a baseline keeps of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..baselines.schema import Condition, Fingerprint, StoredRun, rounded
from ..worker.clock import RealTime
from ..worker.machine import PER_BATCH
from .fingerprint import fingerprint

if TYPE_CHECKING:
    from ..gate import RunEstimate

LOADED = ("imports", "stack")
"""What a worker is asked for a recipe: the files of its modules, and the packages that it has loaded."""


@dataclass(frozen=True)
class Run:
    """What one fresh process measured. Seconds are wall-clock seconds.

    Attributes:
        samples: seconds per batch of each block, in order.
        batches_per_block: batches in each block.
        first_batch_seconds: trace, compilation and training of the first batch.
        warm_up: seconds per batch of the first steps after that, each with a fence of its own.
        prepare_seconds: framework import, device set-up, building of model, optimizer and data.
        examples: examples in one batch; None where nobody can know.
        peak_memory_bytes: None is unknown.
        changed_variables: trainable variables that warm-up changed; None where nobody can look.
        joules_per_batch: energy of the device (on a Mac, of the chip) while blocks were timed; None is unknown.
        fingerprint: noise-free facts of the work; None where there was nothing to look at.
        no_fingerprint: why it could not be taken, in words; empty otherwise.
        unknown: what a step of the user's own did not show of itself, in a few words each.
        trace: the device over time while blocks were timed, rows of seconds, clock in MHz, power in W, temperature in °C
            and the share of the moments before in which it was busy, any of them None; empty where nothing looked.
        product_rate: FLOP/s of a large product in the arithmetic that trained; None where it was not measured.
        product_arithmetic: in which that was, in words; empty where it was not.
        no_product: why it could not be measured; empty otherwise.
        loaded: `imports` and `stack`, the worker's answers of these names; None where nobody asked.
    """

    samples: tuple[float, ...]
    batches_per_block: int
    first_batch_seconds: float
    session: str
    recorded: str
    prepare_seconds: float = 0.0
    warm_up: tuple[float, ...] = ()
    examples: int | None = None
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    changed_variables: int | None = None
    trainable_variables: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    joules_per_batch: float | None = None
    fingerprint: Mapping[str, Any] | None = None
    no_fingerprint: str = ""
    unknown: Sequence[str] = ()
    trace: Sequence[Sequence[float | None]] = ()
    product_rate: float | None = None
    product_arithmetic: str = ""
    no_product: str = ""
    loaded: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def mean_seconds(self) -> float:
        """Seconds per batch over all blocks, the slower half too."""
        return statistics.fmean(self.samples)

    @property
    def mean_but_one(self) -> float:
        """Seconds per batch over all blocks but the slowest: one freeze is no cycle."""
        return statistics.fmean(sorted(self.samples)[:-1] or self.samples)

    @property
    def batches(self) -> int:
        """Batches that were timed."""
        return len(self.samples) * self.batches_per_block

    @cached_property
    def estimate(self) -> RunEstimate:
        """What the run says in one figure, and its tail."""
        from ..gate import estimate_run  # numpy and scipy: only when a verdict is due

        return estimate_run(self.samples)

    @cached_property
    def work(self) -> Fingerprint | None:
        """The fingerprint as its schema has it; None where there was nothing to look at.

        Raises:
            FingerprintError: for what is no fingerprint.
        """
        return fingerprint(self.fingerprint)

    def stored(self, commit: str | None = None, clean: bool | None = None) -> StoredRun:
        """The run as a baseline keeps it; `clean` is whether the working tree was that commit."""
        from ..gate import ESTIMATOR  # numpy and scipy: only when a verdict is due

        estimate = self.estimate
        return StoredRun(
            seconds_per_batch=rounded(estimate.seconds),
            mean_seconds=rounded(self.mean_seconds),
            estimator=ESTIMATOR,
            lower_quartile=rounded(estimate.lower_quartile),
            upper_quartile=rounded(estimate.upper_quartile),
            batches=self.batches,
            first_batch_seconds=rounded(self.first_batch_seconds),
            peak_memory_bytes=self.peak_memory_bytes,
            joules_per_batch=None if self.joules_per_batch is None else rounded(self.joules_per_batch),
            session=self.session,
            recorded=self.recorded,
            commit=commit,
            clean=clean,
            versions=dict(self.versions),
            conditions=storable(self.conditions),
        )


def storable(conditions: Mapping[str, Any]) -> dict[str, Condition]:
    """What a baseline keeps of conditions: what is known, rounded, numbers as they are read again."""
    return {
        key: value if isinstance(value, (bool, str)) else rounded(value, 5 if key.endswith(PER_BATCH) else 3)
        for key, value in conditions.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def run_of(answers: Mapping[str, Mapping[str, Any]], session: str) -> Run:
    """A Run from a worker's answers to prepare, first_batch, warm_up, measure and finish."""
    prepared, warm = answers["prepare"], answers["warm_up"]
    product = answers.get("product", {})
    return Run(
        samples=tuple(answers["measure"]["samples"]),
        batches_per_block=answers["measure"]["batches_per_block"],
        first_batch_seconds=answers["first_batch"]["first_batch_seconds"],
        session=session,
        recorded=RealTime.utc("%Y-%m-%d"),
        prepare_seconds=prepared["import_seconds"] + prepared["build_seconds"],
        warm_up=tuple(warm["seconds"]),
        examples=prepared["examples"],
        parameters=prepared["parameters"],
        peak_memory_bytes=answers["finish"]["peak_memory_bytes"],
        first_loss=answers["first_batch"]["first_loss"],
        last_loss=answers["finish"]["last_loss"],
        changed_variables=warm["changed_variables"],
        trainable_variables=warm["trainable_variables"],
        versions=prepared["versions"],
        conditions=answers["measure"].get("conditions", {}),
        joules_per_batch=answers["measure"].get("joules_per_batch"),
        fingerprint=answers["finish"].get("work"),
        no_fingerprint=answers["finish"].get("no_work_because", ""),
        unknown=tuple(prepared.get("unknown", ())),
        trace=answers["measure"].get("trace", ()),
        product_rate=product.get("rate"),
        product_arithmetic=product.get("arithmetic", ""),
        no_product=product.get("because", ""),
        loaded={name: answers[name] for name in LOADED} if all(name in answers for name in LOADED) else None,
    )
