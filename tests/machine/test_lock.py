"""The machine's lock: shared to prepare side by side, exclusive to measure alone, freed by the kernel."""

from __future__ import annotations

import errno
import getpass
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fcntl")
from pytest_metalperf.worker import lock
from pytest_metalperf.worker.lock import lock_path, machine_lock
from pytest_metalperf.worker.problems import Problem

HOLDER = """
import sys
from pathlib import Path
from pytest_metalperf.worker.lock import machine_lock
path, exclusive = Path(sys.argv[1]), sys.argv[2] == "exclusive"
with machine_lock(exclusive=exclusive, waiting=lambda seconds: print("waiting", flush=True), path=path):
    print("held", flush=True)
    sys.stdin.read()
print("freed", flush=True)
"""


class Holder:
    """A process that takes the lock, and keeps it until it is told or killed."""

    def __init__(self, path: Path, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def says_after_waiting(self) -> str:
        while (said := self.says()) == "waiting":
            pass
        return said

    def end(self) -> None:
        self.process.stdin.close()


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold a lock of this test's own, and ends them."""
    made = []

    def start(kind: str) -> Holder:
        made.append(Holder(tmp_path / "lock", kind))
        return made[-1]

    yield start
    for one in made:
        with one.process:
            one.process.kill()


def never(seconds: float) -> None:
    raise AssertionError("waited")


def test_shared_holders_stand_side_by_side(holder, tmp_path):
    one, two = holder("shared"), holder("shared")
    assert (one.says(), two.says()) == ("held", "held")
    with machine_lock(exclusive=False, waiting=never, path=tmp_path / "lock"):
        pass


@pytest.mark.parametrize("first", ["shared", "exclusive"])
def test_exclusive_waits_and_says_so(holder, first):
    one = holder(first)
    assert one.says() == "held"
    two = holder("exclusive")
    assert two.says() == "waiting"  # about once a second, so that it is not taken for silence
    assert two.says() == "waiting"
    one.end()
    assert one.says() == "freed"
    assert two.says_after_waiting() == "held"


def test_shared_waits_for_exclusive(holder):
    one = holder("exclusive")
    assert one.says() == "held"
    assert holder("shared").says() == "waiting"


def test_killed_holder_frees_it(holder, tmp_path):
    one = holder("exclusive")
    assert one.says() == "held"
    one.process.kill()
    one.process.wait()
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        pass


def test_error_inside_frees_it(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
            raise ZeroDivisionError


def test_the_file_is_the_users_own_and_one_that_may_only_be_read_will_do(tmp_path):
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    (tmp_path / "lock").chmod(0o444)
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        pass


def refused(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(Problem) as caught, machine_lock(exclusive=False, waiting=never, path=path):
        pass
    assert time.monotonic() - started < 5
    assert caught.value.kind == "lock"
    assert caught.value.message.endswith("set PYTEST_METALPERF_LOCK to a file in a folder of your own")
    return caught.value.message


def test_what_lies_in_the_locks_place_is_refused_at_once(tmp_path):
    """A link that leads nowhere let root create a file wherever its owner wished."""
    path, victim = tmp_path / "lock", tmp_path / "victim"
    path.symlink_to(victim)
    assert refused(path).startswith(f"{path}: is a link, which is not followed: remove it, or ")
    assert not victim.exists()
    path.unlink()
    os.mkfifo(path)
    assert refused(path).startswith(f"{path}: is no regular file, so it is not taken for the lock: remove it, or ")
    path.unlink()
    (tmp_path / "lock.gate").unlink()
    (tmp_path / "lock.gate").symlink_to(victim)
    assert refused(path).startswith(f"{path}.gate: is a link")
    assert not victim.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    os.chown(path, 12345, 12345)
    assert refused(path).startswith(f"{path}: belongs to user 12345, so it is not taken for the lock")


def test_a_folder_that_others_may_write_to_is_no_place_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_METALPERF_LOCK", raising=False)
    folder = tmp_path / "pytest-metalperf"
    monkeypatch.setattr(lock, "Path", lambda name: folder)
    assert lock.lock_path() == folder / "lock"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(Problem, match="is no folder of this user's alone"):
        lock.lock_path()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Problem, match="is no folder of this user's alone"):
        lock.lock_path()
    assert not (tmp_path / "elsewhere").exists()


def test_a_wait_ends_with_who_holds_it(holder, tmp_path):
    one = holder("exclusive")
    assert one.says() == "held"
    waited: list[float] = []
    started = time.monotonic()
    with (
        pytest.raises(Problem) as caught,
        machine_lock(exclusive=True, waiting=waited.append, limit=1.5, path=tmp_path / "lock"),
    ):
        pass
    assert 1.5 <= time.monotonic() - started < 6
    assert waited
    named = rf" \(process {one.process.pid} of \S+ since \d\d:\d\d UTC in .*\)"
    assert re.fullmatch(
        rf"waited \d s for another measurement on this machine({named})?, and no longer:"
        r" end that process if it hangs, or raise --metal-wait",
        caught.value.message,
    )
    one.end()  # and the gate is open again
    assert one.says() == "freed"
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        pass


def test_those_who_prepare_do_not_starve_one_who_measures(holder, tmp_path):
    """Sessions that prepare side by side, one after the other, kept the lock shared for ever."""
    first = holder("shared")
    assert first.says() == "held"
    measuring = holder("exclusive")
    assert measuring.says() == "waiting"
    late = holder("shared")  # would go in beside the first, again and again
    assert late.says() == "waiting"
    first.end()
    assert first.says() == "freed"
    assert measuring.says_after_waiting() == "held"
    measuring.end()
    assert late.says_after_waiting() == "held"


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_process_that_was_forked_while_it_was_held_does_not_keep_it(tmp_path, exclusive):
    """A data loader's worker outlived the worker that had forked it, and every later session waited for ever."""
    path = tmp_path / "lock"
    report, write = os.pipe()
    with machine_lock(exclusive=exclusive, waiting=never, path=path):
        forked = os.fork()
        if not forked:
            held = [one for one in lock._File.open_ones if one.descriptor is not None]
            os.write(write, b"open" if held else b"none")
            time.sleep(100)  # killed below
            os._exit(0)
        assert os.read(report, 4) == b"none"
        with pytest.raises(Problem), machine_lock(exclusive=True, waiting=lambda s: None, limit=0.2, path=path):
            pass  # nor does it unlock its parent's
    try:
        with machine_lock(exclusive=True, waiting=never, path=path):
            pass
    finally:
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)


@pytest.mark.parametrize("left", [b"", b"[1]", b'{"pid": "x"}', b"\xff\xfe", b'{"pid": 1, "user": 3}', b"[" * 100_000])
def test_what_somebody_left_in_the_file_is_no_matter(tmp_path, left):
    path = tmp_path / "lock"
    path.write_bytes(left)
    path.chmod(0o600)
    assert lock.waiting_for(path) == lock.WAITING
    with machine_lock(exclusive=True, waiting=never, path=path):
        pass


def test_all_sessions_find_the_same_lock_wherever_their_temporary_files_are(monkeypatch, tmp_path):
    before = lock_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert lock_path() == before


def test_machine_without_a_place_for_locks_measures_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "not there" / "lock")
    with machine_lock(exclusive=True, waiting=never):
        pass


