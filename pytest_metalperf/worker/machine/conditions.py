"""What may spoil a run: the state of the machine around it, and which of it counts."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import energy, linux, macos, nvidia
from .trace import Point, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .reading import CpuTimes, State

STOLEN_LIMIT = 0.10
"""Share of CPU time stolen by the hypervisor; runs were seen to slow down with it between 0.01 and 0.17."""
OTHER_LOAD_LIMIT = 0.10
"""Share of CPU time used by other processes: on two cores, a fifth of one."""
SPEED_LIMIT = 1.0
"""Share of its own speed that the CPU may run at; anything less counts."""
THERMAL_LIMIT = "heavy"
"""The first thermal pressure that counts: a fanless Mac soon gets to "moderate", and trains at an even rate there."""

LATER = "_later"
"""Ends the key of a state that was worse during the run, or after it, than at its launch."""
_LASTS = ("high_power", "virtual_gpu", "background")  # states that no run changes
LITTLE_MEMORY = 0.10  # share that is free
SWAPPED_GB = 0.1  # in one run
WAITING_LIMIT = 0.80
"""Share of the time in which a GPU runs a kernel, below which its host bounds the steps."""

_THERMAL_LEVELS = tuple(macos.THERMAL_LEVELS.values())
_WORDS = {"power": ("mains", "battery"), "thermal": _THERMAL_LEVELS}
"""Conditions told in words, from good to bad."""


SHORTEST = 0.2  # seconds of CPU time: below it the kernel's ticks of 10 ms are no shares


PRESSURE_INTERVAL = 10.0  # seconds: macOS tells its thermal pressure by a command, which is a process of its own


class Watch:
    """Conditions during one run: `watch = Watch("gpu")`, the run with a `tick` between blocks, `watch.conditions()`.

    Shares are 0..1 of the CPU time between the two, `gpu_other` of the time. States are those at the launch, which a gate can
    go by: pressure may rise within a run whose rate stays the same. One that was worse later has a second key, `thermal_later`.
    What could not be read is None; keys that this system cannot know are left out.

    Args:
        device: that trains: `cpu`, `gpu`, `gpu:1`, …, or `live` for the user's own objects, wherever they are.
        clock: tells seconds.
    """

    def __init__(self, device: str = "cpu", clock: Callable[[], float] = time.monotonic) -> None:
        self._device = device
        self._clock = clock
        self._load1 = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._state = _state()
        self._pressure = self._state.get("thermal")
        self._gpus = nvidia.watched(device)
        self._gpu = self._gpus[0] if self._gpus and _trains_on_gpu(device) else None
        self._clocks = nvidia.sample(self._gpus)
        self._trace = Trace()
        self._reasons = 0
        self._temperatures: list[int] = []
        self._others: list[int | None] = []
        self._look()
        self._load = macos.load() if sys.platform == "darwin" else None
        self._cpu = _cpu_times()
        self._own = _own_seconds()
        self._energy = energy.counting(self._gpu)
        self._start = clock()
        self._pressure_due = PRESSURE_INTERVAL

    def tick(self) -> None:
        """Look at the machine, if it is time to: a clock read otherwise. Called between blocks, outside what is timed."""
        seconds = self._clock() - self._start
        if seconds < self._trace.due:
            return
        if self._gpu is None:
            self._trace.add(Point(seconds))
        else:
            self._trace.add(Point(seconds, self._gpu.clock_mhz(), self._gpu.power_w(), self._look(), self._gpu.busy()))
        if sys.platform == "darwin" and seconds >= self._pressure_due:
            self._pressure_due = seconds + PRESSURE_INTERVAL
            self._pressure = worse("thermal", self._pressure, macos.pressure())

    def joules(self) -> float | None:
        """Energy used since the watch began, of the NVIDIA GPU that trains or of a Mac's chip; None is unknown."""
        return self._energy()

    def trace(self) -> list[list[float | None]]:
        """What the ticks saw, at most 300 of them: seconds since the start, clock in MHz, power in W, temperature in
        °C, share of the time in which the GPU ran a kernel.
        """
        return [list(point) for point in self._trace.points]

    def conditions(self) -> State:
        """The conditions since the watch began; may be asked for more than once."""
        cpu, own = _cpu_times(), _own_seconds()  # before the commands that read states, which are a load of their own
        self._look()
        clocks = nvidia.sample(self._gpus)
        now = _state()
        if "thermal" in now:
            now["thermal"] = worse("thermal", self._pressure, now["thermal"])
        seen = {**self._state, **later(self._state, now)}
        if self._load is not None:
            seen |= macos.load_between(self._load, macos.load(), os.getpid(), self._clock() - self._start)
        if self._load1 is not None:
            seen["load1"] = self._load1
        if sys.platform in ("linux", "darwin"):
            stolen, seen["other_load"] = shares(self._cpu, cpu, own - self._own)
            if sys.platform == "linux":
                seen["stolen"] = stolen
        if self._device != "cpu" and nvidia.present():
            seen["throttled"] = nvidia.throttled(self._clocks, clocks, self._reasons)
            if _trains_on_gpu(self._device):
                seen["gpu_clock_mhz"] = self._trace.median_clock()
                seen["gpu_power_w"] = self._trace.median_power()
                seen["gpu_busy"] = self._trace.median_busy()
                seen["gpu_temperature"] = _real(max(self._temperatures, default=None))
                seen["gpu_memory_free"] = None if self._gpu is None else self._gpu.memory_free()
                seen["gpu_processes"] = _real(most(self._others))
        return seen

    def _look(self) -> int | None:
        """Note what passes by: the GPU's temperature, which is returned, why its clocks are held back, who else uses it."""
        if self._gpu is None:
            return None
        self._reasons |= self._gpu.reasons() or 0
        self._others.append(nvidia.others(self._gpu.pids(), os.getpid(), linux.parent))
        temperature = self._gpu.temperature()
        if temperature is not None:
            self._temperatures.append(temperature)
        return temperature


