"""NVML's calls, as far as we need them: what one GPU says of itself.

They go through ctypes rather than nvidia-ml-py, which is a layer over the same calls: so every interpreter on a machine
sees the same, whatever is installed in it. A call that this driver lacks, or that fails, answers None and nothing else
suffers. Names, structures and units: NVML API Reference Guide, "Device Queries". This module imports ctypes; it is
itself imported only where there is a GPU.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

_SM_CLOCK = 1  # NVML_CLOCK_SM
_GPU_SENSOR = 0  # NVML_TEMPERATURE_GPU
_POWER, _THERMAL = 0, 1  # NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL
_UUID_LENGTH = 96  # NVML_DEVICE_UUID_V2_BUFFER_SIZE
_MOST_PROCESSES = 256


class _Violation(ctypes.Structure):
    _fields_ = (("reference_us", ctypes.c_ulonglong), ("violation_ns", ctypes.c_ulonglong))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _OldProcess(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint), ("memory", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


_PROCESS_CALLS: tuple[tuple[str, type[_OldProcess] | type[_Process]], ...] = (
    ("nvmlDeviceGetComputeRunningProcesses_v3", _Process),
    ("nvmlDeviceGetComputeRunningProcesses_v2", _Process),
    ("nvmlDeviceGetComputeRunningProcesses", _OldProcess),
)


class Device:
    """One GPU of an open NVML."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def uuid(self) -> str:
        """`GPU-` and 32 hexadecimal digits in groups; empty if unknown."""
        text = ctypes.create_string_buffer(_UUID_LENGTH)
        done = self._call("nvmlDeviceGetUUID", text, ctypes.c_uint(_UUID_LENGTH))
        return text.value.decode("ascii", "replace") if done else ""

    def sliced(self) -> bool:
        """Whether it is cut into MIG slices: then what it says of itself is not what one process did."""
        now, later = ctypes.c_uint(), ctypes.c_uint()
        return self._call("nvmlDeviceGetMigMode", ctypes.byref(now), ctypes.byref(later)) and now.value == 1

    def clock_mhz(self) -> int | None:
        """The clock of its multiprocessors (SM), now."""
        return self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(), ctypes.c_int(_SM_CLOCK))

    def temperature(self) -> int | None:
        """Degrees Celsius."""
        return self._number("nvmlDeviceGetTemperature", ctypes.c_uint(), ctypes.c_int(_GPU_SENSOR))

    def power_w(self) -> float | None:
        """Watts of the whole board: an average over the last second, and of this moment on GA100 and before Ampere."""
        milliwatts = self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint())
        return None if milliwatts is None else milliwatts / 1000

    def busy(self) -> float | None:
        """Share of the last moments (a sixth of a second to a second) in which it ran a kernel, 0..1."""
        found = _Utilization()
        return found.gpu / 100 if self._call("nvmlDeviceGetUtilizationRates", ctypes.byref(found)) else None

    def memory_free(self) -> float | None:
        """Share of its memory that no process holds, 0..1."""
        found = _Memory()
        done = self._call("nvmlDeviceGetMemoryInfo", ctypes.byref(found))
        return found.free / found.total if done and found.total else None

    def joules(self) -> float | None:
        """Energy since the driver was loaded, in joules; Volta and later."""
        millijoules = self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong())
        return None if millijoules is None else millijoules / 1000

    def reasons(self) -> int | None:
        """Why its clocks are not higher, as a bit mask; drivers before 535 have the call by its older name alone."""
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            found = self._number(name, ctypes.c_ulonglong())
            if found is not None:
                return found
        return None

    def held_back(self) -> tuple[float | None, float | None]:
        """Seconds at the power cap, and held back by heat, since some moment in the past."""
        power, thermal = (self._violation(policy) for policy in (_POWER, _THERMAL))
        return power, thermal

    def pids(self) -> list[int] | None:
        """The processes that compute on it, in the namespace of whoever runs the driver; None is unknown."""
        for name, kind in _PROCESS_CALLS:
            if getattr(self._library, name, None) is not None:
                count, found = ctypes.c_uint(_MOST_PROCESSES), (kind * _MOST_PROCESSES)()
                done = self._call(name, ctypes.byref(count), found)
                return [found[index].pid for index in range(count.value)] if done else None
        return None

    def _violation(self, policy: int) -> float | None:
        violation = _Violation()
        done = self._call("nvmlDeviceGetViolationStatus", ctypes.c_int(policy), ctypes.byref(violation))
        return violation.violation_ns / 1e9 if done else None

    def _number(self, name: str, value: Any, *arguments: Any) -> int | None:
        return int(value.value) if self._call(name, *arguments, ctypes.byref(value)) else None

    def _call(self, name: str, *arguments: Any) -> bool:
        function = getattr(self._library, name, None)
        return function is not None and function(self._handle, *arguments) == 0


def devices(library: Any) -> list[Device]:
    """All GPUs of an NVML that is open, in its order, which is that of the PCI bus; none if one does not answer."""
    count = ctypes.c_uint()
    try:
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        found = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
                return []  # or those behind it would be taken for others
            found.append(Device(library, handle))
    except AttributeError:
        return []
    return found


@functools.cache
def opened() -> Any:
    """NVML, open from now to the end of this process: to open it takes some 20 ms; None where it does not start."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        return None if library.nvmlInit_v2() else library
    except (OSError, AttributeError):
        return None
