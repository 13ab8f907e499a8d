"""The machine's lock: shared to prepare side by side, exclusive to measure alone, freed by the kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fcntl")
from pytest_metalperf.worker import process
from pytest_metalperf.worker.process import lock_path, machine_lock

HOLDER = """
import sys
from pathlib import Path
from pytest_metalperf.worker.process import machine_lock
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
    said = two.says()
    while said == "waiting":
        said = two.says()
    assert said == "held"


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


def test_lock_can_be_taken_by_every_user(tmp_path):
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o666 == 0o666
    (tmp_path / "lock").chmod(0o444)
    with machine_lock(exclusive=True, waiting=never, path=tmp_path / "lock"):
        pass


def test_all_sessions_find_the_same_lock_wherever_their_temporary_files_are(monkeypatch, tmp_path):
    before = lock_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert lock_path() == before


def test_machine_without_a_place_for_locks_measures_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "lock_path", lambda: tmp_path / "not there" / "lock")
    with machine_lock(exclusive=True, waiting=never):
        pass


def test_a_process_that_was_forked_while_it_was_held_does_not_keep_it(tmp_path):
    """A data loader's worker, or a pool that a builder starts."""
    path = tmp_path / "lock"
    with machine_lock(exclusive=False, waiting=never, path=path):
        forked = os.fork()
        if not forked:
            time.sleep(100)  # killed below
            os._exit(0)
    try:
        with machine_lock(exclusive=True, waiting=never, path=path):
            pass
    finally:
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)


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
    if not process.holders(Path("/proc/locks").read_text(), (tmp_path / "lock").stat()):
        pytest.skip("this file system numbers files otherwise than the kernel's list of locks")
    where = f" (process {other.process.pid} in {Path.cwd()})"
    assert process.waiting_for(tmp_path / "lock") == process.WAITING + where
    other.end()
    assert other.says() == "freed"
    assert process.waiting_for(tmp_path / "lock") == process.WAITING


def test_nobody_is_named_where_nobody_can_tell(tmp_path):
    assert process.waiting_for(tmp_path / "none") == process.WAITING


LOCKS = """1: POSIX  ADVISORY  WRITE 11 fe:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 4242 fe:01:1234 0 EOF
2: -> FLOCK  ADVISORY  WRITE 4343 fe:01:1234 0 EOF
3: FLOCK  ADVISORY  READ 0 fe:01:1234 0 EOF
4: FLOCK  ADVISORY  READ 12 fe:02:1234 0 EOF
"""


def test_holders_are_of_this_file_and_of_this_container():
    status = os.stat_result((0, 1234, os.makedev(0xFE, 1), *[0] * 7))
    assert process.holders(LOCKS, status) == [4242]
    assert process.holders("", status) == []
