"""A slowdown that a run's figure hides: the figure is of the faster half, and every k-th step may be in the other.

Gradients that are accumulated, averages of weights, a checkpoint now and then: what such a step costs more moves the mean
of all batches and not the lower half of the blocks, where a step is a block of its own. The mean is no figure to gate by,
since freezes and other load move it too, so it fails nothing: it takes ``within`` back where every fresh run shows more
of it than every stored one, without its slowest block.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MORE", "hidden_slowdown"]

MORE = 0.2
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
    before = max(mean / figure for figure, mean in stored)
    after = min(mean / figure for figure, mean in now)
    return after / before - 1 if after / before > 1 + max(MORE, tolerance) else None