def test_where_files_cannot_be_locked_nobody_waits(tmp_path, monkeypatch):
    def flock(descriptor: int, mode: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", flock)
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who holds a lock")
def test_who_holds_the_lock_is_told(holder, tmp_path):
    other = holder("exclusive")
    assert other.says() == "held"
    if not lock.holders(Path("/proc/locks").read_text(), (tmp_path / "lock").stat()):
        pytest.skip("this file system numbers files otherwise than the kernel's list of locks")
    found = lock.waiting_for(tmp_path / "lock").removeprefix(lock.WAITING)
    user = getpass.getuser()
    assert re.fullmatch(rf" \(process {other.process.pid} of {user} since \d\d:\d\d UTC in {Path.cwd()}\)", found)
    other.end()
    assert other.says() == "freed"
    assert lock.waiting_for(tmp_path / "lock") == lock.WAITING


def test_nobody_is_named_where_nobody_can_tell(tmp_path):
    assert lock.waiting_for(tmp_path / "none") == lock.WAITING


LOCKS = """1: POSIX  ADVISORY  WRITE 11 fe:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 4242 fe:01:1234 0 EOF
2: -> FLOCK  ADVISORY  WRITE 4343 fe:01:1234 0 EOF
3: FLOCK  ADVISORY  READ 0 fe:01:1234 0 EOF
4: FLOCK  ADVISORY  READ 12 fe:02:1234 0 EOF
"""


def test_holders_are_of_this_file_and_of_this_container():
    status = os.stat_result((0, 1234, os.makedev(0xFE, 1), *[0] * 7))
    assert lock.holders(LOCKS, status) == [4242]
    assert lock.holders("", status) == []
