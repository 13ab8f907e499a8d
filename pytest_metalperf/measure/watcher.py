"""What outlives pytest and ends what pytest left: the children of workers and of `metal_live`'s children, and theirs.

A worker ends with pytest through the kernel. What it has started does not: a data loader's processes are another's by then,
in a session of their own perhaps. So every local worker carries a mark in its environment, which all that descends from it
inherits, and one small process waits for pytest's end to look for that mark. Where the system does not show environments
(macOS), it ends the workers' process groups.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid

MARK = "PYTEST_METALPERF_OF"
SECONDS = 5.0

_SOURCE = """
import os, select, signal, sys, time
mark, parent = sys.argv[1].encode(), int(sys.argv[2])
groups, ended = set(), False
while not ended and os.getppid() == parent:
    if select.select([0], [], [], 0.5)[0]:
        words = os.read(0, 65536).split()
        groups.update(int(word) for word in words)
        ended = not words

def marked():
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if name.isdigit() and mark in file.read().split(b"\\0"):
                    yield int(name)
        except OSError:
            pass

def kill(end, pid):
    try:
        end(pid, signal.SIGKILL)
    except OSError:
        pass

if os.path.isdir("/proc/self"):
    for _ in range(20):
        found = list(marked())
        if not found:
            break
        for pid in found:
            kill(os.kill, pid)
        time.sleep(0.05)
else:
    for pid in groups:
        kill(os.killpg, pid)
"""


class Watcher:
    """Ends whatever carries its mark: when this process ends, however it does, or when it is told to."""

    def __init__(self) -> None:
        self._value = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._process: subprocess.Popen[bytes] | None = None

    def variables(self) -> dict[str, str]:
        """The mark, for the environment of a process that must not outlive this one; starts the watcher's own process."""
        if os.name != "posix":
            return {}
        if self._process is None or self._process.poll() is not None:
            self._process = self._started()
        return {MARK: self._value}

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SOURCE, f"{MARK}={self._value}", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def watch(self, pid: int) -> None:
        """Name a process group that must not outlive this process."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(f"{pid}\n".encode())
                self._process.stdin.flush()

    def end(self) -> None:
        """End what still carries the mark, now."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is not None:  # somebody ended it, and what it watched goes on
                process = self._started()
            if not _ended(process):  # somebody stopped it, or it waits for a file that never answers
                process.kill()
                process.wait()
                _ended(self._started())

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell a watcher to do its work; whether it has done so in time."""
    try:
        process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    except (OSError, ValueError):
        pass
    return True
