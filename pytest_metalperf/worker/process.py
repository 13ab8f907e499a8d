"""What a worker process does to itself before anything else: its own group, and its own end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

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


class Forks:
    """Sees to it that the user's code, where it forks, comes out in one process: the other would measure beside it."""

    def __init__(self) -> None:
        self._me, self._seen = os.getpid(), _forks[0]
        self._read, self._write = os.pipe()

    def end_a_copy(self) -> None:
        """End a process that was forked from this one and came out of the user's code as well; a data loader's stays inside."""
        if os.getpid() != self._me:
            os.write(self._write, b".")
            os._exit(0)

    def check(self, name: str) -> None:
        """Raise where a copy of this process has come out since the last time.

        Raises:
            Problem: of kind ``training``.
        """
        forked, self._seen = _forks[0] > self._seen, _forks[0]
        if forked and select.select([self._read], [], [], FORKED_SECONDS)[0]:
            raise Problem(
                "training",
                f"the code of {name} forked, and returned in both processes: end the child inside it (os._exit)",
            )

    def close(self) -> None:
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)


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
