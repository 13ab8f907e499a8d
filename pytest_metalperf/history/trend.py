"""A workload's history on one machine: its points in time, where it became slower or faster, and what changed there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from ..baselines.file import hours
from ..report import words
from ..worker.machine import spoils
from .store import HistoryError, Store, StoredRun


@dataclass(frozen=True)
class Point:
    """What one hour measured of one commit: one session, or several.

    Attributes:
        started: of its first session, in UTC.
        commit: None where it is not known.
        clean: whether the working tree was that commit; None where nobody knows.
        sessions: their ids.
        hour: the first session of its hour, whose slow and fast minutes they share.
        runs: how many.
        seconds: per batch, the geometric mean of the runs.
        low: of the fastest run.
        high: of the slowest.
        versions: of packages, of the last run.
        os: of the machine.
        work: FLOP of a step and parameters, as far as they are known.
        conditions: what its runs had in common with most others, and would be told of in a verdict.
    """

    started: str
    commit: str | None
    clean: bool | None
    sessions: list[str]
    hour: str
    runs: int
    seconds: float
    low: float
    high: float
    versions: dict[str, str]
    os: str
    work: dict[str, float]
    conditions: list[str]

    @property
    def revision(self) -> str:
        """`1a2b3c4d5e`, with a `+` where the working tree differed from it; `unknown commit`."""
        return "unknown commit" if self.commit is None else self.commit[:10] + ("+" if self.clean is False else "")


@dataclass(frozen=True)
class Change:
    """A lasting change. Indices are of the history's points.

    Attributes:
        before: the last point that is before it, at 95 %.
        after: the first that is after it.
        likely: the point that it most probably begins with.
        change: seconds after over before, minus one, with a 95 % interval that holds the noise of hours too.
        differs: what else is not the same there: code, packages, system, work, conditions; empty where nothing is known to.
    """

    before: int
    after: int
    likely: int
    change: float
    change_low: float
    change_high: float
    differs: list[str]


@dataclass(frozen=True)
class History:
    """Of one workload on one machine.

    Attributes:
        points: oldest first.
        changes: oldest first.
        runs: in the points.
        sessions: in the points.
        left_out: runs that are in no point, by the reason.
    """

    machine: str
    workload: str
    points: list[Point]
    changes: list[Change]
    runs: int
    sessions: int
    left_out: dict[str, int]


def history(store: Store, machine: str, workload: str, *, changes: bool = True) -> History:
    """The history of one workload; one without points where the store knows nothing of it. Without `changes`, points alone.

    Args:
        store: an open history.
        machine: the machine's id.
        workload: its id.
        changes: whether to look for changes.

    Raises:
        HistoryError: in one sentence, for a file that cannot be read.
        NoRuptures: in one sentence, where the extra `history` is not installed.
    """
    kept, left_out = _comparable(store.runs(machine, workload))
    points = _points(kept)
    return History(
        machine=machine,
        workload=workload,
        points=[point for point, _ in points],
        changes=_changes(points) if changes and points else [],
        runs=len(kept),
        sessions=len({one.session.id for one in kept}),
        left_out=left_out,
    )


Kept = tuple[StoredRun, frozenset[str]]
"""A run, and the conditions that would spoil it among others."""


def _comparable(found: Sequence[StoredRun]) -> tuple[list[StoredRun], dict[str, int]]:
    """Runs whose seconds mean the same; and how many do not, by the reason."""
    if not found:
        return [], {}
    today = found[-1].session.estimator
    same = [one for one in found if one.session.estimator == today]
    spoiled = [
        frozenset(spoil.condition for spoil in spoils(_read(one.run.conditions), one.run.device)) for one in same
    ]
    count = Counter(name for names in spoiled for name in names)
    unusual = {name for name, times in count.items() if 2 * times < len(same)}
    kept = [one for one, names in zip(same, spoiled, strict=True) if not names & unusual]
    left_out = {"of another estimator": len(found) - len(same)}
    if len(same) > len(kept):
        touched = sorted(set().union(*(names & unusual for names in spoiled)))
        left_out[f"under conditions that most runs did not have ({', '.join(touched)})"] = len(same) - len(kept)
    return kept, {why: number for why, number in left_out.items() if number}


def _read(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise HistoryError(
            "the history holds a run whose versions or conditions are no JSON: take an unchanged copy"
        ) from None


def _points(runs: Sequence[StoredRun]) -> list[tuple[Point, list[float]]]:
    """With the seconds of their runs."""
    hour = hours(one.session.id for one in runs)

    def place(one: StoredRun) -> tuple[str, str, bool]:
        session = one.session
        alone = (
            session.commit is None or session.clean is not True
        )  # nobody knows whether two of them had the same code
        return hour[session.id], session.id if alone else session.commit or "", alone

    points = []
    for _, group in groupby(runs, place):
        some = list(group)
        seconds = [one.run.seconds_per_batch for one in some]
        first, last = some[0].session, some[-1]
        conditions = [frozenset(_clauses(one)) for one in some]
        point = Point(
            started=first.started,
            commit=first.commit,
            clean=first.clean,
            sessions=list(dict.fromkeys(one.session.id for one in some)),
            hour=hour[first.id],
            runs=len(some),
            seconds=math.exp(math.fsum(map(math.log, seconds)) / len(seconds)),
            low=min(seconds),
            high=max(seconds),
            versions={name: str(version) for name, version in _read(last.run.versions).items()},
            os=last.session.os,
            work={
                name: float(value)
                for name, value in (("FLOP", last.run.flop), ("parameters", last.run.parameters))
                if value is not None
            },
            conditions=sorted(frozenset.intersection(*conditions)),
        )
        points.append((point, seconds))
    return points


def _clauses(one: StoredRun) -> list[str]:
    return [spoil.condition for spoil in spoils(_read(one.run.conditions), one.run.device)]


def _changes(points: Sequence[tuple[Point, list[float]]]) -> list[Change]:
    from .change_points import find_steps  # scipy and ruptures: only where steps are asked for

    shown = [point for point, _ in points]
    # a name that a person edited may lie between two sessions of one hour
    hour = [number for number, (_, group) in enumerate(groupby(shown, lambda point: point.hour)) for _ in group]
    steps = find_steps([seconds for _, seconds in points], hour)
    return [
        Change(
            before=step.first - 1,
            after=step.last,
            likely=step.place,
            change=step.change,
            change_low=step.change_low,
            change_high=step.change_high,
            differs=_differs(shown[step.first - 1 : step.last + 1]),
        )
        for step in steps
    ]


def _differs(points: Sequence[Point]) -> list[str]:
    """What changed between the points, the first to the last."""
    first, last = points[0], points[-1]
    found = []
    if any(point.commit is None for point in points):
        found.append("code unknown")
    elif any(point.commit != first.commit or point.clean is not True for point in points):
        found.append("code")
    if packages := words.version_changes(first.versions, last.versions):
        found.append(f"packages: {packages}")
    if first.os != last.os:
        found.append(f"system: {first.os} -> {last.os}")
    found += [
        f"{name} {_amount(first.work, name)} -> {_amount(last.work, name)}" for name in _changed(first.work, last.work)
    ]
    if first.conditions != last.conditions:
        found.append(f"conditions: {', '.join(first.conditions) or 'none'} -> {', '.join(last.conditions) or 'none'}")
    return found


def _changed(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    return [name for name in before if name in after and before[name] != after[name]]


def _amount(work: Mapping[str, float], name: str) -> str:
    return f"{work[name]:.4g}"
