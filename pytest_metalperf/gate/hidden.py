"""A slowdown that a run's figure leaves out: in steps so far apart that not every quarter of a run has one.

What such a step costs more moves the mean of all batches. The mean is no figure to gate by, since freezes and other load
move it too, so it fails nothing: it takes ``within`` back where every fresh run shows more of it than stored ones do,
without its slowest block.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["MORE", "hidden_slowdown"]

MORE = 0.15
"""By how much the mean over the figure must have grown, at least."""
FEWEST = 2
"""Stored runs, to know how much it differs when nothing changes."""


def hidden_slowdown(
    now: Sequence[tuple[float, float]], stored: Sequence[tuple[float, float]], tolerance: float
) -> float | None:
    """By what share the mean of all batches grew beside the figure; None where noise alone could do that.

    Args:
        now: the figure of each fresh run, and its mean without the slowest block, in seconds per batch.
        stored: those of the baseline's runs that know their mean.
        tolerance: what is allowed, as a share.
    """
    if len(stored) < FEWEST or not now:
        return None
    before = median(mean / figure for figure, mean in stored)
    after = min(mean / figure for figure, mean in now)
    return after / before - 1 if after / before > 1 + max(MORE, tolerance) else None
