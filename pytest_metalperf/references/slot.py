"""One place of a cache: exclusive while it is filled or emptied, shared while what lies there is used."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..worker.clock import RealTime

try:
    import fcntl
except ImportError:  # no system that a GPU framework of ours trains on
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.05
_WITHOUT_LOCKS = {errno.ENOLCK, errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
UNFINISHED, GONE = "unfinished-", "gone-"


class Slot:
    """A folder of a cache that is there whole or not at all, and the kernel's lock on a file beside it.

    A killed holder frees the lock; a child that was given `descriptor` keeps it until it ends as well. The lock's file
    stays: whoever removed it could not know who has just opened it. Its date is that of the last use.

    Attributes:
        folder: what is kept.
        descriptor: of the lock's file.
        has_locks: whether the file system knows locks at all.
    """

    def __init__(self, cache: Path, name: str) -> None:
        self.folder = cache / name
        self.name = name
        self.has_locks = fcntl is not None
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        self.descriptor = os.open(cache / f"{name}.lock", flags, 0o600)

    def held(self, *, exclusive: bool) -> bool:
        """Whether it is ours now, instead of what we held of it before.

        Raises:
            OSError: where locking fails for another reason than a holder.
        """
        if not self.has_locks:
            return True
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            self.has_locks = False
        return True

    def wait(self, is_whole: Callable[[], bool], waiting: Callable[[float], None], limit: float) -> bool:
        """Hold it: shared where it is whole, else exclusive; whether it is whole.

        Args:
            is_whole: asked while nobody can change it.
            waiting: hears the seconds, about once each.
            limit: seconds.

        Raises:
            TimeoutError: when another process fills it for longer.
        """
        start = told = RealTime.monotonic()
        while True:
            if self.held(exclusive=False) and is_whole():
                with contextlib.suppress(OSError):
                    os.utime(self.descriptor)
                return True
            self.release()  # two that hold it shared would wait for each other
            if self.held(exclusive=True):
                if not is_whole():
                    return False
                continue
            now = RealTime.monotonic()
            if now - start > limit:
                raise TimeoutError
            if now - told > 1.0:
                told = now
                waiting(now - start)
            RealTime.sleep(POLL_SECONDS)

    def unfinished(self) -> Path:
        """A fresh folder beside it, for what will be kept; those that killed processes left are removed. Exclusive."""
        for left in self.folder.parent.glob(f"{UNFINISHED}{self.name}-*") if self.has_locks else ():
            shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{self.name}-", dir=self.folder.parent))

    def fill(self, whole: Path) -> None:
        """Put a whole folder in its place, in one step. Exclusive.

        Raises:
            OSError: where that fails.
        """
        self.empty()
        try:
            whole.rename(self.folder)
        except OSError:
            if self.has_locks or not self.folder.is_dir():
                raise  # without locks, another process may have been first

    def empty(self) -> None:
        """Remove what is kept; nobody ever finds half of it. Exclusive.

        Raises:
            OSError: where it cannot be moved away.
        """
        if self.folder.exists():
            gone = Path(tempfile.mkdtemp(prefix=GONE, dir=self.folder.parent))
            self.folder.rename(gone / self.name)
            shutil.rmtree(gone, ignore_errors=True)

    def release(self) -> None:
        """Hold it no longer, nor any process that was forked from this one."""
        if self.has_locks:
            with contextlib.suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Hold it no longer, for good."""
        self.release()
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
