"""What `--metal-update-baselines` stores: every `--metal-update-mode` has its meaning here, and nowhere else.

| mode | stores | beside older runs | the anchor |
|---|---|---|---|
| `changed` | what is new, slower, faster, or other work | what is only new | stays |
| `missing` | what has no baseline | no | is made |
| `extend` | everything | yes | stays |
| `all` | everything | no | stays |
| `anchor` | everything | no | is made anew |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ..results.fingerprint import beside, kept_apart
from ..results.measurement import Measurement, Speedup
from .errors import BaselineError
from .file import Store
from .schema import (
    Accepted,
    Anchor,
    AnyEntry,
    Entry,
    Fingerprint,
    RatioAnchor,
    Recorded,
    SpeedupEntry,
    StoredPair,
    StoredRun,
    rounded,
)

Kind = Literal["workloads", "speedups"]

MODES = ("changed", "missing", "extend", "all", "anchor")
"""What `--metal-update-mode` may be; settings.py repeats it, since it loads with pytest and this module's types do not."""


def stores_everything(mode: str, *, known: bool) -> bool:
    """Whether all that is measured is stored, whatever the gate would say; `known`: there is a baseline to compare with."""
    return not known or mode in ("all", "anchor", "extend")


def stores_changes(mode: str) -> bool:
    """Whether what the gate found to have changed is stored."""
    return mode == "changed"


def mode_of_change(judged: Measurement | Speedup, mode: str, *, strict_work: bool = False) -> str:
    """How to store what was compared with its baseline; empty: not at all.

    What changed takes the place of what is stored. What is only new is stored beside it, and takes nothing from it.

    Args:
        judged: with the gate's verdict.
        mode: of `--metal-update-mode`, with `--metal-update-baselines`.
        strict_work: whether a fingerprint that the baseline lacks counts as new.
    """
    if not stores_changes(mode) or judged.beyond_total:
        return ""
    if _is_other_time(judged):
        return "changed"
    if isinstance(judged, Speedup) or judged.verdict == "inconclusive":  # or a slowdown would be accepted unseen
        return ""
    if any(one.changed for one in judged.metrics) or judged.fingerprint_changes:
        return "changed"
    new_work = strict_work and judged.fingerprint is not None and judged.fingerprint_before is None
    return "extend" if new_work or any(one.new for one in judged.metrics) else ""


def _is_other_time(judged: Measurement | Speedup) -> bool:
    return judged.judgement is not None and judged.judgement.verdict in ("slower", "faster")


def keeps_runs(mode: str) -> bool:
    """Whether new runs stand beside the old ones."""
    return mode == "extend"


def keeps_anchor(mode: str) -> bool:
    """Whether the first figure ever accepted stays."""
    return mode != "anchor"


