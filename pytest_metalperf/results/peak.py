"""Which share of its device's peak a training step reaches: its FLOP/s over the rate of a large product.

The share is the model FLOP utilization (MFU) of Chowdhery et al. 2022 (PaLM, arXiv:2204.02311, appendix B) with a peak that was
measured in the place of the vendor's: the rate of a large product of matrices, by the same process on the same device in the
arithmetic that trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .run import Run


@dataclass(frozen=True)
class Peak:
    """The rate of products on a device.

    Attributes:
        flop_per_second: None is unknown.
        arithmetic: in which they were computed, `bfloat16` or `float32 (TF32 allowed)`; empty where it is unknown.
        reason: why it is unknown, as a clause that a framework gave; empty otherwise.
    """

    flop_per_second: float | None = None
    arithmetic: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Share:
    """The share of the peak (0.61 is 61 %), or None and the reason, one sentence."""

    share: float | None
    reason: str = ""


def peak_of(runs: Iterable[Run]) -> Peak:
    """The fastest product that these runs have measured: whatever disturbs one makes it slower."""
    runs = list(runs)
    known = [(run.product_rate, run.product_arithmetic) for run in runs if run.product_rate]
    if known:
        return Peak(*max(known))
    return Peak(reason=next((run.no_product for run in runs if run.no_product), ""))


def share(flop_per_second: float | None, peak: Peak, *, again: bool = False) -> Share:
    """Achieved over possible, where both are known and fit each other.

    Args:
        flop_per_second: of the step; None is unknown.
        peak: of its device.
        again: whether the step computes values again that it has computed before (gradient checkpointing): these are the
            hardware's FLOP, not the model's.
    """
    if flop_per_second is None:
        return Share(None, "the FLOP of its step are unknown")
    if again:
        return Share(None, "remat computes values again, and the FLOP of that are not the model's")
    if peak.flop_per_second is None:
        if peak.reason:
            return Share(None, f"the rate of a product could not be measured: {peak.reason}")
        return Share(None, "no rate of a product was measured: only a fresh run of its own does that, not runs in turn")
    reached = flop_per_second / peak.flop_per_second
    if reached > 1:
        return Share(
            None,
            f"its FLOP/s are {reached:.3g} times the rate of a product in {peak.arithmetic}, so one of the two is not what its"
            " name says (a convolution may take fewer operations than are counted)",
        )
    return Share(reached)
