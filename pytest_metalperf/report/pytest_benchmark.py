"""A row in pytest-benchmark's table, JSON, comparison and histogram, by its public interface alone.

`pedantic` calls its timer exactly twice a round, and takes the timer from the test's marker. So each test gets a
marker with a timer that replays what we measured.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ..results.measurement import Measurement, Speedup
from ..worker.problems import first_line

MOST_CALLS = 10_000
"""Calls of nothing in one replay: a block of nanosecond steps holds more steps than are worth the time of calling them."""


class Replay:
    """A timer that answers 0 and the next block's total in turn; without blocks it stands still."""

    def __init__(self) -> None:
        self._answers: Iterator[float] = iter(())

    def load(self, totals: Sequence[float]) -> None:
        """Replay these block totals, in seconds."""
        self._answers = (answer for total in totals for answer in (0.0, total))

    def __call__(self) -> float:
        return next(self._answers, 0.0)


def mark(item: pytest.Item) -> None:
    """Give `item` a `benchmark` marker with our timer; what its own marker says stays."""
    own = item.get_closest_marker("benchmark")
    keywords = dict(own.kwargs) if own is not None else {}
    item.add_marker(pytest.mark.benchmark(**{**keywords, "timer": Replay()}), append=False)


class Row:
    """The one row of a test. Its first result fills it."""

    def __init__(self, benchmark: Any, item: pytest.Item) -> None:
        self._benchmark = benchmark
        marker = item.get_closest_marker("benchmark")
        self._replay: Replay | None = marker.kwargs.get("timer") if marker is not None else None
        self._result: Measurement | Speedup | None = None

    def fill(self, result: Measurement | Speedup) -> None:
        """Take `result`; only a test's first call counts."""
        self._result = self._result or result

    def close(self, *, keep: bool = True) -> None:
        """At the end of the test: replay its result, unless the test will run again."""
        result = self._result
        blocks = [] if result is None or result.error or not keep else _blocks(result)
        if result is None or not blocks:
            self._no_row()
            return
        self._benchmark.extra_info.update(_extra(result))
        batches = result.runs[0].batches_per_block if isinstance(result, Measurement) else 1
        iterations = max(1, min(batches, MOST_CALLS // len(blocks)))
        if isinstance(self._replay, Replay):
            self._replay.load([sample * iterations for sample in blocks])
        try:
            self._benchmark.pedantic(lambda: None, rounds=len(blocks), iterations=iterations)
        except Exception as error:  # it cannot put a profiler off, for one; the measurement is good all the same
            result.notes.append(f"pytest-benchmark has no row of it ({first_line(error)})")

    def _no_row(self) -> None:
        """An unused fixture would warn, and what broke is no row."""

        def no_row() -> None:
            raise _NoRow

        with contextlib.suppress(Exception):  # ours, or one of its own where a profiler watches
            self._benchmark.pedantic(no_row, rounds=1, iterations=1)


def _blocks(result: Measurement | Speedup) -> Sequence[float]:
    """Seconds per batch of every block."""
    return result.samples if isinstance(result, Measurement) else [sample for _, of in result.pairs for sample in of]


class _NoRow(Exception):
    """An exception inside `pedantic` drops the row."""


def _extra(result: Measurement | Speedup) -> dict[str, Any]:
    if isinstance(result, Speedup):
        return {
            "metal_of": result.of.id, "metal_over": result.over.id, "metal_speedup": float(result.value),
            "metal_speedup_low": float(result.low), "metal_speedup_high": float(result.high),
            "metal_verdict": result.verdict, "metal_parity": result.parity,
        }  # fmt: skip
    run = result.runs[0]
    extra: dict[str, Any] = {
        "metal_workload": result.workload.id,
        "metal_device": result.workload.device,
        "metal_verdict": result.verdict,
        "metal_runs": len(result.runs),
        "metal_seconds_per_batch": float(result.seconds_per_batch),
        "metal_examples_per_second": _number(result.examples_per_second),
        "metal_first_batch_seconds": float(result.first_batch_seconds),
        "metal_peak_memory_bytes": result.peak_memory_bytes,
        "metal_joules_per_batch": _number(result.joules_per_batch),
        "metal_flop_per_second": _number(result.flop_per_second),
        "metal_share_of_peak": _number(result.share_of_peak),
        "metal_change": _number(result.change),
        "metal_work": result.fingerprint_changes,
        "metal_versions": dict(run.versions),
    }
    if result.metrics:
        extra["metal_metrics"] = {
            one.metric.name: {"verdict": one.verdict, "now": _known(one.now), "change": _known(one.change)}
            for one in result.metrics
        }
    if result.sustained is not None:
        extra["metal_sustained"] = {name: float(value) for name, value in vars(result.sustained).items()}
    return extra


def _known(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else float(value)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
