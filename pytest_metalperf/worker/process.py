"""What a worker process does to itself before anything else: its own group, and its own end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

from .problems import Problem

FORKED_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def own_group() -> None:
    """Leave the terminal's process group: Ctrl-C reaches pytest alone, and a whole worker can be killed at once."""
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()


_forks = [0]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _forks.__setitem__(0, _forks[0] + 1))


@contextlib.contextmanager
def returns_once(name: str) -> Iterator[None]:
    """End a process that was forked inside and comes out as well: it would go on measuring beside its parent.

    Raises:
        Problem: of kind ``training``, in the process that entered.
    """
    me, before = os.getpid(), _forks[0]
    read, write = os.pipe()
    try:
        try:
            yield
        finally:
            if os.getpid() != me:
                os.write(write, b".")
                os._exit(0)
        # a data loader's worker stays inside; one that came out says so at once
        if _forks[0] > before and select.select([read], [], [], FORKED_SECONDS)[0]:
            raise Problem(
                "training",
                f"the step of {name} forked, and returned in both processes: end the child inside the step (os._exit)",
            )
    finally:
        os.close(read)
        os.close(write)


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
