"""What a session may spend on answers that a first look does not give."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..worker.clock import RealTime


@dataclass
class Budget:
    """The time for replays and further looks of one session.

    Attributes:
        seconds: that they may take together; None is any number.
    """

    seconds: float | None = None
    _spent: float = 0.0
    _since: float | None = None

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left; what runs counts."""
        running = 0.0 if self._since is None else RealTime.monotonic() - self._since
        return self.seconds is not None and self._spent + running >= self.seconds

    @property
    def spent(self) -> float:
        """Seconds so far; what runs does not count yet."""
        return self._spent

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens meanwhile."""
        self._since = RealTime.monotonic()
        try:
            yield
        finally:
            self._spent += RealTime.monotonic() - self._since
            self._since = None
