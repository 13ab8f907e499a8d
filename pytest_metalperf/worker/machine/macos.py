"""What macOS says about hardware and conditions: parsers of system commands, and the readers that feed them.

All commands work without sudo. What they print is not localised, and what does not look as expected is unknown.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple

from . import chips, fair
from .reading import UNKNOWN, CpuTimes, fields, lines, run, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .reading import Hardware, State

SYSCTL = "/usr/sbin/sysctl"
SYSCTL_KEYS = (
    "machdep.cpu.brand_string",
    "hw.model",
    "hw.memsize",
    "hw.logicalcpu",
    "hw.nperflevels",
    *(f"hw.perflevel{level}.{what}" for level in range(3) for what in ("name", "physicalcpu")),
    "kern.osproductversion",
    "kern.osversion",
    "kern.hv_vmm_present",
    "sysctl.proc_translated",
)
THERMAL_LEVELS = {0: "nominal", 1: "moderate", 2: "heavy", 3: "trapping", 4: "sleeping"}
"""`com.apple.system.thermalpressurelevel`, from good to bad."""
_DISPLAY_KEYS = ("sppci_model", "sppci_cores", "spdisplays_mtlgpufamilysupport")


class Gpu(NamedTuple):
    """One entry of `system_profiler SPDisplaysDataType`."""

    name: str
    cores: int | None
    metal: str
    """Metal's family, "metal3"."""


def hardware() -> Hardware:
    """The facts of this machine."""
    values = sysctl()
    if rosetta(values):  # then sysctl runs translated too, and does not say which chip this is
        values = {**values, **sysctl("/usr/bin/arch", "-arm64"), "sysctl.proc_translated": "1"}
    name = chip(values)
    gpu_cores = accelerator_cores(run("/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"))
    if is_apple(name) and gpu_cores:
        gpus: tuple[str, ...] = (f"{name} {gpu_cores}-core",)
    else:
        gpus = gpu_names(displays(run("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json", timeout=10.0)))
    return {**from_sysctl(values), "gpus": gpus}


def sysctl(*prefix: str) -> dict[str, str]:
    """The values of `SYSCTL_KEYS`; a Mac lacks those that do not concern it."""
    return fields(run(*prefix, SYSCTL, "-i", *SYSCTL_KEYS))


def from_sysctl(values: dict[str, str]) -> Hardware:
    """All facts but the GPUs."""
    memory = whole(values.get("hw.memsize", "")) or 0
    return {
        "chip": chip(values),
        "model": values.get("hw.model") or UNKNOWN,
        "cores": cores(values),
        "memory_gb": round(memory / 2**30),
        "os": os_name(values),
        "virtual": _flag(values, "kern.hv_vmm_present"),
        "rosetta": rosetta(values),
    }


def chip(values: dict[str, str]) -> str:
    """The processor's name, "Apple M3 Pro"; Rosetta hides it."""
    name = chips.brand(values.get("machdep.cpu.brand_string", ""))
    return UNKNOWN if name.startswith("VirtualApple") else name


def rosetta(values: dict[str, str]) -> bool | None:
    """Whether this process is translated. An Intel Mac does not know the question."""
    brand = values.get("machdep.cpu.brand_string", "")
    if brand.startswith("VirtualApple"):
        return True
    return False if "Intel" in brand else _flag(values, "sysctl.proc_translated")


def is_apple(chip: str) -> bool:
    """Whether this is Apple silicon."""
    return chip.startswith("Apple ")


def cores(values: dict[str, str]) -> str:
    """Cores by performance level and its initial, fastest first: "8p2e", "6s12p"; "12" where there is one level."""
    levels = values.get("hw.nperflevels", "")
    if levels in ("2", "3"):
        found = []
        for level in range(int(levels)):
            count, name = (values.get(f"hw.perflevel{level}.{what}", "") for what in ("physicalcpu", "name"))
            if not whole(count) or not re.match("[A-Za-z]", name):
                return UNKNOWN
            found.append(count + name[0].lower())
        return "".join(found)
    count = values.get("hw.logicalcpu", "")
    one_level = levels == "1" or "Intel" in chip(values)
    return count if one_level and whole(count) else UNKNOWN


def os_name(values: dict[str, str]) -> str:
    """`macOS 15.1 (24B83)`."""
    version, build = values.get("kern.osproductversion"), values.get("kern.osversion")
    return f"macOS {version}" + (f" ({build})" if build else "") if version else UNKNOWN


