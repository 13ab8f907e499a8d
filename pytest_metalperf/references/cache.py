"""The user's cache folder: where it is, that it is the user's alone, and what leaves it when it grows too large."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Container, Mapping
from pathlib import Path

from ..worker.clock import RealTime
from .slot import GONE, UNFINISHED, Slot

VARIABLE = "PYTEST_METALPERF_CACHE"
LEFT_SECONDS = 3600.0
"""After so long, what a killed process was removing is removed by the next one."""


def cache_folder(
    environment: Mapping[str, str] = os.environ, system: str = sys.platform, home: Path | None = None
) -> Path:
    """`pytest-metalperf` below the folder where the system keeps caches, or what PYTEST_METALPERF_CACHE names."""
    if named := environment.get(VARIABLE):
        return Path(named).expanduser().absolute()
    home = home or Path.home()
    if system == "darwin":
        parent = home / "Library" / "Caches"
    elif system == "win32":
        parent = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        xdg = Path(environment.get("XDG_CACHE_HOME") or "")
        parent = xdg if xdg.is_absolute() else home / ".cache"  # as the specification has it: others are ignored
    return parent / "pytest-metalperf"


def private(folder: Path) -> Path:
    """`folder`, made if it is not there, of this user alone: workers run what lies in it.

    Raises:
        OSError: where it cannot be made, is another user's, or others may write to it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if (
        not stat.S_ISDIR(found.st_mode)
        or (hasattr(os, "getuid") and found.st_uid != os.getuid())
        or found.st_mode & 0o022
    ):
        raise PermissionError(1, f"is no folder of this user's alone; set {VARIABLE} to one", str(folder))
    return folder


def trim(cache: Path, most_bytes: int, note: str, using: Container[str] = ()) -> list[str]:
    """Remove what was used least recently until the rest has no more than so many bytes, and what killed processes left.

    What any process uses stays, and counts.

    Args:
        cache: a folder of slots.
        most_bytes: of all together.
        note: a file in each that holds `{"bytes": …}`.
        using: names that this process itself uses.

    Returns:
        The names of what was removed.
    """
    kept = sorted(_kept(cache, note))
    total, removed = sum(size for _, _, size in kept), []
    for _, name, size in kept:
        if total <= most_bytes:
            break
        if name not in using and _emptied(cache, name):
            total -= size
            removed.append(name)
    for left in [*cache.glob(f"{UNFINISHED}*"), *cache.glob(f"{GONE}*")]:
        with contextlib.suppress(OSError):
            if RealTime.now() - left.stat().st_mtime > LEFT_SECONDS and _is_left(cache, left.name):
                shutil.rmtree(left, ignore_errors=True)
    return removed


def _kept(cache: Path, note: str) -> list[tuple[float, str, int]]:
    """When each was last used, its name, its bytes."""
    found = []
    for path in cache.glob(f"*/{note}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            size = int(json.loads(path.read_text())["bytes"])
            found.append(((cache / f"{path.parent.name}.lock").stat().st_mtime, path.parent.name, size))
    return found


def _emptied(cache: Path, name: str) -> bool:
    """Whether it is removed: nobody uses it."""
    with contextlib.suppress(OSError), contextlib.closing(Slot(cache, name)) as slot:
        if slot.held(exclusive=True) and slot.has_locks:  # without locks, nobody knows who uses it
            slot.empty()
            return True
    return False


def _is_left(cache: Path, left: str) -> bool:
    """Whether nobody is at work in it: what is unfinished names its slot, which is held meanwhile."""
    if left.startswith(GONE):
        return True
    name = left.removeprefix(UNFINISHED).rpartition("-")[0]
    with contextlib.suppress(OSError), contextlib.closing(Slot(cache, name)) as slot:
        return slot.held(exclusive=True)
    return False