class Updates:
    """What one session stores in one machine's file.

    Attributes:
        recorded: what was stored so far, by the ids of workloads and speedups.
    """

    def __init__(self) -> None:
        self.recorded: dict[str, Recorded[Any]] = {}

    def record(
        self,
        store: Store,
        id: str,  # noqa: A002
        runs: Sequence[StoredRun],
        seconds: float,
        mode: str,
        facts: Mapping[str, Any],
        *,
        fingerprint: Fingerprint | None = None,
        examples: int | None = None,
        force: bool = False,
        accept: Callable[[], Accepted | None] = lambda: None,
    ) -> Entry:
        """Store `runs` as the baseline of a workload: beside what is there, instead of it, or with it as the new anchor.

        Args:
            store: of the machine.
            id: of the workload.
            runs: fresh ones.
            seconds: what they say together in seconds per batch: the anchor, where one is made.
            mode: of `--metal-update-mode`.
            facts: of the machine.
            fingerprint: of their work.
            examples: in one batch.
            force: whether they may stand beside runs of other work.
            accept: makes the recipe of what is accepted, under the file's lock; runs that only stand beside others keep
                theirs.

        Raises:
            BaselineError: when the file cannot be written, or holds runs of other work beside which they would stand.
        """
        last = runs[-1]
        anchor = Anchor(
            seconds_per_batch=rounded(seconds),
            recorded=last.recorded,
            commit=last.commit,
            clean=last.clean,
            estimator=last.estimator,
        )

        def after(old: Entry | None, mode: str) -> Entry:
            comparable = old is not None and old.anchor.estimator == last.estimator
            kept = old if keeps_runs(mode) else None
            if kept is not None and not force and (other := kept_apart(kept.fingerprint, fingerprint)):
                raise BaselineError(_other_work(len(kept.runs), other))
            sizes = {examples} | ({kept.examples} - {None} if kept is not None else set())
            return Entry(
                anchor=old.anchor if old is not None and comparable and keeps_anchor(mode) else anchor,
                runs=[*(kept.runs if kept is not None else ()), *runs],
                fingerprint=fingerprint if kept is None else beside(kept.fingerprint, fingerprint),
                examples=sizes.pop() if len(sizes) == 1 else None,
                accepted=kept.accepted if kept is not None else accept(),
            )

        return self._put(store, id, "workloads", len(runs), mode, facts, after)

    def record_speedup(
        self,
        store: Store,
        id: str,  # noqa: A002
        pairs: Sequence[StoredPair],
        ratio: float,
        mode: str,
        facts: Mapping[str, Any],
    ) -> SpeedupEntry:
        """Store `pairs`, which say `ratio` together, as the baseline of a speedup, as `record` does with runs.

        Raises:
            BaselineError: when the file cannot be written.
        """
        last = pairs[-1]
        anchor = RatioAnchor(
            ratio=rounded(ratio),
            recorded=last.recorded,
            commit=last.commit,
            clean=last.clean,
            estimator=last.estimator,
        )

        def after(old: SpeedupEntry | None, mode: str) -> SpeedupEntry:
            comparable = old is not None and old.anchor.estimator == last.estimator
            return SpeedupEntry(
                anchor=old.anchor if old is not None and comparable and keeps_anchor(mode) else anchor,
                pairs=[*(old.pairs if old is not None and keeps_runs(mode) else ()), *pairs],
            )

        return self._put(store, id, "speedups", len(pairs), mode, facts, after)

    def _put(
        self,
        store: Store,
        id: str,  # noqa: A002
        kind: Kind,
        count: int,
        mode: str,
        facts: Mapping[str, Any],
        after: Callable[[AnyEntry | None, str], AnyEntry],
    ) -> AnyEntry:
        """Store what `after` makes of the old entry, unless an earlier test of this session stored as many runs.

        The old entry is the one that the file holds now. One that another session has stored since we read it is extended,
        or left alone where only what is missing is wanted: it is as fresh as ours.
        """
        before: Recorded[AnyEntry] | None = self.recorded.get(id)
        if before is not None and before.count >= count:
            return before.new
        known = id in getattr(store, kind)
        made: list[Recorded[AnyEntry]] = []

        def now(there: AnyEntry | None) -> AnyEntry:
            old, how = (there, mode) if before is None else (before.old, before.mode)
            meanwhile = before is None and there is not None and not known
            if meanwhile and mode != "missing":
                how = "extend"
            new = there if there is not None and meanwhile and mode == "missing" else after(old, how)
            made.append(Recorded(id, old, new, count, how))
            return new

        store.update(id, now, facts, kind)
        self.recorded[id] = made[-1]
        return made[-1].new


def _other_work(stored: int, other: Sequence[str]) -> str:
    runs = "1 stored run" if stored == 1 else f"{stored} stored runs"
    return (
        f"not recorded, and nothing stored: beside {runs} it would be other work"
        f" ({'; '.join(other)}); put it in their place by leaving --metal-update-mode out, or beside them all the same"
        " with --metal-force"
    )
