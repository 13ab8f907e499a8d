"""How long measuring will take: from what took how long here before, else from baselines, else from rough figures."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from ..baselines.schema import Entry
from ..worker.models import REFERENCE_MODELS
from .capacity import side_by_side

USUAL_PAIRS = 4
"""Pairs that unchanged code takes where they differ by 2 to 4 %, by simulation (gate/README.md)."""

START_SECONDS = 7.0  # a worker, TensorFlow's import, the model and its optimizer, on two cores

# First batch and step in seconds at 64 px on a CPU of two cores (batch 8; CycleGAN 1, style transfer 4): TensorFlow
# 2.21, measured with this plugin on a shared virtual machine. Only an estimate needs them, and says that it is rough.
ROUGH = {
    "resnet50v2": (7.7, 0.23),
    "resnet50v2-head": (2.4, 0.07),
    "mobilenetv3": (8.7, 0.12),
    "densenet121": (22.0, 0.22),
    "cyclegan": (19.7, 0.82),
    "style-transfer": (3.2, 0.19),
}


@dataclass(frozen=True)
class Took:
    """What one workload of one test took: seconds until workers stand ready, and seconds of measuring per run.

    `guessed` where it was not timed here: from its baseline's steps and a usual start, or from rough figures.
    """

    id: str
    prepare: float
    measure: float
    guessed: bool = False

    def recorded(self, runs: int) -> float:
        """Seconds for `runs` runs, prepared side by side as `Fleet.run` does."""
        return math.ceil(runs / side_by_side()) * self.prepare + runs * self.measure

    def gated(self, second: float, most: int) -> float:
        """Seconds for a first look, and with the chance `second` for what follows it."""
        return self.recorded(1) + second * self.recorded(min(side_by_side(), most - 1))

    def replayed(self, chance: float) -> float:
        """Seconds for a first look, and with that chance for a replay of a few pairs."""
        return self.recorded(1) + chance * self.in_turn(USUAL_PAIRS)

    def in_turn(self, pairs: int) -> float:
        """Seconds for pairs of workers, prepared side by side and measured in turn; the first pair is alone."""
        rounds = 1 + math.ceil((pairs - 1) / max(1, side_by_side() // 2))
        return rounds * self.prepare * (2 if side_by_side() == 1 else 1) + pairs * 2 * self.measure


@dataclass(frozen=True)
class Expected:
    """What one test will measure: for the line before it, and for --metal-plan.

    Attributes:
        nodeid: of the test.
        id: of the workload; empty where nothing is known of it.
        runs: fresh runs that it will take, in words.
        seconds: that they will take; None is unknown.
        changed: seconds where code or packages are no more the baseline's, which is then trained again if a first look leaves
            it open; None where that makes no difference.
        stored: runs of its baseline.
        visible: the smallest slowdown that its gate sees 9 times in 10; None without a baseline.
        guessed: whether `seconds` come from no timing of this test on this machine.
    """

    nodeid: str
    id: str = ""
    runs: str = ""
    seconds: float | None = None
    changed: float | None = None
    stored: int = 0
    visible: float | None = None
    guessed: bool = False


def took(id: str, wall: float, measured: Sequence[float], beside: Sequence[float]) -> Took:  # noqa: A002
    """From the wall time of some runs, the seconds that each measured, and how many others were prepared beside each."""
    rounds = sum(1 / (1 + others) for others in beside)
    return Took(id, max(0.0, wall - sum(measured)) / rounds, sum(measured) / len(measured))


def guess(name: str, id: str, axes: Mapping[str, int], batches: int, entry: Entry | None) -> Took | None:  # noqa: A002
    """From the stored baseline, or, for a reference model without one, from rough figures; None is unknown."""
    if entry is not None:
        first = sorted(run.first_batch_seconds for run in entry.runs)[len(entry.runs) // 2]
        step = sorted(run.seconds_per_batch for run in entry.runs)[len(entry.runs) // 2]
        return Took(id, START_SECONDS + first, step * (max(batches, 10) + 4), guessed=True)
    if name not in ROUGH:
        return None
    first, step = ROUGH[name]
    quick = REFERENCE_MODELS[name].sizes["quick"]
    work = math.prod((axes.get(key, quick[key]) / quick[key]) ** power for key, power in _POWERS)
    return Took(id, START_SECONDS + first, step * work * (max(batches, 10) + 4), guessed=True)


_POWERS = (("image_size", 2), ("batch_size", 1))


def stored(took: Mapping[str, Sequence[Took]]) -> dict[str, list[list[Any]]]:
    """What the workloads of each test took, as plain values for a cache."""
    return {
        nodeid: [[one.id, round(one.prepare, 2), round(one.measure, 2)] for one in found]
        for nodeid, found in took.items()
    }


_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]


class _OneTest(msgspec.Struct):
    workloads: list[tuple[str, _Seconds, _Seconds]]


def restored(plain: Any) -> dict[str, list[Took]]:
    """What a cache brings back; anything that is not what we left there is nothing."""
    found = {}
    for nodeid, one_test in plain.items() if isinstance(plain, dict) else ():
        with contextlib.suppress(msgspec.ValidationError, ValueError):  # half a surrogate pair is a ValueError
            found[nodeid] = [Took(*one) for one in msgspec.convert({"workloads": one_test}, _OneTest).workloads]
    return found


def second_look(low: float, high: float, tolerance: float) -> float:
    """The chance that unchanged code needs a second look: that its first lies beyond the tolerance by noise alone.

    `low` and `high` are the 95 % interval of the change at one run, around no change.
    """
    return math.erfc(math.log1p(tolerance) / (_error(low, high) * math.sqrt(2)))


def replay(low: float, high: float, at_most: float, tolerance: float) -> float:
    """The chance that a first look at unchanged code is followed by a replay: that it cannot exclude twice the tolerance.

    `low` and `high` are as above, `at_most` is the change that such a look excludes when it finds no change.
    """
    room = math.log1p(2 * tolerance) - math.log1p(at_most)
    return math.erfc(room / (_error(low, high) * math.sqrt(2))) / 2


def _error(low: float, high: float) -> float:
    low, high = (max(change, -1 + 1e-15) for change in (low, high))
    return max(
        1e-9, (math.log1p(high) - math.log1p(low)) / (2 * 2.1)
    )  # Student's quantile at about 20 degrees of freedom
