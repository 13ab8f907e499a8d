"""Energy that was used since some moment, in joules, by the counters of the hardware.

NVIDIA (Volta and later): NVML counts millijoules of the whole board, memory and voltage regulators included, on a Grace
Hopper the whole module with its CPU (Zeus, pull request 172). The counter is renewed every 20 to 100 ms (PETSc manual,
PetscLogGpuEnergyMeter), so both ends of a window are up to 0.1 s old: at an even power that is at most 10 % of a window
of 1 s, and 1 % of one of 10 s; a window shorter than that says nothing. Power readings of A100 and H100 look at a quarter
of the time only (Yang, Adamek and Armour 2024, arXiv:2312.02741); whether this counter does too is not documented.

Apple silicon: IOReport's "Energy Model" through zeus-apple-silicon, a model of the chip rather than a meter, without sudo:
CPU, GPU and its memory, Neural Engine and DRAM together, whatever trains, since a GPU run keeps the CPU busy too. Each part
is whole millijoules, and one that this chip does not tell is left out; how often they are renewed is not documented. CPU and
DRAM were seen to stand still on an M4 Pro under macOS 27 unless powermetrics ran: a CPU that used nothing is unknown.
API: https://pypi.org/project/zeus-apple-silicon/ (README of ml-energy/zeus-apple-silicon, "API Reference").
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .nvml import Device

    Joules = Callable[[], float | None]

_WINDOW = "pytest-metalperf"
_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


def unknown() -> None:
    """Joules, where nothing counts them."""
    return


def counting(gpu: Device | None) -> Joules:
    """A function that tells the joules used since now, or None for unknown: of this GPU, on a Mac of the chip."""
    if sys.platform == "darwin":
        monitor = _apple_monitor()
        return unknown if monitor is None else AppleWindows(monitor).joules
    return unknown if gpu is None else since(gpu.joules)


def since(total: Joules) -> Joules:
    """What `total` has grown by since now; None where it cannot be read, or went back because a driver was reloaded."""
    start = total()

    def joules() -> float | None:
        now = total()
        return None if start is None or now is None or now < start else now - start

    return joules


class AppleWindows:
    """Joules of the chip since this was made, from windows of an AppleEnergyMonitor that follow one another.

    A window ends when it is read, so each reading begins the next; what lies between the two calls is lost.
    """

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor
        self._used: dict[str, int] = {}
        self._known = self._begin()

    def joules(self) -> float | None:
        """None while CPU or GPU are unknown, or while the CPU's counter has not moved."""
        if not self._known:
            return None
        try:
            window = self._monitor.end_window(_WINDOW)
        except Exception:  # an extension module raises what it likes
            self._known = False
            return None
        for part in _PARTS:
            used = getattr(window, part, None)
            if used is not None:
                self._used[part] = self._used.get(part, 0) + used
        self._known = self._begin()
        if not self._used.get("cpu_total_mj") or "gpu_mj" not in self._used:
            return None
        return sum(self._used.values()) / 1000

    def _begin(self) -> bool:
        try:
            self._monitor.begin_window(_WINDOW)
        except Exception:  # as above
            return False
        return True


def _apple_monitor() -> Any:
    try:
        return importlib.import_module("zeus_apple_silicon").AppleEnergyMonitor()  # optional; Intel Macs have none
    except Exception:  # not installed, or no such counters here
        return None
