"""Temporary folders of one session, and those that killed sessions left: found by the lock that nobody holds any more."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "pytest-metalperf-session-"

_held: dict[str, int] = {}


def made() -> Path:
    """A fresh folder, locked by this process; first those of sessions that were killed are removed.

    Raises:
        OSError: where none can be made.
    """
    with contextlib.suppress(OSError, AttributeError):  # a system without users
        _sweep(Path(tempfile.gettempdir()))
    unlocked = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    descriptor = _locked(str(unlocked))
    folder = unlocked.rename(
        unlocked.with_name(unlocked.name.removeprefix("new-"))
    )  # under it, it is held from the start
    if descriptor is not None:
        _held[str(folder)] = descriptor
    return folder


def removed(folder: Path) -> None:
    """Remove a folder that `made` made; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if (descriptor := _held.pop(str(folder), None)) is not None:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Remove our folders that nobody holds. Another container's process has no number here, but its lock is seen."""
    for entry in os.scandir(parent):
        with contextlib.suppress(OSError):
            ours = entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
            mine = ours and entry.stat(follow_symlinks=False).st_uid == os.getuid() and entry.path not in _held
            if mine and (descriptor := _locked(entry.path)) is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(descriptor)


def _locked(folder: str) -> int | None:
    """A descriptor that holds the folder's lock; None where another process holds it, or folders cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
