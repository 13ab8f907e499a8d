"""What the page shows of the past: a workload's points over its sessions, and where it became slower or faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...history.store import Store
from ...history.trend import History, history
from ...history.words import change as described
from ...worker.clock import RealTime
from .. import document, words
from ..markdown import one_line
from .row import Chart

MOST_POINTS = 200
"""Of one workload: the newest, which are what a person looks at."""
SECONDS = 10.0
"""That looking for changes may take; workloads after that show points alone."""

Past = Mapping[tuple[str, str], History]
"""By machine and workload."""


def past(path: Path, sessions: Sequence[document.Document]) -> Past:
    """What a file of --metal-history knows of the workloads of these sessions.

    Raises:
        HistoryError: in one sentence, for a file that cannot be read.
    """
    found: dict[tuple[str, str], History] = {}
    until = RealTime.monotonic() + SECONDS
    with Store(path) as store:
        for session in sessions:
            for result in session.results:
                if isinstance(result, document.Measurement):
                    key = session.machine.id, result.workload.id
                    if key not in found:
                        found[key] = _history(store, *key, changes=RealTime.monotonic() < until)
    return found


def _history(store: Store, machine: str, workload: str, *, changes: bool) -> History:
    from ...history.change_points import NoRuptures  # scipy's statistics: only where there is a history

    try:
        return history(store, machine, workload, changes=changes)
    except NoRuptures:
        return history(store, machine, workload, changes=False)


def chart_of(found: History) -> Chart | None:
    """The picture of a history; None where it is shorter than two points."""
    first = max(0, len(found.points) - MOST_POINTS)
    points = [
        {
            "started": one_line(point.started),
            "seconds": point.seconds,
            "low": point.low,
            "high": point.high,
            "commit": one_line(point.revision),
        }
        for point in found.points[first:]
    ]
    if len(points) < 2:
        return None
    changes = [
        {
            "started": one_line(found.points[change.likely].started),
            "change": change.change,
            "text": words.percent(change.change, sign=True),
        }
        for change in found.changes
        if change.likely >= first
    ]
    said = f"A dot is what an hour measured of a commit; {words.plural(found.sessions, 'session')}."
    said += " A line is where it changed." if changes else ""
    return Chart("history", "Its history", said, data={"points": points, "changes": changes})


def facts_of(found: History) -> list[tuple[str, str]]:
    """Where it changed, the last first."""
    told = []
    for change in reversed(found.changes):
        differs = "; ".join(change.differs) or "nothing that is known"
        told.append(f"{described(found, change)}: {differs}")
    return [("history", "\n".join(map(one_line, told)))] if told else []
