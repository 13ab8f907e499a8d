"""NVIDIA GPUs: their names, and whether their clocks are held back.

NVML is called by ctypes rather than through nvidia-ml-py, which is a layer over the same calls: so every interpreter on
a machine sees the same, whatever is installed in it.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .reading import UNKNOWN, fields, lines, listing, read, run

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

POWER_CAP, THERMAL = "power cap", "thermal slowdown"
REASONS = {
    0x04: POWER_CAP,
    0x08: "hardware slowdown",
    0x20: THERMAL,
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's clock event reasons that spoil a run. Idle (0x1) and clocks set on purpose (0x2) do not."""
HELD_BACK_LIMIT = 0.05
"""Share of a run, above which a power cap or heat counts."""


class Clocks(NamedTuple):
    """What has held one GPU's clocks back."""

    reasons: int
    """Now, as a bit mask."""
    power_cap: float | None
    """Seconds in all, since some moment in the past; None where the GPU does not count them."""
    thermal: float | None


class Sample(NamedTuple):
    """The clocks of all GPUs at one moment."""

    at: float
    clocks: tuple[Clocks, ...]


def present() -> bool:
    """Whether the driver is loaded (/dev/dxg: under WSL)."""
    return any(Path(path).exists() for path in ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg"))


def names() -> tuple[str, ...]:
    """The GPUs' names; ("unknown",) when there is one that nothing names.

    The driver's files answer at once, where nvidia-smi may first have to wake the GPU.
    """
    if not present():
        return ()
    root = "/proc/driver/nvidia/gpus"
    found = from_proc([read(f"{root}/{bus}/information") for bus in listing(root)])
    if not found:
        found = from_smi(run("nvidia-smi", "-L", timeout=5.0))
    return found or ((UNKNOWN,) if Path("/dev/nvidia0").exists() else ())


def from_proc(informations: list[str]) -> tuple[str, ...]:
    """Names from /proc/driver/nvidia/gpus/*/information; nothing unless all are known."""
    found = [fields(text).get("Model", "") for text in informations]
    return tuple(map(_full, found)) if all(name not in ("", "Unknown") for name in found) else ()


def from_smi(listed: str) -> tuple[str, ...]:
    """Names from `nvidia-smi -L`: `GPU 0: NVIDIA H200 (UUID: GPU-…)`, MIG slices indented below."""
    found = (re.fullmatch(r"GPU \d+: (.+) \(UUID: \S+\)", line) for line in lines(listed))
    return tuple(_full(match[1]) for match in found if match)


def throttled(before: Sample | None, after: Sample | None) -> str | None:
    """What held the clocks of any GPU back between two samples, "" for nothing, None where that is not known.

    At both ends of a run the GPU is idle, so what NVML counts in between is preferred to what it says at the ends: an
    H200 that multiplied matrices for 10 s gave no reason before, and had spent 9.9 s at its power cap.
    """
    if before is None or after is None or len(before.clocks) != len(after.clocks):
        return None
    seconds = after.at - before.at
    found = set()
    for old, new in zip(before.clocks, after.clocks, strict=True):
        said = {word for bit, word in REASONS.items() if (old.reasons | new.reasons) & bit}
        for word, start, end in (
            (POWER_CAP, old.power_cap, new.power_cap),
            (THERMAL, old.thermal, new.thermal),
        ):
            if start is not None and end is not None:
                said.discard(word)
                if end - start > HELD_BACK_LIMIT * seconds:
                    said.add(word)
        found |= said
    return ", ".join(word for word in REASONS.values() if word in found)


def sample() -> Sample | None:
    """The clocks now; None without NVML. Takes some 20 ms."""
    import ctypes

    try:
        with _nvml() as nvml:
            count = ctypes.c_uint()
            _check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
            return Sample(time.monotonic(), tuple(_clocks(nvml, index) for index in range(count.value)))
    except (OSError, AttributeError):
        return None


def _clocks(nvml: ctypes.CDLL, index: int) -> Clocks:
    import ctypes

    class Violation(ctypes.Structure):
        _fields_ = (("reference_us", ctypes.c_ulonglong), ("violation_ns", ctypes.c_ulonglong))

    device, reasons = ctypes.c_void_p(), ctypes.c_ulonglong()
    _check(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)))
    _check(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(reasons)))
    seconds: list[float | None] = []
    for policy in (0, 1):  # NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL
        violation = Violation()
        status = nvml.nvmlDeviceGetViolationStatus(device, ctypes.c_int(policy), ctypes.byref(violation))
        seconds.append(None if status else violation.violation_ns / 1e9)
    return Clocks(reasons.value, *seconds)


@contextmanager
def _nvml() -> Iterator[ctypes.CDLL]:
    import ctypes

    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    _check(nvml.nvmlInit_v2())
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _check(status: int) -> None:
    if status:
        raise OSError(f"NVML status {status}")


def _full(name: str) -> str:
    """Drivers before 470 leave the maker out, and an upgrade must not rename a machine."""
    return name if name.startswith("NVIDIA ") else f"NVIDIA {name}"
