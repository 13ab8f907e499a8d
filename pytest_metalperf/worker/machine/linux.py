"""What Linux says about hardware and conditions: parsers of /proc and /sys, and the readers that feed them."""

from __future__ import annotations

import math
import os
import re
import sys
from typing import TYPE_CHECKING

from . import chips, nvidia
from .reading import UNKNOWN, CpuTimes, fields, lines, listing, read, whole

if TYPE_CHECKING:
    from .reading import Hardware, State

_PLACEHOLDER = re.compile(
    r"|system product name|to be filled.*|default string|not specified|not applicable|none|n/a|unknown|0+",
    re.IGNORECASE,
)
_HYPERVISOR = re.compile(r"QEMU|VMware|Xen|innotek|Parallels|Apple Virtualization|KVM|Virtual Machine|Google Compute")
_PROFILES = ("low-power", "cool", "quiet", "balanced", "balanced-performance", "performance")


def hardware() -> Hardware:
    """The facts of this machine."""
    cpuinfo = read("/proc/cpuinfo", 2**20)
    return {
        "chip": chip(cpuinfo),
        "model": model(
            read("/sys/class/dmi/id/product_name"),
            read("/proc/device-tree/model"),
        ),
        "cores": cores(affinity(), quotas()),
        "memory_gb": memory_gb(read("/proc/meminfo")),
        "gpus": nvidia.names(),
        "os": os_name(read("/etc/os-release") or read("/usr/lib/os-release")),
        "virtual": virtual(cpuinfo, read("/sys/class/dmi/id/sys_vendor"), read("/sys/class/dmi/id/product_name")),
    }


def chip(cpuinfo: str) -> str:
    """The processor's name from /proc/cpuinfo."""
    first = fields(cpuinfo)
    name = chips.brand(first.get("model name", ""))
    if name != UNKNOWN and not re.match(r"ARMv\d|AArch64", name):  # on Arm that is the instruction set
        if re.search(r"\d", name):
            return name
        # Hypervisors hide the number ("Intel Xeon Processor"); family and model still tell generations apart.
        family, number = first.get("cpu family", ""), first.get("model", "")
        return f"{name} family {family} model {number}" if family.isdigit() and number.isdigit() else UNKNOWN
    if cpuinfo and not cpuinfo.endswith("\n"):
        return UNKNOWN  # the cores that were cut off may be of another kind
    kinds = []
    implementer = None
    for line in lines(cpuinfo):
        key, _, value = (word.strip() for word in line.partition(":"))
        if key == "CPU implementer":
            implementer = _hexadecimal(value)
        elif key == "CPU part" and implementer is not None:
            part = _hexadecimal(value)
            if part is None:
                return UNKNOWN
            kinds.append(chips.arm(implementer, part))
            implementer = None
    if kinds:
        return " + ".join(sorted(set(kinds)))
    power = first.get("cpu", "")
    return power.split(",")[0] if power.startswith("POWER") else UNKNOWN


def model(dmi_product_name: str, devicetree_model: str) -> str:
    """The product's name, unless the maker left the form's own words in it."""
    name = dmi_product_name.strip() if dmi_product_name.endswith("\n") else ""
    if not name and devicetree_model.endswith("\0"):
        name = devicetree_model.strip("\0 ")
    return UNKNOWN if _PLACEHOLDER.fullmatch(name) else name


def virtual(cpuinfo: str, dmi_vendor: str = "", dmi_product: str = "") -> bool | None:
    """Whether this is a virtual machine: x86 has a flag for it, elsewhere only the firmware's names tell."""
    flags = fields(cpuinfo).get("flags")
    if flags is not None:
        return "hypervisor" in flags.split()
    if _HYPERVISOR.search(f"{dmi_vendor} {dmi_product}"):
        return True
    if dmi_vendor.strip() == "Amazon EC2" and dmi_product.endswith("\n"):
        return ".metal" not in dmi_product
    return None


def cores(cpus: int, limits: list[float]) -> str:
    """The CPUs that may be used: the smaller of the affinity mask and the quotas of the control groups."""
    return f"{round(min([cpus, *limits]), 2):g}"


def affinity() -> int:
    """The CPUs that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quotas() -> list[float]:
    """CPU quotas of this process's control groups and of all groups above them, in CPUs."""
    found = []
    for controllers, path in groups(read("/proc/self/cgroup")):
        root = "/sys/fs/cgroup" + ("/" + controllers if controllers else "")
        steps = [step for step in path.split("/") if step not in ("", ".", "..")]
        for depth in range(len(steps) + 1):
            folder = "/".join([root, *steps[:depth]])
            version1 = f"{read(folder + '/cpu.cfs_quota_us').strip()} {read(folder + '/cpu.cfs_period_us')}"
            limit = quota(read(folder + "/cpu.max") or version1)
            if limit is not None:
                found.append(limit)
    return found


