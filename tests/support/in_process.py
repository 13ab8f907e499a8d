"""Workers in the process of the test: the same requests and answers, through a queue in the place of a channel.

What only a process has is not here: an end of its own, silence, a group, signals, a log, an import path. Tests of those
have the mark `processes`, and get real ones.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any

import execnet

from pytest_metalperf.measure import process
from pytest_metalperf.measure.interpreter import HERE, Interpreter
from pytest_metalperf.measure.process import Launch
from pytest_metalperf.worker import stack
from pytest_metalperf.worker.serve import Job, answer

NOW = [0]
"""Which worker answers, or 0 outside of one; in the place of a process id."""

_ids = itertools.count(1)
Real = process.Process


installed = functools.cache(stack.installed)
"""What is installed does not change while our tests run, and looking takes a third of a second."""


class InProcess:
    """What stands for a fresh process; requests are answered at once, in the thread that asks."""

    pid = None

    def __init__(self) -> None:
        self._id = next(_ids)
        self._open = True

    def listen(self, put: Callable[[Any], None], end: object) -> None:
        def send(message: dict[str, Any]) -> None:
            put(execnet.loads(execnet.dumps(message)))  # what cannot travel must fail here too

        self._job, self._send, self._end = Job(send), send, lambda: put(end)
        send({"done": "hello", "result": {"pid": self._id, "python": sys.version.split()[0]}})

    def send(self, request: dict[str, Any]) -> None:
        if not self._open:
            raise OSError("closed")
        before, NOW[0] = NOW[0], self._id
        try:
            message = answer(self._job, execnet.loads(execnet.dumps(request)))
        finally:
            NOW[0] = before
        self._send(message)
        if "error" in message:
            self._open = False
            self._end()

    def failed(self) -> str:
        return ""

    def has_ended(self) -> bool:
        return False

    def exit_code(self) -> None:
        return None

    def signal(self, name: str) -> None:
        pass

    def end(self) -> None:
        self._open = False


def start(launch: Launch, log: str, interpreter: Interpreter) -> Any:
    """In the place of `Process(…)`: a worker here, where that would be one of this interpreter on this machine."""
    if interpreter == HERE and launch.own:
        return InProcess()
    return Real(launch, log, interpreter)
