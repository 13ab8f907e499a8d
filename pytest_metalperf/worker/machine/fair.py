"""What makes a Mac measure fairly: kept awake, not taken for background work.

Threads that a framework starts do not inherit the quality of service of the one that starts them, so they stay at the
default, which macOS schedules on performance cores too; what it lifts is the thread that drives the training. No quality
of service lifts a background job: it is detected (`macos.background`) and told.
Sources: xnu (bsd/sys/proc_info.h, osfmk/kern/task_policy.c), libpthread (src/pthread.c), pthread/qos.h, caffeinate(8).
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys

USER_INTERACTIVE = 0x21  # QOS_CLASS_USER_INTERACTIVE
BACKGROUND_PRIORITY = 4  # MAXPRI_THROTTLE: what every kind of background job is held at
_TASK_INFO, _TASK_INFO_BYTES, _PRIORITY_AT = 4, 96, 92  # PROC_PIDTASKINFO, proc_taskinfo and its pti_priority

_awake: list[int] = []


def keep_awake() -> None:
    """Keep a Mac awake until this process ends, by caffeinate, which ends with it; once is enough."""
    if sys.platform != "darwin" or os.getpid() in _awake:
        return
    import subprocess  # only here

    _awake.append(os.getpid())
    with contextlib.suppress(OSError):
        guard = subprocess.Popen(
            ["/usr/bin/caffeinate", "-i", "-s", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        guard.returncode = 0  # nobody waits for it, and it outlives this object: no warning of that


def user_interactive() -> bool:
    """Give the calling thread the quality of service of what a person waits for; whether macOS did."""
    if sys.platform != "darwin":
        return False
    import ctypes  # only here

    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).pthread_set_qos_class_self_np(USER_INTERACTIVE, 0) == 0)
    return False


def background() -> bool | None:
    """Whether macOS takes this process for a background job and keeps it on efficiency cores; None is unknown."""
    import ctypes  # only on macOS

    buffer = ctypes.create_string_buffer(_TASK_INFO_BYTES)
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).proc_pidinfo(os.getpid(), _TASK_INFO, ctypes.c_uint64(0), buffer, _TASK_INFO_BYTES) > 0:
            return is_background(buffer.raw)
    return None


def is_background(task_info: bytes) -> bool | None:
    """From a proc_taskinfo. launchd's ProcessType Background, `taskpolicy -b` and the like all end at one priority."""
    if len(task_info) < _TASK_INFO_BYTES:
        return None
    (priority,) = struct.unpack_from("<i", task_info, _PRIORITY_AT)
    return bool(priority <= BACKGROUND_PRIORITY) if 0 < priority < 128 else None
