"""What a GPU said of itself over a run: evenly spaced points, never too many of them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

INTERVAL = 0.5  # seconds between two points of a run that is not long
MOST_POINTS = 300


class Point(NamedTuple):
    """One moment; None is unknown."""

    seconds: float
    """Since the start."""
    clock_mhz: int | None = None
    power_w: float | None = None
    temperature: int | None = None
    """Degrees Celsius."""
    busy: float | None = None
    """Share of the moments before, in which the GPU ran a kernel."""


class Trace:
    """Points at least half a second apart. When there are 300, every other one is dropped and the distance doubles.

    So a run of ten minutes ends with a point every 4 s, one of an hour with one every 16 s.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.interval = INTERVAL
        self.due = INTERVAL
        """Seconds since the start before which no further point is wanted."""

    def add(self, point: Point) -> None:
        """Take a point that was due."""
        self.points.append(point)
        if len(self.points) == MOST_POINTS:
            self.points = self.points[1::2]
            self.interval *= 2
        self.due = point.seconds + self.interval

    def median_clock(self) -> float | None:
        """Of the points that know it, in MHz."""
        return _median(point.clock_mhz for point in self.points)

    def median_power(self) -> float | None:
        """Of the points that know it, in watts."""
        return _median(point.power_w for point in self.points)

    def median_busy(self) -> float | None:
        """Of the points that know it, a share of the time."""
        return _median(point.busy for point in self.points)


def _median(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.median(known) if known else None
