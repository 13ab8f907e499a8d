"""Whether runs may be compared with stored ones, or be stored at all: what the conditions of each say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..worker.machine import Spoil, spoils, worse

if TYPE_CHECKING:
    from ..gate import Judgement

Conditions = Mapping[str, object]
YOUNGER = ("background", "gpu_other")
"""Conditions that baselines of earlier versions know nothing of."""
MOST = 0.5
"""Of the runs that are stored: where load touched more of them, they are not the code's time."""
LESS_IS_WORSE = ("memory_free", "gpu_memory_free", "gpu_busy", "gpu_clock_mhz")
OF_A_GPU = ("throttled", "virtual_gpu", "gpu_other")


class Ran(Protocol):
    """A run, as far as this module looks at it."""

    @property
    def conditions(self) -> Conditions: ...


AnyRun = TypeVar("AnyRun", bound=Ran)


def under_conditions(
    runs: Sequence[AnyRun],
    stored: Sequence[Conditions],
    device: str,
    judge: Callable[[Sequence[AnyRun]], Judgement],
    most: int,
    excused: Collection[str] = ("slower",),
) -> Judgement:
    """The gate's judgement of fresh runs, less what their conditions take back of it.

    A state that lasts makes any comparison inconclusive. Load makes nothing faster, so it excuses a slowdown alone, and only
    one that the runs which it did not touch do not show too.

    Args:
        runs: fresh ones, at least one.
        stored: conditions of the baseline's runs.
        device: that was trained on.
        judge: the gate, on some of the runs.
        most: fresh runs that one verdict may take.
        excused: verdicts that load can bring about.
    """
    judgement = judge(runs)
    if why := _clauses([s for run in runs for s in unusual(run.conditions, stored, device) if not s.passing]):
        return replace(judgement, verdict="inconclusive", decided=True, reason=f"{why}; the baseline was not")
    if judgement.verdict not in excused:
        return judgement
    quiet = under_known_conditions(runs, stored, device)
    if len(quiet) == len(runs) or (quiet and judge(quiet).verdict == judgement.verdict):
        return judgement
    loads = [_clauses([s for s in unusual(run.conditions, stored, device) if s.passing]) for run in runs]
    shown = next(load for load in reversed(loads) if load)
    reason = f"{shown} in {len(runs) - len(quiet)} of {len(runs)} run{'s' if len(runs) > 1 else ''}"
    return replace(judgement, verdict="inconclusive", decided=len(runs) >= most, reason=reason)


def under_known_conditions(runs: Sequence[AnyRun], stored: Sequence[Conditions], device: str) -> list[AnyRun]:
    """Those of `runs` that no unusual load touched."""
    return [run for run in runs if not any(spoil.passing for spoil in unusual(run.conditions, stored, device))]


def unusual(fresh: Conditions, stored: Sequence[Conditions], device: str) -> list[Spoil]:
    """What spoils a fresh run and did not spoil at least half of the stored ones as well: like compares with like.

    Of a condition that is younger than the format, stored runs that do not know it are not asked; where none does, it may
    have been the same then.
    """
    found = []
    for spoil in spoils(fresh, device):
        asked = [one for one in stored if spoil.condition not in YOUNGER or spoil.condition in one]
        same = sum(spoil.condition in {before.condition for before in spoils(one, device)} for one in asked)
        if (asked or not stored or spoil.condition not in YOUNGER) and 2 * same < max(1, len(asked)):
            found.append(spoil)
    return found


def of_pair(*sides: tuple[str, Conditions]) -> dict[str, Any]:
    """The conditions of a pair: of each the worse of both sides' (device, conditions).

    A GPU's state does not spoil what trains on the CPU.
    """
    found: dict[str, Any] = {}
    for device, conditions in sides:
        for key, value in conditions.items():
            if device != "cpu" or key not in OF_A_GPU:
                found[key] = _worse(key, found[key], value) if key in found else value
    return found


def _worse(key: str, one: object, other: object) -> object:
    if key == "throttled":
        reasons = [reason for text in (one, other) if isinstance(text, str) for reason in text.split(", ") if reason]
        return ", ".join(dict.fromkeys(reasons)) or (None if None in (one, other) else "")
    figures = [value for value in (one, other) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if not figures or key.startswith("speed_limit"):
        return worse(key, one, other)
    return min(figures) if key in LESS_IS_WORSE else max(figures)


def load(runs: Sequence[Ran], device: str) -> str:
    """What took time from these runs; empty if nothing did. Another process on the GPU may do nothing there."""
    found = [spoil for spoil in _worst(runs, device) if spoil.passing]
    return _clauses([spoil for spoil in found if spoil.condition != "gpu_processes"])


def under_load(runs: Sequence[Ran], device: str) -> str:
    """What took time from more than half of these runs; empty where most had none of it."""
    touched = [run for run in runs if load([run], device)]
    if len(touched) <= MOST * len(runs):
        return ""
    return f"{load(touched, device)} (at worst; in {len(touched)} of {len(runs)} runs)"


def least_loaded(runs: Sequence[AnyRun], device: str, count: int) -> list[AnyRun]:
    """So many of these runs, in their order: those without load first."""
    chosen = sorted(range(len(runs)), key=lambda i: bool(load([runs[i]], device)))[:count]
    return [runs[i] for i in sorted(chosen)]


def refusal(runs: Sequence[Ran], device: str) -> str:
    """Why runs are not stored: what a person can remove; empty if there is nothing."""
    return _clauses([spoil for spoil in _worst(runs, device) if spoil.removable])


def _worst(runs: Sequence[Ran], device: str) -> list[Spoil]:
    """What spoils any of these runs, each condition once, with the figure of the run that had most of it."""
    spoiled = [run for run in runs if spoils(run.conditions, device)]
    return spoils(of_pair(*((device, run.conditions) for run in spoiled)), device)


def _clauses(found: Sequence[Spoil]) -> str:
    return "; ".join(dict.fromkeys(spoil.clause for spoil in found))
