"""Whether a run's conditions can correct its time: control variates, judged on sessions that taught them nothing.

The logarithm of a run's figure is regressed on its conditions (Lavenberg and Welch 1981, Management Science 27:322), all
workloads of a recording together, each taken about its own mean. The slopes are shrunk by ``1 - 1/F``, to zero where the
conditions explain no more than chance (James and Stein 1961, positive part). Every session is corrected by what the
others taught.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from recordings import our_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from recordings import Recording

COVARIATES = ("stolen", "other_load", "load1")


@dataclass(frozen=True)
class Correction:
    """What runs differ by after correction, relative: from their session's mean, and from the other sessions' mean.

    ``shrinkage`` and ``slopes`` (relative change of time per unit of the covariate, shrunk) are means over held-out sessions.
    """

    within: float
    total: float
    shrinkage: float
    slopes: tuple[float, ...]


def cross_validate(recording: Recording, names: Sequence[str]) -> Correction | None:
    """Correct every session by slopes learned on the others; None where a covariate is missing from a run."""
    keys, levels, conditions = [], [], []
    for workload, sessions in recording.items():
        for session, runs in sessions.items():
            for run in runs:
                values = [run.conditions.get(name) for name in names]
                if not all(isinstance(value, (int, float)) for value in values):
                    return None
                keys.append((workload, session))
                levels.append(math.log(our_estimate(np.array(run.samples))))
                conditions.append(values)
    workload_of, session_of = (np.array(column) for column in zip(*keys, strict=True))
    y, x = np.array(levels), np.array(conditions, dtype=float).reshape(len(levels), len(names))

    deviations, shrinkages, slopes = np.empty_like(y), [], []
    for held_out in np.unique(session_of):
        known = session_of != held_out
        about = {
            name: (x[known & (workload_of == name)].mean(axis=0), y[known & (workload_of == name)].mean())
            for name in recording
        }
        dx = x - np.array([about[name][0] for name in workload_of])
        dy = y - np.array([about[name][1] for name in workload_of])
        slope, shrinkage = shrunk_slopes(dx[known], dy[known], len(about))
        deviations[~known] = (dy - dx @ slope)[~known]
        shrinkages.append(shrinkage)
        slopes.append(slope)

    groups = [
        deviations[(workload_of == workload) & (session_of == session)] for workload, session in dict.fromkeys(keys)
    ]
    within = sum(float(np.var(group)) * group.size for group in groups) / (y.size - len(groups))
    return Correction(
        within=math.sqrt(within),
        total=math.sqrt(float(np.mean(deviations**2))),
        shrinkage=float(np.mean(shrinkages)),
        slopes=tuple(np.mean(slopes, axis=0).tolist()),
    )


def shrunk_slopes(x: NDArray, y: NDArray, means: int) -> tuple[NDArray, float]:
    """Least squares slopes of centred data, shrunk, and the factor; ``means`` is how many means were taken off."""
    count = x.shape[1]
    if count == 0:
        return np.zeros(0), 0.0
    slopes = np.linalg.lstsq(x, y, rcond=None)[0]
    fitted = x @ slopes
    explained, left = float(fitted @ fitted) / count, float(np.sum((y - fitted) ** 2)) / (y.size - means - count)
    shrinkage = max(0.0, 1 - left / explained) if explained > 0 else 0.0
    return slopes * shrinkage, shrinkage