def most(counts: Iterable[int | None]) -> int | None:
    """The largest of some counts of which some may be unknown; unknown is worse than none."""
    seen = list(counts)
    largest = max((count for count in seen if count is not None), default=0)
    return largest if largest or (seen and None not in seen) else None


def shares(before: CpuTimes | None, after: CpuTimes | None, own: float) -> tuple[float | None, float | None]:
    """The shares of CPU time that were stolen, and that other processes used than this one with its `own` seconds."""
    if before is None or after is None or after.total <= before.total:
        return None, None
    total = after.total - before.total
    if total < SHORTEST:
        return None, None
    other = after.busy - before.busy - own
    return _clip((after.stolen - before.stolen) / total), _clip(other / total)


def later(launch: State, now: State) -> State:
    """The states that got worse since the launch, each under its second key; what is unknown now is no worse."""
    found: State = {}
    for key, before in launch.items():
        after = now.get(key)
        if key not in _LASTS and after is not None and after != before and worse(key, before, after) == after:
            found[key + LATER] = after
    return found


def worse(key: str, before: object, after: object) -> float | str | bool | None:
    """The worse of two states of one condition; unknown is worse than good, and bad is worse than unknown."""
    key = key.removesuffix(LATER)
    if key == "speed_limit":
        limits = [limit for limit in (before, after) if isinstance(limit, float)]
        return min(limits) if len(limits) == 2 or any(limit < SPEED_LIMIT for limit in limits) else None
    scale: tuple[str | bool, ...] = _WORDS.get(key, (False, True))
    ranks = [
        scale.index(state) if isinstance(state, (str, bool)) and state in scale else None for state in (before, after)
    ]
    worst = max((rank for rank in ranks if rank is not None), default=0)
    return scale[worst] if worst or None not in ranks else None


@dataclass(frozen=True)
class Spoil:
    """Something that spoils a run.

    Attributes:
        condition: its key among the conditions.
        clause: it in words, with its figure.
        removable: a person can remove it, so a recording is refused under it.
        passing: it comes and goes from run to run; the others are states that last.
    """

    condition: str
    clause: str
    removable: bool = False
    passing: bool = False


def spoils(conditions: Mapping[str, object], device: str = "gpu") -> list[Spoil]:
    """What makes a comparison with stored runs meaningless, or a recording dubious.

    What is unknown spoils nothing, and a GPU's state does not spoil what trains on the CPU.
    """
    return list(_found(conditions, device != "cpu"))


