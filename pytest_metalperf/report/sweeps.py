"""What batch sizes cost and bring, where a session measured several of one workload: one line that says which is best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..results.measurement import Measurement
from ..workloads.workload import Workload
from . import words


def lines(measured: Iterable[Measurement]) -> list[str]:
    """One line for each workload that was measured at two batch sizes or more, those that did not fit included."""
    groups: dict[str, dict[int, Measurement]] = {}
    for result in measured:
        size = result.workload.axes.get("batch_size")
        if isinstance(size, int) and result.sustained is None and (result.verdict or result.error):
            groups.setdefault(_without_batch(result.workload), {}).setdefault(size, result)
    return [_line(name, group) for name, group in groups.items() if len(group) > 1]


def how(error: str) -> str:
    """How a batch size ended that did not train."""
    return "did not fit" if "ran out of memory" in error else "error"


def _without_batch(workload: Workload) -> str:
    axes = {key: value for key, value in workload.axes.items() if key != "batch_size"}
    return replace(workload, axes=axes).id


def _line(name: str, group: dict[int, Measurement]) -> str:
    speeds = {size: found for size, result in group.items() if (found := _speed(result)) is not None}
    sizes = f"{name}, batches of {min(group)} to {max(group)}"
    if not speeds:
        return f"{sizes}: none trained"
    best = max(speeds, key=lambda size: speeds[size])
    others = [_with_speed(size, group[size], speeds.get(size)) for size in sorted(group) if size != best]
    return f"{sizes}: most examples a second with {_with_speed(best, group[best], speeds[best])}; {', '.join(others)}"


def _speed(result: Measurement) -> float | None:
    return result.examples_per_second if result.runs and not result.error else None


def _with_speed(size: int, result: Measurement, speed: float | None) -> str:
    """`b64: 812/s, 2.21 GB`."""
    if speed is None:
        return f"b{size}: {how(result.error)}"
    memory = result.peak_memory_bytes
    return f"b{size}: {speed:.4g}/s" + (f", {words.size(memory)}" if memory else "")
