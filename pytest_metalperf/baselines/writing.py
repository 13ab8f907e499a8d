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

UNFINISHED = ".unfinished-"
"""What the name of a folder begins with in which a new file is written, beside the old one; git never adds what it holds.
So does that of a report which is written anew all the time.

The rest is random, so that nothing which lies there already is followed or written into.
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
                raise TimeoutError(errno.ETIMEDOUT, "another process writes into its folder") from None
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
    with _beside(target) as temporary:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(target))
        temporary.replace(target)


def make_room(path: Path) -> None:
    """Make the folder of a file that will be written, and remove what killed sessions left there.

    Raises:
        OSError: where that is impossible, or something else than a file stands at `path`.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
    folder = path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as is_locked:
        if is_locked:
            sweep(folder)


def put(path: Path, data: bytes, *, durable: bool) -> None:
    """Put `data` at `path` in one step, as often as a session has news: without a folder for each.

    What is not `durable` outlives this process, but not a loss of power.
    """
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        Path(name).chmod(_mode(target))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def try_out(path: Path) -> None:
    """Make sure that a file could be replaced, as far as that can be told without doing it.

    Raises:
        OSError: where it could not.
    """
    target = path.resolve()
    with _beside(target) as temporary:
        temporary.touch()
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)))
    except OSError as error:
        if error.errno == errno.EPERM:  # immutable; one that is only read-only can be replaced
            raise


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path of the same name, in a fresh folder beside it."""
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.parent))
    try:
        (folder / ".gitignore").write_text("*\n")
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what writers of this user that were killed have left; only under the lock of the folder."""
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False) if entry.name.startswith(UNFINISHED) else None
            if found is None or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
                continue
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif stat.S_ISREG(found.st_mode):
                Path(entry.path).unlink()


def _mode(target: Path) -> int:
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
