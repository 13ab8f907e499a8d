"""From files of --metal-json to the rows of the page, what somebody has to act on first."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .. import document
from ..markdown import one_line
from .measurement import of_measurement
from .past import Past
from .row import Row, key_of, whole_text
from .speedup import of_speedup


def rows(sessions: Sequence[document.Document], today: datetime.date, known: Past | None = None) -> list[Row]:
    """A row for each result, gated metric and test without a result, what somebody has to act on first."""
    found: list[Row] = []
    names = session_names(sessions)
    for number, session in enumerate(sessions):
        for place, result in enumerate(session.results):
            at = f"/{number}/results/{place}"
            if isinstance(result, document.Measurement):
                before = (known or {}).get((session.machine.id, result.workload.id))
                found += of_measurement(result, session, names[number], at, today, before)
            else:
                found.append(of_speedup(result, session, names[number], at))
        found += [_without_result(one, session, names[number]) for one in session.not_measured]
    return sorted(
        _told_apart(found), key=lambda one: (one.rank, -one.weight if math.isfinite(one.weight) else math.inf)
    )


def session_names(sessions: Sequence[document.Document]) -> list[str]:
    """What tells each from the others: its chip, else its machine, else its number and commit; empty for one alone."""
    if len(sessions) < 2:
        return [""] * len(sessions)
    for names in ([one.machine.chip for one in sessions], [one.machine.id for one in sessions]):
        if len(set(names)) == len(names) and all(names):
            return [one_line(name) for name in names]
    return [
        one_line(f"session {number}" + (f" at {one.session.commit[:10]}" if one.session.commit else ""))
        for number, one in enumerate(sessions, 1)
    ]


def _told_apart(found: Iterable[Row]) -> list[Row]:
    """Two rows of one test and workload have two links."""
    seen: dict[str, int] = {}
    told = []
    for one in found:
        seen[one.key] = count = seen.get(one.key, 0) + 1
        told.append(replace(one, key=f"{one.key}-{count}") if count > 1 else one)
    return told


def _without_result(one: document.NotMeasured, session: document.Document, name: str) -> Row:
    return Row(
        key=key_of(one.nodeid, one.how, session.machine.id),
        verdict=one.how,
        worse=one.how == "refused",
        name=one_line(one.nodeid),
        label=one_line(one.nodeid),
        device="",
        session=name,
        reason=one_line(one.reason),
        facts=[("test", one_line(one.nodeid)), ("why", whole_text(one.reason))],
    )