def accelerator_cores(ioreg: str) -> int | None:
    """The GPU's cores on Apple silicon, from `ioreg -c IOAccelerator`; system_profiler is a hundred times slower."""
    found = {match[1] for line in lines(ioreg) if (match := re.fullmatch(r'[\s|]*"gpu-core-count" = (\d{1,9})', line))}
    return int(found.pop()) if len(found) == 1 else None


def displays(system_profiler: str) -> list[Gpu] | None:
    """The GPUs in `system_profiler SPDisplaysDataType -json`; None where that cannot be read."""
    try:
        entries = json.loads(system_profiler)["SPDisplaysDataType"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(entries, list):
        return None
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            return None
        name, count, metal = (str(entry.get(key, "")) for key in _DISPLAY_KEYS)
        found.append(
            Gpu(
                UNKNOWN if not name or name.startswith("kHW_") else name,
                whole(count),
                metal.removeprefix("spdisplays_") if metal.startswith("spdisplays_metal") else UNKNOWN,
            )
        )
    return found


def metal_family() -> str:
    """The family of the GPU that knows the most of Metal, "metal4"; empty where system_profiler tells none."""
    shown = displays(run("/usr/sbin/system_profiler", "SPDisplaysDataType", "-json", timeout=10.0)) or []
    return max((gpu.metal for gpu in shown if gpu.metal != UNKNOWN), default="")


def gpu_names(gpus: list[Gpu] | None) -> tuple[str, ...]:
    """What to call the GPUs; an Apple GPU without its number of cores could be either of two."""
    if gpus is None:
        return (UNKNOWN,)
    return tuple(
        f"{gpu.name} {gpu.cores}-core" if gpu.cores else UNKNOWN if re.match(r"Apple M\d", gpu.name) else gpu.name
        for gpu in gpus
    )


def state() -> State:
    """The conditions of this moment."""
    settings = run("/usr/bin/pmset", "-g")
    vm = _flag(fields(run(SYSCTL, "-i", "kern.hv_vmm_present")), "kern.hv_vmm_present")
    return {
        "power": power(run("/usr/bin/pmset", "-g", "batt")),
        "low_power": low_power(settings),
        "high_power": high_power(settings),
        "thermal": None if vm else pressure(),
        "speed_limit": speed_limit(run("/usr/bin/pmset", "-g", "therm")),
        "virtual_gpu": vm,  # no virtual Mac has a GPU of its own
        "background": fair.background(),
    }


def pressure() -> str | None:
    """The thermal pressure of this moment. It takes a process of its own."""
    return thermal(run("/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"))


def power(pmset_batt: str) -> str | None:
    """`Now drawing from 'AC Power'`; a desktop may only say that it has no battery."""
    for line in lines(pmset_batt):
        if match := re.fullmatch(r"Now drawing from '(.*)'", line.strip()):
            return {"AC Power": "mains", "Battery Power": "battery"}.get(match[1])
    return "mains" if any(line.strip() == "No batteries available." for line in lines(pmset_batt)) else None


def low_power(pmset: str) -> bool | None:
    """` lowpowermode 1`, or on some Macs ` powermode 1` (2 is high power)."""
    found = [match[1] for line in lines(pmset) if (match := re.fullmatch(r"\s*(?:low)?powermode\s+([012])\s*", line))]
    return "1" in found if found else None


def high_power(pmset: str) -> bool | None:
    """` powermode 2`, where the Mac has that mode; one that has none says only ` lowpowermode`."""
    found = [match[1] for line in lines(pmset) if (match := re.fullmatch(r"\s*powermode\s+([012])\s*", line))]
    low_only = any(re.fullmatch(r"\s*lowpowermode\s+[01]\s*", line) for line in lines(pmset))
    return "2" in found if found else False if low_only else None


def thermal(notifyutil: str) -> str | None:
    """`com.apple.system.thermalpressurelevel 0`. A key that nobody posts reads 0 too, as in a virtual Mac."""
    match = re.fullmatch(r"com\.apple\.system\.thermalpressurelevel\s+(\d)\s*\n", notifyutil)
    return THERMAL_LEVELS.get(int(match[1])) if match else None


def speed_limit(pmset_therm: str) -> float | None:
    """`CPU_Speed_Limit = 100` as a share; a Mac that was never limited says that nothing has been recorded."""
    found = (re.fullmatch(r"\s*CPU_Speed_Limit\s*=\s*(\d{1,3})\s*", line) for line in lines(pmset_therm))
    limits = [int(match[1]) / 100 for match in found if match]
    if limits:
        return min(limits)
    return 1.0 if any("No CPU power status has been recorded" in line for line in lines(pmset_therm)) else None


class Load(NamedTuple):
    """Who uses the memory and the GPU; None is unknown."""

    memory_free: float | None
    """Share of memory."""
    swap_gb: float | None
    """Swap space in use, in GB."""
    gpu_seconds: Mapping[int, float] | None
    """GPU time by process id, each since some moment in the past."""


def load() -> Load:
    """The load of this moment."""
    return Load(
        memory_free(run("/usr/bin/memory_pressure", "-Q")),
        swap_gb(run(SYSCTL, "vm.swapusage")),
        gpu_seconds(run("/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "AGXDeviceUserClient")),
    )


def memory_free(memory_pressure: str) -> float | None:
    """`System-wide memory free percentage: 62%` as a share."""
    found = (re.fullmatch(r"System-wide memory free percentage: (\d{1,3})%", line) for line in lines(memory_pressure))
    shares = [int(match[1]) / 100 for match in found if match and int(match[1]) <= 100]
    return shares[0] if len(shares) == 1 else None


def swap_gb(swapusage: str) -> float | None:
    """`vm.swapusage: total = 2048.00M  used = 320.50M  free = 1727.50M  (encrypted)`; a comma in some countries."""
    pattern = r"vm\.swapusage: total = \S+\s+used = (\d{1,9})[.,](\d\d)M\s+free = .*"
    found = [match for line in lines(swapusage) if (match := re.fullmatch(pattern, line))]
    return int(found[0][1] + found[0][2]) / 100 * 2**20 / 1e9 if len(found) == 1 else None


def gpu_seconds(ioreg: str) -> dict[int, float] | None:
    """GPU time by process, from the clients of Apple's GPU driver: nanoseconds, a list of them for each client.

    A client that used nothing has an empty list; a Mac without such clients tells nothing.
    """
    found: dict[int, float] = {}
    used: float | None = None
    owner: int | None = None
    for line in lines(ioreg):
        if line.startswith("+-o "):
            used = owner = None
        elif match := re.fullmatch(r'[\s|]*"AppUsage" = (\(.*\))', line):
            used = sum(int(time) for time in re.findall(r'"accumulatedGPUTime"=(\d{1,18})[,}]', match[1])) / 1e9
        elif match := re.fullmatch(r'[\s|]*"IOUserClientCreator" = "pid (\d{1,9}), .*"', line):
            owner = int(match[1])
        if used is not None and owner is not None:
            found[owner] = found.get(owner, 0.0) + used
            used = owner = None
    return found or None


def load_between(before: Load, after: Load, own: int, seconds: float) -> State:
    """What happened to memory and GPU in so many seconds; `own` is the process whose use is no load."""
    frees = [one.memory_free for one in (before, after) if one.memory_free is not None]
    swaps = [one.swap_gb for one in (before, after) if one.swap_gb is not None]
    gpu = None
    if before.gpu_seconds is not None and after.gpu_seconds is not None and seconds > 0:
        others = {pid: time for pid, time in after.gpu_seconds.items() if pid != own}
        # a client that is gone takes its time with it: what went back counts as nothing, never as less
        gpu = sum(max(0.0, time - before.gpu_seconds.get(pid, 0.0)) for pid, time in others.items()) / seconds
    return {
        "memory_free": min(frees) if len(frees) == 2 else None,
        "swapped_gb": max(0.0, swaps[1] - swaps[0]) if len(swaps) == 2 else None,
        "gpu_other": None if gpu is None else min(1.0, gpu),
    }


def seconds_of_children() -> float:
    """CPU seconds of this process's living descendants, where psutil is there to tell."""
    with contextlib.suppress(Exception):
        import psutil  # only here

        return sum(sum(child.cpu_times()) for child in psutil.Process().children(recursive=True))
    return 0.0


def cpu_times() -> CpuTimes | None:
    """CPU time of the whole machine, where psutil is installed: macOS has no file to read it from."""
    try:
        import psutil  # optional, and slower to import than everything here
    except ImportError:
        return None
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system
    return CpuTimes(busy, 0.0, busy + times.idle)


def _flag(values: dict[str, str], key: str) -> bool | None:
    return {"0": False, "1": True}.get(values.get(key, ""))
