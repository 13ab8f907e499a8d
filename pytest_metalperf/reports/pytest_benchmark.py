"""A row in pytest-benchmark's table, JSON, comparison and histogram, by its public interface alone.

`pedantic` calls its timer exactly twice a round, and takes the timer from the test's marker. So each test gets a
marker with a timer that replays what we measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from ..measurement import Measurement, Speedup


class Replay:
    """A timer that answers 0 and the next block's total in turn; without blocks it stands still."""

    def __init__(self) -> None:
        self._answers: list[float] = []

    def load(self, totals: Sequence[float]) -> None:
        """Replay these block totals, in seconds."""
        self._answers = [answer for total in totals for answer in (0.0, total)]

    def __call__(self) -> float:
        return self._answers.pop(0) if self._answers else 0.0


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
        self._used = False

    def fill(self, result: Measurement | Speedup) -> None:
        """Replay `result`; only a test's first call counts."""
        if self._used:
            return
        self._used = True
        runs = result.runs if isinstance(result, Measurement) else []
        if result.error or not (runs or (isinstance(result, Speedup) and result.pairs)):
            self.close(broken=True)
            return
        self._benchmark.extra_info.update(_extra(result))
        if isinstance(result, Measurement):
            iterations = runs[0].batches_per_block
            totals = [sample * iterations for run in runs for sample in run.samples]
        else:
            totals = [sample for pair in result.pairs for sample in pair[1]]
            iterations = 1
        if isinstance(self._replay, Replay):
            self._replay.load(totals)
        self._benchmark.pedantic(lambda: None, rounds=len(totals), iterations=iterations)

    def close(self, *, broken: bool = False) -> None:
        """At the end of the test: an unused fixture would warn, and a broken measurement is no row."""
        if self._used and not broken:
            return
        self._used = True

        def no_row() -> None:
            raise _NoRow

        with contextlib.suppress(_NoRow):
            self._benchmark.pedantic(no_row, rounds=1, iterations=1)


class _NoRow(Exception):
    """An exception inside `pedantic` drops the row."""


def _extra(result: Measurement | Speedup) -> dict[str, Any]:
    if isinstance(result, Speedup):
        return {
            "metal_of": result.of.id, "metal_over": result.over.id, "metal_speedup": float(result.value),
            "metal_speedup_low": float(result.low), "metal_speedup_high": float(result.high),
            "metal_verdict": result.verdict,
        }  # fmt: skip
    run = result.runs[0]
    return {
        "metal_workload": result.workload.id,
        "metal_device": result.workload.device,
        "metal_verdict": result.verdict,
        "metal_runs": len(result.runs),
        "metal_seconds_per_batch": float(result.seconds_per_batch),
        "metal_examples_per_second": _number(result.examples_per_second),
        "metal_first_batch_seconds": float(result.first_batch_seconds),
        "metal_peak_memory_bytes": result.peak_memory_bytes,
        "metal_change": _number(result.change),
        "metal_versions": dict(run.versions),
    }


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
