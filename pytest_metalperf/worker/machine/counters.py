"""Instructions and cycles that this process has retired, where the system tells them without special rights.

The same instructions in more time point at the machine; more instructions point at the code. Both are of the processor:
what a GPU does is not among them, and a thread that waits in a loop retires instructions too.

macOS: proc_pid_rusage(RUSAGE_INFO_V4) counts for the process since it began (sys/resource.h; since 10.13). Virtual Macs
answer 0. Linux: perf_event_open(2), in user mode, which `perf_event_paranoid` up to 2 permits; a counter for every
thread there is, which the threads that it starts later inherit. Most virtual machines have none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import struct
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .reading import listing

if TYPE_CHECKING:
    from .reading import State

RUSAGE_BYTES, RUSAGE_FLAVOR = 296, 4
_PEAK_AT, _INSTRUCTIONS_AT = 240, 248  # of rusage_info_v4, unsigned 64-bit; cycles come after instructions
_PERF_CALLS = {"x86_64": 298, "aarch64": 241}  # perf_event_open, of the kernel's tables of system calls
_CYCLES, _INSTRUCTIONS = 0, 1  # PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS, of PERF_TYPE_HARDWARE
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6  # bits of perf_event_attr
_ATTRIBUTE_BYTES = 112  # PERF_ATTR_SIZE_VER5
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
PER_BATCH = "_per_batch"
"""Ends the keys of counts."""
MOST_THREADS = 200  # two files each, of the 1,024 that a process usually may have


class Counts(NamedTuple):
    """Since some moment in the past."""

    instructions: int
    cycles: int


Counting = Callable[[], "Counts | None"]


def per_batch(train: Callable[[], object], batches: int) -> State:
    """The counts of some training by the batch, `instructions_per_batch` and `cycles_per_batch`; empty where nobody counts.

    For steps that are not timed: to count costs time at every switch of threads. Where nothing counts, nothing is trained.

    Args:
        train: trains `batches` batches.
        batches: at least 1.
    """
    counts = counting()
    if counts is None:
        return {}
    train()
    found = counts()
    return {} if found is None else {key + PER_BATCH: n / batches for key, n in found._asdict().items()}


def counting() -> Counting | None:
    """A function that tells the counts since now; None where this system tells none."""
    if sys.platform == "darwin":
        return since(rusage)
    if sys.platform == "linux":
        perf = PerfCounters(((0, _INSTRUCTIONS), (0, _CYCLES)))
        return perf.counts if perf.counts() is not None else None
    return None


def since(total: Counting) -> Counting | None:
    """A function that tells what `total` has grown by since now, None if it stood still; None if it is unknown."""
    start = total()
    if start is None:
        return None

    def counts() -> Counts | None:
        now = total()
        if now is None or now.instructions <= start.instructions or now.cycles <= start.cycles:
            return None
        return Counts(now.instructions - start.instructions, now.cycles - start.cycles)

    return counts


def rusage() -> Counts | None:
    """The counts of this process on macOS since it began."""
    return parse_rusage(_rusage_info())


def peak_footprint() -> int | None:
    """The largest footprint that this process has had on macOS, in bytes, what its GPU holds included; None is unknown."""
    return parse_peak(_rusage_info())


def _rusage_info() -> bytes:
    """The rusage_info_v4 of this process; empty where there is none."""
    import ctypes  # not on every start

    buffer = ctypes.create_string_buffer(RUSAGE_BYTES)
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).proc_pid_rusage(os.getpid(), RUSAGE_FLAVOR, buffer) == 0:
            return buffer.raw
    return b""


def parse_peak(info: bytes) -> int | None:
    """`ri_lifetime_max_phys_footprint` of a rusage_info_v4."""
    return (struct.unpack_from("<Q", info, _PEAK_AT)[0] or None) if len(info) >= RUSAGE_BYTES else None


def parse_rusage(info: bytes) -> Counts | None:
    """Both counts of a rusage_info_v4; a system that does not count says 0."""
    if len(info) < RUSAGE_BYTES:
        return None
    instructions, cycles = struct.unpack_from("<QQ", info, _INSTRUCTIONS_AT)
    return Counts(instructions, cycles) if instructions and cycles else None


class PerfCounters:
    """Linux' counters of all threads of this process, from now on; closed when this object goes.

    Args:
        events: (type, config) of what is counted as instructions and as cycles.
    """

    def __init__(self, events: Sequence[tuple[int, int]]) -> None:
        threads = [int(name) for name in listing("/proc/self/task") if name.isdigit()]
        few = len(threads) <= MOST_THREADS
        self._files = [[_opened(kind, config, thread) for thread in threads if few] for kind, config in events]
        weakref.finalize(self, _close, [file for files in self._files for file in files])

    def counts(self) -> Counts | None:
        """None where there is no such counter, or others had it for a part of the time."""
        sums = [[_counted(file) for file in files] for files in self._files]
        totals = [sum(known) for one in sums if (known := [n for n in one if n is not None]) and len(known) == len(one)]
        return Counts(*totals) if len(totals) == 2 and all(totals) else None


@functools.lru_cache(maxsize=1)
def _system_call() -> Callable[..., int] | None:
    import ctypes  # as above

    try:
        return ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None


def _opened(kind: int, config: int, thread: int) -> int:
    """A counter's file, or a negative number."""
    number, call = _PERF_CALLS.get(platform.machine()), _system_call()
    if number is None or call is None:
        return -1
    flags = _INHERIT | _NO_KERNEL | _NO_HYPERVISOR
    attribute = struct.pack("=IIQQQQQ", kind, _ATTRIBUTE_BYTES, config, 0, 0, 3, flags)  # 3: with both times
    return call(number, attribute.ljust(_ATTRIBUTE_BYTES, b"\0"), thread, -1, -1, _CLOSE_ON_EXEC)


def _counted(file: int) -> int | None:
    try:
        count, enabled, running = struct.unpack("=QQQ", os.read(file, 24)) if file >= 0 else (0, 0, -1)
    except (OSError, struct.error):
        return None
    return int(count) if running == enabled else None


def _close(files: Sequence[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            if file >= 0:
                os.close(file)
