"""What a worker process does to itself before anything else: its own group, and its own end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def own_group() -> None:
    """Leave the terminal's process group: Ctrl-C reaches pytest alone, and a whole worker can be killed at once."""
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()


def die_with_parent(parent: int) -> None:
    """End this process when `parent` ends, even when it hangs in native code that never lets Python run.

    Linux signals it through the kernel (prctl(2), PR_SET_PDEATHSIG). Elsewhere a shell of a few kilobytes watches:
    a thread of ours could not run while native code holds the interpreter's lock.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:  # it died before the kernel was asked
            os.kill(os.getpid(), signal.SIGKILL)
    elif os.name == "posix":
        watch = f"while kill -0 {parent} 2>/dev/null && kill -0 {os.getpid()} 2>/dev/null; do sleep 1; done"
        subprocess.Popen(
            ["/bin/sh", "-c", f"{watch}; kill -9 {os.getpid()} 2>/dev/null"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