def remarks(conditions: Mapping[str, object], device: str = "gpu") -> list[str]:
    """What spoils no comparison by itself, and is worth knowing beside one that looks bad."""
    began = {key.removesuffix(LATER): value for key, value in conditions.items() if key.endswith(LATER)}
    found = [f"{spoil.clause} later in the run" for spoil in spoils(began, device)]
    free = _number(conditions.get("memory_free"), 1.0)
    if free < LITTLE_MEMORY:
        found.append(f"{100 * free:.0f} % of memory free")
    busy = _number(conditions.get("gpu_busy"), 1.0)
    if device != "cpu" and busy < WAITING_LIMIT:
        found.append(f"the GPU computed for {100 * busy:.0f} % of the time and waited for its host otherwise")
    swapped = _number(conditions.get("swapped_gb"))
    if swapped > SWAPPED_GB:
        found.append(f"{swapped:.1f} GB swapped out during the run")
    return found


def _found(conditions: Mapping[str, object], on_gpu: bool) -> Iterator[Spoil]:
    if conditions.get("power") == "battery":
        yield Spoil("power", "running on battery", removable=True)
    if conditions.get("low_power") is True:
        yield Spoil("low_power", "low-power mode", removable=True)
    if conditions.get("background") is True:
        yield Spoil("background", "a background job, which macOS keeps on efficiency cores", removable=True)
    thermal = conditions.get("thermal")
    if thermal in _THERMAL_LEVELS[_THERMAL_LEVELS.index(THERMAL_LIMIT) :]:
        yield Spoil("thermal", f"thermal pressure {thermal}", removable=True)
    speed = _number(conditions.get("speed_limit"), SPEED_LIMIT)
    if speed < SPEED_LIMIT:
        yield Spoil("speed_limit", f"CPU speed limited to {100 * speed:.0f} %", removable=True)
    throttled = conditions.get("throttled")
    if on_gpu and isinstance(throttled, str) and throttled:  # one that works hard enough is always at its power cap
        yield Spoil("throttled", f"GPU clocks held back by {throttled}", removable=throttled != nvidia.POWER_CAP)
    if on_gpu and conditions.get("virtual_gpu") is True:
        yield Spoil("virtual_gpu", "virtual GPU", removable=True)
    stolen, other = _number(conditions.get("stolen")), _number(conditions.get("other_load"))
    if stolen > STOLEN_LIMIT:
        yield Spoil("stolen", f"{100 * stolen:.0f} % of CPU time was stolen by the hypervisor", passing=True)
    if other > OTHER_LOAD_LIMIT:
        yield Spoil("other_load", f"{100 * other:.0f} % of CPU time went to other processes", passing=True)
    gpu_other = _number(conditions.get("gpu_other"))
    if on_gpu and gpu_other > OTHER_LOAD_LIMIT:
        yield Spoil("gpu_other", f"{100 * gpu_other:.0f} % of the GPU's time went to other processes", passing=True)
    sharers = int(_number(conditions.get("gpu_processes")))
    if on_gpu and sharers >= 1:
        yield Spoil("gpu_processes", f"{sharers} other process{'es' * (sharers > 1)} used the GPU", passing=True)


def _number(value: object, otherwise: float = 0.0) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise


def _real(value: int | None) -> float | None:
    """A baseline keeps numbers as floats, and must be the same bytes when it is read and written again."""
    return None if value is None else float(value)


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))


def _trains_on_gpu(device: str) -> bool:
    return device.startswith("gpu")


def _state() -> State:
    return linux.state() if sys.platform == "linux" else macos.state() if sys.platform == "darwin" else {}


def _cpu_times() -> CpuTimes | None:
    return linux.cpu_times() if sys.platform == "linux" else macos.cpu_times() if sys.platform == "darwin" else None


def _own_seconds() -> float:
    """CPU seconds of this process, all threads, and of its children, such as a data loader's: ended or living."""
    living = 0.0
    if sys.platform == "linux":
        living = linux.seconds_of_children(os.getpid())
    elif sys.platform == "darwin":
        living = macos.seconds_of_children()
    return sum(os.times()[:4]) + living
