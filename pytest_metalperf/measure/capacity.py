"""How many workers may prepare at once: by the cores of this machine, and by the memory of a device."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..worker.machine import linux

USABLE = 0.9  # share of a device's memory that workers may hold together while they prepare


def side_by_side() -> int:
    """Workers that prepare at once on this machine: no more than the CPUs that its containers and masks leave to us."""
    return workers_on(*cpus())


def cpus() -> tuple[int, Sequence[float]]:
    """The CPUs that this process may run on, and its containers' quotas in CPUs."""
    if sys.platform == "linux":
        return linux.affinity(), linux.quotas()
    return os.cpu_count() or 1, []


def workers_on(usable: int, limits: Sequence[float]) -> int:
    """Workers that prepare at once on so many CPUs, under these quotas in CPUs."""
    return max(1, min(4, int(min([usable, *limits]))))


def memory_share(peak: int | None) -> float:
    """The share of this machine's free memory that a run of such a peak, in bytes, takes; none where nobody knows."""
    import psutil

    return peak / max(psutil.virtual_memory().available, 1) if peak else 0.0


def gpu_share(free: object, peak: int | None, common: int | None) -> float:
    """The share of a GPU's memory that one run takes; all of it where nobody knows.

    So it is of a slice of a GPU (MIG), of one of several that cannot be told apart, and without NVML.

    Args:
        free: the share that the GPU had left while it trained; None is unknown.
        peak: bytes that the run took at most; None is unknown.
        common: bytes of memory, where CPU and GPU have it in common.
    """
    if isinstance(free, float):
        return 1 - free
    return peak / common if peak and common else 1.0


def fitting(taken: float) -> int:
    """Workers that prepare at once where one alone takes this share of the memory."""
    return max(1, min(side_by_side(), int(USABLE / max(taken, 0.01))))
