"""The machine's lock: shared to prepare side by side, exclusive to measure alone; fair, bounded, and of this user alone."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from .clock import RealTime
from .problems import Problem

WAITING = "waiting for another measurement on this machine"
"""How a wait for the machine's lock is told; for whom follows in parentheses, where it is known."""

WAIT_SECONDS = 1800.0
"""For so long another measurement is waited for, unless --metal-wait says otherwise."""

POLL_SECONDS = 0.02
OWN_FILE = "set PYTEST_METALPERF_LOCK to a file in a folder of your own"


def lock_path() -> Path:
    """Where every pytest session of this user on this machine finds the same lock.

    Not `tempfile.gettempdir()`: TMPDIR differs between sessions. The folder is the user's own, so that nobody else can put
    something in the lock's place. PYTEST_METALPERF_LOCK names another file, for containers and users that share a machine
    and for tests that must not wait for real measurements.

    Raises:
        OSError: where there is no place for it.
        Problem: of kind ``lock``, where the folder is another user's, or none.
    """
    if named := os.environ.get("PYTEST_METALPERF_LOCK"):
        path = Path(named)
        if not path.name or path.is_dir() or not path.parent.is_dir():
            raise Problem(
                "lock",
                f"PYTEST_METALPERF_LOCK={named}: is no file in a folder: name another, or unset it",
            )
        return path
    folder = Path(f"/tmp/pytest-metalperf-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Problem("lock", f"{folder}: is no folder of this user's alone, so the lock is not kept there: {OWN_FILE}")
    return folder / "lock"


class _File:
    """An open lock file; a process that is forked while it is open, such as a data loader's, gives it up at once."""

    open_ones: ClassVar[weakref.WeakSet[_File]] = weakref.WeakSet()

    def __init__(self, path: Path) -> None:
        self.descriptor: int | None = _opened(path)
        _File.open_ones.add(self)

    def locked(self, mode: int) -> bool:
        """Whether it is ours now; where files cannot be locked so (NFS wants a file open for writing), nobody waits."""
        import fcntl

        try:
            fcntl.flock(self.descriptor, mode | fcntl.LOCK_NB)  # type: ignore[arg-type]
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def unlock(self) -> None:
        import fcntl

        if self.descriptor is not None:  # in a forked process it would unlock its parent's
            with contextlib.suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = None

    def sign(self) -> None:
        """Leave who holds it, for those who wait."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):  # such as of a working folder that was removed
                who = {
                    "pid": os.getpid(),
                    "user": _user(os.getuid()),
                    "since": RealTime.utc("%H:%M UTC"),
                    "in": str(Path.cwd()),
                }
                data = json.dumps(who).encode()
                os.ftruncate(self.descriptor, 0)
                os.pwrite(self.descriptor, data, 0)


def _give_up() -> None:
    for one in list(_File.open_ones):
        one.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up)


def _opened(path: Path) -> int:
    """A descriptor of a regular file of this user's or of root's; nothing is created through a link.

    Raises:
        OSError: where it cannot be opened.
        Problem: of kind ``lock``, for anything else that lies there.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if path.is_symlink():
        raise Problem("lock", f"{path}: is a link, which is not followed: remove it, or {OWN_FILE}")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except PermissionError:  # flock needs no right to write
        descriptor = os.open(path, os.O_RDONLY | flags)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), 0):
        return descriptor
    os.close(descriptor)
    what = f"belongs to {_user(found.st_uid)}" if stat.S_ISREG(found.st_mode) else "is no regular file"
    raise Problem("lock", f"{path}: {what}, so it is not taken for the lock: remove it, or {OWN_FILE}")


@contextlib.contextmanager
def machine_lock(
    *, exclusive: bool, waiting: Callable[[float], None], limit: float = WAIT_SECONDS, path: Path | None = None
) -> Iterator[None]:
    """Hold the machine's lock: shared to prepare side by side, exclusive to measure alone.

    The lock is the kernel's (flock), so a killed holder frees it. Who comes first passes a gate, a second file, and keeps it
    shut until the lock is theirs: those who prepare side by side, one after the other, let no measurement starve.

    Args:
        exclusive: whether nobody else may hold it.
        waiting: hears the seconds waited, about once a second, so that a wait for another session is not taken for silence.
        limit: seconds after which it is waited no longer.
        path: of the lock's file; else `lock_path()`.

    Raises:
        Problem: of kind ``lock``, naming who holds it for longer than the limit, or what lies in the lock's place.
    """
    try:
        import fcntl
    except ImportError:  # no flock, no lock: better to measure than not
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            path = path or lock_path()
            gate = stack.enter_context(contextlib.closing(_File(path.with_name(f"{path.name}.gate"))))
            lock = stack.enter_context(contextlib.closing(_File(path)))
        except OSError:  # an unwritable /tmp must not stop anybody
            yield
            return
        wait = _Wait(waiting, limit, path)
        wait.until(lambda: gate.locked(fcntl.LOCK_EX))
        try:
            wait.until(lambda: lock.locked(fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
        finally:
            gate.unlock()
        stack.callback(lock.unlock)
        if exclusive:
            lock.sign()
        yield


class _Wait:
    """One wait, over both files."""

    def __init__(self, waiting: Callable[[float], None], limit: float, path: Path) -> None:
        self.waiting, self.limit, self.path = waiting, limit, path
        self.since, self.last = RealTime.monotonic(), 0.0

    def until(self, locked: Callable[[], bool]) -> None:
        while not locked():
            waited = RealTime.monotonic() - self.since
            if waited > self.limit:
                whom = waiting_for(self.path).removeprefix(WAITING).strip()
                raise Problem(
                    "lock",
                    f"waited {waited:.0f} s for another measurement on this machine{f' {whom}' if whom else ''}, and no longer:"
                    " end that process if it hangs, or raise --metal-wait",
                )
            if waited - self.last > 1.0:
                self.last = waited
                self.waiting(waited)
            RealTime.sleep(POLL_SECONDS)


def waiting_for(path: Path | None = None) -> str:
    """How to say that the machine's lock is waited for: who holds it stands in Linux' list of locks (proc(5)), or in the file."""
    with contextlib.suppress(OSError, ValueError, Problem):
        file = path or lock_path()
        record = _record(file)
        try:
            pids = holders(Path("/proc/locks").read_text(), file.stat())
        except OSError:  # other systems do not tell
            pids = [record["pid"]] if record and _is_alive(record["pid"]) else []
        for pid in pids:
            if record.get("pid") == pid:
                return f"{WAITING} (process {pid} of {record['user']} since {record['since']} in {record['in']})"
            where = ""
            with contextlib.suppress(OSError):
                where = f" in {Path(f'/proc/{pid}/cwd').readlink()}"
            return f"{WAITING} (process {pid}{where})"
    return WAITING


def _record(file: Path) -> dict[str, Any]:
    """What the last exclusive holder left in the file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = json.loads(os.read(descriptor, 4096))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and {"pid", "user", "since", "in"} <= found.keys() and type(found["pid"]) is int
    return {**found, **{key: str(found[key])[:200] for key in ("user", "since", "in")}} if whole else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def holders(locks: str, file: os.stat_result) -> list[int]:
    """The processes that hold a lock on a file; one in another container has no number here.

    A line is `1: FLOCK ADVISORY WRITE 4242 fe:01:1234 0 EOF`: kind, process, device in hexadecimal digits and inode.
    """
    named = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    found = (line.split() for line in locks.splitlines() if "->" not in line)
    return [int(words[4]) for words in found if len(words) > 5 and words[5] == named and int(words[4]) > 0]
