"""A fresh process of an interpreter, and the channel to it: what of a worker is execnet's and the system's."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..worker.observers import without_observers
from ..worker.sources import interpreter_folders
from .interpreter import BOOTSTRAP, Interpreter, holds_packages, import_path, whole
from .watcher import Watcher

START_SECONDS = 120.0


class NotText(Exception):
    """One sentence about a name that no channel carries: half a surrogate pair stands for a byte that is no UTF-8."""


@dataclass(frozen=True)
class Launch:
    """What a fresh process is started with.

    Attributes:
        group: execnet's, which makes gateways.
        spec: how execnet reaches the interpreter.
        local: whether that is on this machine.
        own: whether that is the interpreter that this process runs on.
        folder: where local workers find their code and leave their logs.
        archive: the name and the bytes of the zip of their code.
        timeout: seconds of silence after which a worker is killed.
        wait_seconds: seconds that it waits for another measurement on the machine.
        watcher: ends what it leaves.
    """

    group: Any
    spec: str
    local: bool
    own: bool
    folder: Path
    archive: tuple[str, bytes]
    timeout: float
    wait_seconds: float
    watcher: Watcher


class Process:
    """A fresh process that serves the protocol of `worker/serve.py`.

    Attributes:
        pid: its process id.

    Raises:
        Exception: what execnet's transport raises, when it cannot be started; nothing is left then.
    """

    def __init__(self, launch: Launch, log: str, interpreter: Interpreter) -> None:
        self.pid: int | None = None
        self._local = launch.local
        self._gateway: Any = None
        name, data = launch.archive
        try:
            mark = launch.watcher.variables() if launch.local else {}
            with (
                _deadline(min(START_SECONDS, launch.timeout)),
                without_observers(),
                _variables({**mark, **interpreter.variables}),
            ):
                self._gateway = launch.group.makegateway(f"{launch.spec}//execmodel=main_thread_only")
            self._channel = self._gateway.remote_exec(BOOTSTRAP)
            self.pid = self._channel.receive(timeout=min(START_SECONDS, launch.timeout))
            if launch.local and self.pid is not None:
                launch.watcher.watch(self.pid)
            self._send(
                {
                    "folder": str(launch.folder) if launch.local else None,
                    "zip": name,
                    "archive": b"" if launch.local else data,
                    "log": log,
                    "wait_seconds": launch.wait_seconds,
                    "parent": os.getpid() if launch.local else None,
                    "own": launch.own,
                    "path": _import_path(launch, interpreter),
                    "moved": interpreter.moved,
                }
            )
        except BaseException:
            self.end()
            raise

    def listen(self, put: Callable[[Any], None], end: object) -> None:
        """Hand every message to `put`, and `end` when no more will come."""
        self._channel.setcallback(put, endmarker=end)

    def send(self, request: dict[str, Any]) -> None:
        """Ask for something.

        Raises:
            OSError: when the process is gone.
            NotText: for a file's name that cannot be told.
        """
        self._send(request)

    def _send(self, message: dict[str, Any]) -> None:
        import execnet

        try:
            self._channel.send(message)
        except execnet.DumpError:
            name = _not_text(message)
            if name is None:
                raise
            raise NotText(
                f"{name!r} is no UTF-8 text, and a worker cannot be told of it: rename that file or folder"
            ) from None

    def failed(self) -> str:
        """Why the channel ended, where our bootstrap failed; empty where the process ended."""
        with contextlib.suppress(Exception):
            try:
                self._channel.waitclose(timeout=1)
            except self._channel.RemoteError as error:
                return str(error)
        return ""

    def exit_code(self) -> int | None:
        """Of a local process that has ended: negative is a signal; None is unknown."""
        import psutil

        if not self._local or self.pid is None:
            return None
        try:
            return psutil.Process(self.pid).wait(timeout=5)
        except psutil.Error:
            return None

    def has_ended(self) -> bool:
        """Whether a local process is gone, though a child of it may hold its end of the channel open."""
        import psutil

        if not self._local or self.pid is None:
            return False
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return True

    def signal(self, name: str) -> None:
        """Signal a local process and its group, where the system has that signal."""
        if self._local and self.pid is not None and hasattr(signal, name):
            number = getattr(signal, name)
            with contextlib.suppress(OSError):
                os.kill(self.pid, number)  # also while it has no group of its own yet
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def _children(self) -> list[int]:
        import psutil

        if not self._local or self.pid is None or not hasattr(signal, "SIGKILL"):
            return []
        try:
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        except psutil.Error:
            return []

    def end(self) -> None:
        """Kill it, its group and its children now, and wait until it is gone."""
        children = self._children()  # one with a group and an environment of its own is known by its parent alone
        self.signal("SIGKILL")
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        if self._gateway is not None:
            with contextlib.suppress(Exception):
                self._gateway.exit()
        if self._local and self.pid is not None:
            import psutil

            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).wait(timeout=10)


def _not_text(value: Any) -> str | None:
    """The first text in `value` that is no UTF-8."""
    if isinstance(value, str):
        return None if value.isascii() or value.encode(errors="replace").decode() == value else value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return next((found for found in map(_not_text, parts) if found is not None), None)


def _import_path(launch: Launch, interpreter: Interpreter) -> Any:
    if launch.own:
        return [*interpreter.first, *(whole(entry) for entry in sys.path)]
    if not launch.local:
        return [], []
    path = [entry for entry in sys.path if not (interpreter.own_packages and holds_packages(entry))]
    before, after = import_path(path, interpreter_folders())
    return [*interpreter.first, *before], after


@contextlib.contextmanager
def _variables(more: Mapping[str, str | None]) -> Iterator[None]:
    """More of them while a process is started: execnet's own are set in it later, where the system does not show them."""
    before = {name: os.environ.get(name) for name in more}
    _set(more)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End children that are still starting after `seconds`: execnet's makegateway waits for ever."""
    import psutil

    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}

    def end() -> None:
        with contextlib.suppress(psutil.Error):
            for child in me.children(recursive=True):
                if child.pid not in before:
                    child.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
