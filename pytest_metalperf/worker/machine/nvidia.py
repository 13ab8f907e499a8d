"""NVIDIA GPUs: their names, which of them trains, who else uses it, and whether its clocks are held back."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .reading import UNKNOWN, fields, lines, listing, read, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .nvml import Device

POWER_CAP, THERMAL = "power cap", "thermal slowdown"
REASONS = {
    0x04: POWER_CAP,
    0x08: "hardware slowdown",
    0x20: THERMAL,
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's clock event reasons that spoil a run. Idle (0x1) and clocks set on purpose (0x2) do not."""
HEAT = 0x20 | 0x40
"""Those of them that say that a GPU is too hot."""
HELD_BACK_LIMIT = 0.05
"""Share of a run, above which a power cap or heat counts."""


class Clocks(NamedTuple):
    """What has held one GPU's clocks back."""

    reasons: int | None
    """Now, as a bit mask; None is unknown."""
    power_cap: float | None
    """Seconds in all, since some moment in the past; None where the GPU does not count them."""
    thermal: float | None


class Sample(NamedTuple):
    """The clocks of some GPUs at one moment."""

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
    if not found or _cut():
        found = from_smi(run("nvidia-smi", "-L", timeout=5.0))
    return found or ((UNKNOWN,) if Path("/dev/nvidia0").exists() else ())


def from_proc(informations: list[str]) -> tuple[str, ...]:
    """Names from /proc/driver/nvidia/gpus/*/information; nothing unless all are known."""
    found = [fields(text).get("Model", "") for text in informations]
    return tuple(map(_full, found)) if all(name not in ("", "Unknown") for name in found) else ()


def _cut() -> bool:
    """Whether a GPU is cut into slices (MIG, "GPU instances"), each of which is another machine than the whole."""
    root = "/proc/driver/nvidia/capabilities"
    return any(name.startswith("gi") for gpu in listing(root) for name in listing(f"{root}/{gpu}/mig"))


def from_smi(listed: str) -> tuple[str, ...]:
    """Names from `nvidia-smi -L`: `GPU 0: NVIDIA H200 (UUID: GPU-…)`, MIG slices indented below, `  MIG 1g.5gb  Device 0: …`.

    Of a GPU that is cut, each slice: `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
    """
    found: list[tuple[str, list[str]]] = []
    for line in lines(listed):
        if match := re.fullmatch(r"GPU \d+: (.+) \(UUID: \S+\)", line):
            found.append((_full(match[1]), []))
        elif found and (match := re.match(r"\s+MIG (\S+)\s+Device", line)):
            found[-1][1].append(f"{found[-1][0]} MIG {match[1]}")
    return tuple(name for whole, slices in found for name in slices or [whole])


def throttled(before: Sample, after: Sample, during: int = 0) -> str | None:
    """What held the clocks of any GPU back between two samples, "" for nothing, None where that is not known.

    At both ends of a run the GPU is idle, so what NVML counts in between is preferred to what it says at one moment: an
    H200 that multiplied matrices for 10 s gave no reason before, and had spent 9.9 s at its power cap. `during` are the
    reasons that were seen in between.
    """
    if not before.clocks or len(before.clocks) != len(after.clocks):
        return None
    seconds = after.at - before.at
    found, unknown = set(), False
    for old, new in zip(before.clocks, after.clocks, strict=True):
        unknown = unknown or old.reasons is None or new.reasons is None
        named = {word for bit, word in REASONS.items() if ((old.reasons or 0) | (new.reasons or 0) | during) & bit}
        for word, start, end in (
            (POWER_CAP, old.power_cap, new.power_cap),
            (THERMAL, old.thermal, new.thermal),
        ):
            if start is not None and end is not None:
                named.discard(word)
                if end - start > HELD_BACK_LIMIT * seconds:
                    named.add(word)
        found |= named
    return ", ".join(word for word in REASONS.values() if word in found) or (None if unknown else "")


def heat(reasons: Iterable[int]) -> str:
    """What slows GPUs down for their heat at this moment, from their reasons; empty for nothing."""
    words = [word for bits in reasons for bit, word in REASONS.items() if bits & bit & HEAT]
    return f"GPU in {words[0]}" if words else ""


def sample(gpus: Sequence[Device], now: Callable[[], float] = time.monotonic) -> Sample:
    """Their clocks now."""
    return Sample(now(), tuple(Clocks(gpu.reasons(), *gpu.held_back()) for gpu in gpus))


def watched(device: str) -> list[Device]:
    """The GPUs whose state concerns a run on `device`.

    None for the CPU, the one that trains for `gpu` or `gpu:1`, and all for objects of the user's own (`live`), where
    nobody knows which is theirs. Empty, too, where it is not certain which one trains, or NVML is missing.
    """
    if device == "cpu" or not present():
        return []
    from . import nvml  # ctypes: only where there is a GPU

    library = nvml.opened()
    found = [] if library is None else nvml.devices(library)
    if not re.fullmatch(r"gpu(:\d+)?", device):
        return found
    index = training(device, [gpu.uuid() for gpu in found], os.environ)
    return [] if index is None or found[index].sliced() else [found[index]]


def training(device: str, uuids: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Which GPU of NVML's `device` is, None where that is not certain.

    CUDA counts the GPUs that CUDA_VISIBLE_DEVICES leaves it, in the order of that list, up to the first entry that
    names none (CUDA Programming Guide, "CUDA Environment Variables"). Numbers mean the PCI bus's order, which is NVML's,
    only under CUDA_DEVICE_ORDER=PCI_BUS_ID; otherwise the fastest GPU is 0.

    Args:
        device: `gpu`, which is the first, or `gpu:1`, …
        uuids: of all GPUs, in NVML's order; "" is unknown.
        environment: of this process.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(index) for index in range(len(uuids))]
    ordered = len(uuids) == 1 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    seen = []
    for entry in numbers if listed is None else [entry.strip() for entry in listed.split(",")]:
        matching = [index for index, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if entry in numbers:
            seen.append(int(entry) if ordered else None)
        elif len(matching) == 1:
            seen.append(matching[0])
        else:
            break
    wanted = int(device.partition(":")[2] or 0)
    return seen[wanted] if wanted < len(seen) else None


def others(pids: Iterable[int] | None, own: int, parent: Callable[[int], int | None]) -> int | None:
    """How many processes of other people's use a GPU; None where that is not certain.

    Workers of one session hold memory on the GPU while they wait for their turn, so children of our parent, our parent
    and our children do not count. In a container the driver tells ids of another namespace: then our own, which does
    use the GPU, is not among them, or one is of no process that we know.

    Args:
        pids: of all that use the GPU, as the driver tells them; None is unknown.
        own: the id of this process.
        parent: tells a process's parent; None if there is no such process.
    """
    found = set(pids or ())
    above = parent(own)
    if own not in found or above is None:
        return None
    strangers = 0
    for pid in found - {own, above}:
        its = parent(pid)
        if its is None:
            return None
        strangers += its not in (own, above)
    return strangers


def _full(name: str) -> str:
    """Drivers before 470 leave the maker out, and an upgrade must not rename a machine."""
    return name if name.startswith("NVIDIA ") else f"NVIDIA {name}"
