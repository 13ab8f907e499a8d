"""How long a session waited, and what for: of a contended session that is most of the time."""

from __future__ import annotations

from ..worker.clock import RealTime
from ..worker.lock import WAITING
from .plan import Progress


class Waits:
    """What a session waited for so far.

    Attributes:
        lock: seconds in which other measurements had the machine.
        slow_minutes: seconds between a suspicious look and the next.
    """

    def __init__(self) -> None:
        self.lock = 0.0
        self.slow_minutes = 0.0
        self._met: list[str] = []
        self._counted_until = 0.0

    def observe(self, progress: Progress | None) -> None:
        """Take how far a measurement is; `progress.i` are the seconds that it has waited by now.

        Several workers wait side by side: their time counts once.
        """
        if progress is None or not progress.phase.startswith(WAITING):
            return
        now = RealTime.monotonic()
        self.lock += now - max(now - progress.i, self._counted_until)
        self._counted_until = now
        if whom := progress.phase[len(WAITING) :].strip(" ()"):
            self._met.append(whom)

    @property
    def whom(self) -> list[str]:
        """Who had the machine, where that is known, in the order in which they were met."""
        return list(dict.fromkeys(self._met))

    def mark(self) -> tuple[float, int]:
        """A moment, for `since`."""
        return self.lock + self.slow_minutes, len(self._met)

    def since(self, mark: tuple[float, int]) -> tuple[float, list[str]]:
        """The seconds waited since a moment, and for whom."""
        seconds, met = mark
        return self.lock + self.slow_minutes - seconds, list(dict.fromkeys(self._met[met:]))
