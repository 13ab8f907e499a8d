"""Writing a baseline file in one step, under a lock, so that a kill at any instant leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..worker.clock import RealTime

try:
    import fcntl
except ImportError:  # no system that a GPU framework of ours trains on
    fcntl = None  # type: ignore[assignment]

UNFINISHED = f".unfinished-{os.getuid() if hasattr(os, 'getuid') else 0}"
"""The folder beside the file in which a new one is written; git never adds what it holds.

Each user has one: what a kill left there is not another's to remove, and must not keep anyone from writing.
"""

SECONDS = 60.0
"""How long a session waits for another one that writes."""

_WITHOUT_LOCKS = {errno.ENOLCK, errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, which is the kernel's on the folder itself: no file, no name to guess, free after a kill.

    Yields:
        Whether there is a lock at all; some network file systems have none for folders.

    Raises:
        TimeoutError: when another process holds it for so long.
        OSError: when the folder cannot be opened.
    """
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _lock(descriptor)
    finally:
        with contextlib.suppress(OSError):  # a child that was forked meanwhile would go on holding it
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    until = RealTime.monotonic() + SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if RealTime.monotonic() > until:
                raise TimeoutError from None
            RealTime.sleep(0.01)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            raise
        else:
            return True


def regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file, `most` at most.

    Raises:
        OSError: when it cannot be read, is longer, or is a pipe, a device or the like, which might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size > most:
            raise OSError(
                errno.EFBIG, f"it is {found.st_size:,} bytes long, and no baseline file is longer than {most:,}"
            )
        return file.read()


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step, and only if it differs from what is there."""
    target = path.resolve()
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == data:
            return
    unfinished = target.parent / UNFINISHED
    temporary = None
    try:
        unfinished.mkdir(exist_ok=True)
        (unfinished / ".gitignore").write_text("*\n")
        descriptor, temporary = tempfile.mkstemp(dir=unfinished, prefix=target.name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
    finally:
        with contextlib.suppress(OSError):
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            if [left.name for left in unfinished.iterdir()] == [".gitignore"]:
                shutil.rmtree(unfinished)


def sweep(folder: Path) -> None:
    """Remove what a writer that was killed has left; only under the lock of the folder."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _mode(target: Path) -> int:
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