def groups(cgroup: str) -> list[tuple[str, str]]:
    """/proc/self/cgroup as (controllers, path): "" for version 2, and those hierarchies of version 1 with `cpu`."""
    parts = [line.split(":", 2) for line in lines(cgroup)]
    return [(p[1], p[2]) for p in parts if len(p) == 3 and (p[1] == "" or "cpu" in p[1].split(","))]


def quota(cpu_max: str) -> float | None:
    """`150000 100000` (microseconds, of a period) -> 1.5 CPUs; `max 100000` and -1 are no limit."""
    quota_us, _, period_us = cpu_max.removesuffix("\n").partition(" ")
    most, period = whole(quota_us), whole(period_us)
    return most / period if most and period and cpu_max.endswith("\n") else None


def memory_gb(meminfo: str) -> int:
    """GiB as sold: the kernel keeps a few percent to itself, so it is the next size up, in steps of an eighth."""
    total, _, unit = fields(meminfo).get("MemTotal", "").partition(" ")
    gib = (whole(total) or 0) / 2**20
    if not gib or unit != "kB":
        return 0
    step = 2.0 ** max(0, math.ceil(math.log2(gib)) - 4)
    return int(math.ceil(gib / step) * step)


def os_name(os_release: str) -> str:
    """`Debian GNU/Linux 12` from /etc/os-release."""
    release = {key: value.strip("\"'") for key, value in fields(os_release, "=").items()}
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip() if release.get("NAME") else UNKNOWN


def cpu_times() -> CpuTimes | None:
    """CPU time of the whole machine."""
    return parse_stat(read("/proc/stat", 4096), os.sysconf("SC_CLK_TCK"))


def parse_stat(stat: str, ticks_per_second: int) -> CpuTimes | None:
    """The first line of /proc/stat. Guests' time is part of `user` already."""
    first = (lines(stat) or [""])[0].split()
    ticks = [number for word in first[1:9] if (number := whole(word)) is not None]
    if len(ticks) < 8 or first[0] != "cpu":
        return None
    user, nice, system, idle, iowait, irq, softirq, stolen = (number / ticks_per_second for number in ticks)
    busy = user + nice + system + irq + softirq
    return CpuTimes(busy, stolen, busy + idle + iowait + stolen)


def parent(pid: int) -> int | None:
    """The parent of a process; None if there is no such process here."""
    return parse_parent(read(f"/proc/{pid}/stat", 4096))


def parse_parent(stat: str) -> int | None:
    """The fourth field of /proc/[pid]/stat. The second is a name in parentheses, which may hold blanks and more of them."""
    after = stat.rpartition(")")[2].split()
    return whole(after[1]) if len(after) > 1 and stat.endswith("\n") else None


def seconds_of_children(pid: int) -> float:
    """CPU seconds of the living descendants of a process, and of those of theirs that have ended (proc(5))."""
    ticks, living = 0, _children(pid)
    for one in living:  # grows: each brings its own
        living += _children(one)
        ticks += parse_ticks(read(f"/proc/{one}/stat", 4096))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    """Of every thread of a process; empty where the kernel does not say."""
    found = (read(f"/proc/{pid}/task/{thread}/children") for thread in listing(f"/proc/{pid}/task"))
    return [int(word) for words in found for word in words.split() if word.isdigit()]


def parse_ticks(stat: str) -> int:
    """Fields 14 to 17 of /proc/[pid]/stat: its user and system time and that of its children that have ended; 0 is unknown."""
    after = stat.rpartition(")")[2].split()
    ticks = [whole(word) for word in after[11:15]]
    return sum(one or 0 for one in ticks) if len(ticks) == 4 else 0


def state() -> State:
    """The conditions of this moment."""
    root = "/sys/class/power_supply"
    keys = ("type", "scope", "online", "status")
    supplies = [{key: read(f"{root}/{name}/{key}") for key in keys} for name in listing(root)]
    return {"power": power(supplies), "low_power": low_power(read("/sys/firmware/acpi/platform_profile"))}


def power(supplies: list[dict[str, str]]) -> str | None:
    """Where the power comes from. A mouse has a battery too: its scope is `Device`."""
    stripped = [{key: value.strip() for key, value in supply.items()} for supply in supplies]
    if any(supply["type"] in ("Mains", "USB") and supply["online"] == "1" for supply in stripped):
        return "mains"
    batteries = [supply for supply in stripped if supply["type"] == "Battery" and supply["scope"] != "Device"]
    return "battery" if any(supply["status"] == "Discharging" for supply in batteries) else None


def low_power(platform_profile: str) -> bool | None:
    """Whether the firmware's profile saves power; None without profiles."""
    profile = platform_profile.strip()
    return profile == "low-power" if profile in _PROFILES else None


def _hexadecimal(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", text) else None
