"""Letting a hot machine cool down before a run, for a bounded time."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from . import macos, nvidia
from .conditions import spoils

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS = 120.0
"""A machine that is not cool by then is measured all the same, and its conditions say so."""
LOOK_SECONDS = 5.0


def heat(device: str) -> str:
    """What heat holds back now what trains on `device`, in words; empty for nothing, and where nobody can tell.

    A Mac's pressure counts from `heavy` on, as it does among conditions, and an NVIDIA GPU's thermal slowdown.
    """
    if sys.platform == "darwin":
        return "; ".join(spoil.clause for spoil in spoils({"thermal": macos.pressure()}))
    return nvidia.heat(gpu.reasons() or 0 for gpu in nvidia.watched(device))


def cool_down(
    look: Callable[[], str],
    waiting: Callable[[str, float], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until `look` finds no heat any more, at most two minutes; returns the seconds waited.

    `waiting` hears what heat there is and the seconds waited so far, at each look.
    """
    since = clock()
    while (found := look()) and (waited := clock() - since) < MOST_SECONDS:
        waiting(found, waited)
        sleep(min(LOOK_SECONDS, MOST_SECONDS - waited))
    return clock() - since
