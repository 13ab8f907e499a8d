"""Whether runs may be compared with stored ones, or be stored at all: what the conditions of each say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .measurement import Run
from .worker.machine import Spoil, spoils

Conditions = Mapping[str, object]


def unusual(fresh: Conditions, stored: Sequence[Conditions], device: str) -> list[Spoil]:
    """What spoils a fresh run and did not spoil at least half of the stored ones as well: like compares with like."""
    before = [{spoil.condition for spoil in spoils(one, device)} for one in stored]
    return [
        spoil
        for spoil in spoils(fresh, device)
        if 2 * sum(spoil.condition in kinds for kinds in before) < max(1, len(before))
    ]


def meaningless(runs: Sequence[Run], stored: Sequence[Conditions], device: str) -> str:
    """Why a comparison with stored runs means nothing: a state that lasts, such as battery; empty if there is none."""
    found = [spoil for run in runs for spoil in unusual(run.conditions, stored, device) if not spoil.passing]
    return _clauses(found)


def loaded(run: Run, stored: Sequence[Conditions], device: str) -> str:
    """What slowed a run that comes and goes: stolen time, other processes; empty if nothing did."""
    return _clauses([spoil for spoil in unusual(run.conditions, stored, device) if spoil.passing])


def refusal(runs: Sequence[Run], device: str) -> str:
    """Why runs are not stored: what a person can remove; empty if there is nothing."""
    return _clauses([spoil for run in runs for spoil in spoils(run.conditions, device) if spoil.removable])


def _clauses(found: Sequence[Spoil]) -> str:
    return "; ".join(dict.fromkeys(spoil.clause for spoil in found))
