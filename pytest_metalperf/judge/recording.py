"""What an update stores: fresh runs and pairs, as entries of the baseline file."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from ..baselines.file import Anchor, AnyEntry, BaselineError, Entry, RatioAnchor, Recorded, SpeedupEntry, rounded
from ..report import words
from ..results.fingerprint import beside, common, fingerprint, kept_apart
from ..results.measurement import PairFigure
from ..results.run import Run
from ..workloads.workload import Workload

if TYPE_CHECKING:
    from ..session import MetalSession


def record(session: MetalSession, workload: Workload, runs: Iterable[Run], mode: str, *, force: bool = False) -> Entry:
    """Store `runs` as the baseline of `workload`: beside what is there, instead of it, or with it as the new anchor.

    Args:
        session: that measured them.
        workload: what was trained.
        runs: fresh ones.
        mode: of UPDATE_MODES.
        force: whether they may stand beside runs of other work.

    Raises:
        BaselineError: when the file cannot be written, or holds runs of other work beside which they would stand.
    """
    runs = list(runs)
    new = [run.stored(session.commit) for run in runs]
    middle = statistics.median(run.seconds_per_batch for run in new)
    anchor = Anchor(seconds_per_batch=rounded(middle), recorded=new[-1].recorded, commit=session.commit)
    work = common(fingerprint(run.work) for run in runs)
    now = {run.examples for run in runs}

    def after(old: Entry | None, mode: str) -> Entry:
        kept = old if mode == "extend" else None
        if kept is not None and not force and (other := kept_apart(kept.work, work)):
            raise BaselineError(words.not_beside(len(kept.runs), other))
        examples = now | ({kept.examples} - {None} if kept is not None else set())
        return Entry(
            anchor=old.anchor if old is not None and mode != "anchor" else anchor,
            runs=[*(kept.runs if kept is not None else ()), *new],
            work=work if kept is None else beside(kept.work, work),
            examples=examples.pop() if len(examples) == 1 else None,
        )

    return _put(session, workload.id, "workloads", len(new), mode, after)


def record_speedup(session: MetalSession, id: str, pairs: Iterable[PairFigure], mode: str) -> SpeedupEntry:  # noqa: A002
    """Store `pairs` as the baseline of the speedup called `id`, as `record` does with runs.

    Raises:
        BaselineError: when the file cannot be written.
    """
    new = [pair.stored(session.commit) for pair in pairs]
    middle = statistics.median(pair.ratio for pair in new)
    anchor = RatioAnchor(ratio=rounded(middle), recorded=new[-1].recorded, commit=session.commit)

    def after(old: SpeedupEntry | None, mode: str) -> SpeedupEntry:
        return SpeedupEntry(
            anchor=old.anchor if old is not None and mode != "anchor" else anchor,
            pairs=[*(old.pairs if old is not None and mode == "extend" else ()), *new],
        )

    return _put(session, id, "speedups", len(new), mode, after)


def _put(
    session: MetalSession,
    id: str,  # noqa: A002
    kind: Literal["workloads", "speedups"],
    count: int,
    mode: str,
    after: Callable[[AnyEntry | None, str], AnyEntry],
) -> AnyEntry:
    """Store what `after` makes of the old entry, unless an earlier test of this session stored as many runs.

    The old entry is the one that the file holds now. One that another session has stored since we read it is extended, or
    left alone where only what is missing is wanted: it is as fresh as ours.
    """
    before: Recorded[AnyEntry] | None = session.recorded.get(id)
    if before is not None and before.count >= count:
        return before.new
    known = id in getattr(session.store, kind)
    made: list[Recorded[AnyEntry]] = []

    def now(there: AnyEntry | None) -> AnyEntry:
        old, how = (there, mode) if before is None else (before.old, before.mode)
        meanwhile = before is None and there is not None and not known
        if meanwhile and mode != "missing":
            how = "extend"
        new = there if there is not None and meanwhile and mode == "missing" else after(old, how)
        made.append(Recorded(id, old, new, count, how))
        return new

    facts = {key: value for key, value in session.facts.as_dict().items() if key != "os"}  # which upgrades change
    session.store.update(id, now, {**session.extra_facts, **facts}, kind)
    session.recorded[id] = made[-1]
    return made[-1].new
