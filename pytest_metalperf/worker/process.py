"""What a worker process does to itself before anything else: its own group, its own end, the machine's lock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .clock import RealTime

WAITING = "waiting for another measurement on this machine"
"""How a wait for the machine's lock is told; for whom follows in parentheses, where it is known."""

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


def lock_path() -> Path:
    """Where every pytest session of this machine, whoever runs it, finds the same lock.

    Not `tempfile.gettempdir()`: TMPDIR differs between users, and on macOS always. PYTEST_METALPERF_LOCK names another
    file, for containers that share a machine and for tests that must not wait for real measurements.
    """
    if named := os.environ.get("PYTEST_METALPERF_LOCK"):
        return Path(named)
    shared = Path("/tmp")
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "pytest-metalperf.lock"


@contextlib.contextmanager
def machine_lock(*, exclusive: bool, waiting: Callable[[float], None], path: Path | None = None) -> Iterator[None]:
    """Hold the machine's lock: shared to prepare side by side, exclusive to measure alone.

    The lock is the kernel's (flock), so a killed holder frees it. `waiting` hears the seconds waited, about once a
    second, so that a wait for another session is not taken for silence.
    """
    try:
        import fcntl
    except ImportError:  # no flock, no lock: better to measure than not
        yield
        return
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH

    def locked() -> bool:
        """Whether it is ours; where files cannot be locked so (NFS wants a file open for writing), nobody waits."""
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def unlock() -> None:
        """Closing is not enough: a process that was forked meanwhile, such as a data loader's, holds the file open too."""
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    with contextlib.ExitStack() as stack:
        try:
            descriptor = _open_shared(path or lock_path())
        except OSError:  # an unwritable /tmp must not stop anybody
            yield
            return
        stack.callback(os.close, descriptor)
        since, last = RealTime.monotonic(), 0.0
        while not locked():
            waited = RealTime.monotonic() - since
            if waited - last > 1.0:
                last = waited
                waiting(waited)
            RealTime.sleep(0.02)
        stack.callback(unlock)
        yield


def waiting_for(path: Path | None = None) -> str:
    """How to say that the machine's lock is waited for: who holds it stands in Linux' list of locks (proc(5))."""
    with contextlib.suppress(OSError, ValueError):
        for pid in holders(Path("/proc/locks").read_text(), (path or lock_path()).stat()):
            where = ""
            with contextlib.suppress(OSError):
                where = f" in {Path(f'/proc/{pid}/cwd').readlink()}"
            return f"{WAITING} (process {pid}{where})"
    return WAITING


def holders(locks: str, file: os.stat_result) -> list[int]:
    """The processes that hold a lock on a file; one in another container has no number here.

    A line is `1: FLOCK ADVISORY WRITE 4242 fe:01:1234 0 EOF`: kind, process, device in hexadecimal digits and inode.
    """
    named = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    found = (line.split() for line in locks.splitlines() if "->" not in line)
    return [int(words[4]) for words in found if len(words) > 5 and words[5] == named and int(words[4]) > 0]


def _open_shared(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)  # flock needs no right to write, and another user may own the file
    except FileNotFoundError:
        before = os.umask(0)
        try:
            return os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        finally:
            os.umask(before)
