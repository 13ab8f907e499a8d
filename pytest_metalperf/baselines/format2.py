"""Format 2 of the baseline file: made to be read and reviewed in git.

A run is one line. What a session shares (commit, date, versions, the conditions that were the same in all of its runs) is
written once, under `sessions`, and a run names its session; where a run says otherwise, its own word counts.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from .errors import Damaged, quoted
from .schema import (
    Accepted,
    Anchor,
    AnyEntry,
    Commit,
    Condition,
    Count,
    Entry,
    Fingerprint,
    Machine,
    Positive,
    RatioAnchor,
    Shared,
    SpeedupEntry,
    StoredPair,
    StoredRun,
    Value,
    Whole,
)

FORMAT = 2
Index = Annotated[int, msgspec.Meta(ge=0)]


class Measured2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What runs and pairs have in common; `versions` is the place in the session's list."""

    session: str
    estimator: str
    versions: Index = 0
    recorded: str | UnsetType = UNSET
    commit: Commit | UnsetType | None = UNSET
    clean: bool | UnsetType | None = UNSET
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class Run2(Measured2, frozen=True, kw_only=True, omit_defaults=True):
    """A run."""

    seconds_per_batch: Positive
    lower_quartile: Positive
    upper_quartile: Positive
    batches: Count
    first_batch_seconds: Positive
    mean_seconds: Positive | None = None
    peak_memory_bytes: Whole | None = None
    joules_per_batch: float | None = None


class Pair2(Measured2, frozen=True, kw_only=True, omit_defaults=True):
    """A pair."""

    ratio: Positive


class Stamped2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What anchors have in common."""

    recorded: str
    estimator: str
    commit: Commit | None = None
    clean: bool | None = None


class Anchor2(Stamped2, frozen=True, kw_only=True, omit_defaults=True):
    """A workload's anchor."""

    seconds_per_batch: Positive


class RatioAnchor2(Stamped2, frozen=True, kw_only=True, omit_defaults=True):
    """A speedup's anchor."""

    ratio: Positive


class Fingerprint2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The fingerprint (`schema.Work`)."""

    operations: dict[str, Whole] = msgspec.field(default_factory=dict)
    operations_on_cpu: dict[str, Whole] = msgspec.field(default_factory=dict)
    flop: float | None = None
    traces: Whole | None = None
    parameters: Whole | None = None
    memory_bytes: Whole | None = None
    varying: list[str] = msgspec.field(default_factory=list)


class Entry2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A workload's entry."""

    anchor: Anchor2
    runs: Annotated[list[Run2], msgspec.Meta(min_length=1)]
    work: Fingerprint2 | None = None
    examples: Count | None = None
    accepted: Accepted | None = None


class Speedup2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A speedup's entry."""

    anchor: RatioAnchor2
    pairs: Annotated[list[Pair2], msgspec.Meta(min_length=1)]


class File2(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The file."""

    format: Literal[2]
    machine: dict[str, Any]
    sessions: dict[str, Shared]
    workloads: dict[str, Entry2]
    speedups: dict[str, Speedup2] = msgspec.field(default_factory=dict)


# read


def expanded(file: File2, name: str) -> Machine:
    """What the file called `name` holds, as values: every run knows all of its own.

    Raises:
        Damaged: for a run whose session, or whose versions, the file does not hold.
    """
    return Machine(
        machine=file.machine,
        sessions=file.sessions,
        workloads={key: _entry(key, entry, file.sessions, name) for key, entry in file.workloads.items()},
        speedups={key: _speedup(key, entry, file.sessions, name) for key, entry in file.speedups.items()},
    )


def _entry(key: str, entry: Entry2, sessions: Mapping[str, Shared], name: str) -> Entry:
    runs = []
    for index, run in enumerate(entry.runs):
        shared = _shared(run, sessions, name, "workloads", key, f"runs[{index}]")
        runs.append(
            StoredRun(
                seconds_per_batch=run.seconds_per_batch,
                lower_quartile=run.lower_quartile,
                upper_quartile=run.upper_quartile,
                batches=run.batches,
                first_batch_seconds=run.first_batch_seconds,
                session=run.session,
                mean_seconds=run.mean_seconds,
                estimator=run.estimator,
                peak_memory_bytes=run.peak_memory_bytes,
                joules_per_batch=run.joules_per_batch,
                recorded=shared.recorded if run.recorded is UNSET else run.recorded,
                commit=shared.commit if run.commit is UNSET else run.commit,
                clean=shared.clean if run.clean is UNSET else run.clean,
                versions=shared.versions[run.versions] if shared.versions else {},
                conditions=_both(shared.conditions, run.conditions),
            )
        )
    return Entry(
        anchor=Anchor(**msgspec.structs.asdict(entry.anchor)),
        runs=runs,
        fingerprint=None if entry.work is None else Fingerprint(**msgspec.structs.asdict(entry.work)),
        examples=entry.examples,
        accepted=entry.accepted,
    )


def _speedup(key: str, entry: Speedup2, sessions: Mapping[str, Shared], name: str) -> SpeedupEntry:
    pairs = []
    for index, pair in enumerate(entry.pairs):
        shared = _shared(pair, sessions, name, "speedups", key, f"pairs[{index}]")
        pairs.append(
            StoredPair(
                ratio=pair.ratio,
                session=pair.session,
                estimator=pair.estimator,
                recorded=shared.recorded if pair.recorded is UNSET else pair.recorded,
                commit=shared.commit if pair.commit is UNSET else pair.commit,
                clean=shared.clean if pair.clean is UNSET else pair.clean,
                versions=shared.versions[pair.versions] if shared.versions else {},
                conditions=_both(shared.conditions, pair.conditions),
            )
        )
    return SpeedupEntry(anchor=RatioAnchor(**msgspec.structs.asdict(entry.anchor)), pairs=pairs)


def _both(shared: dict[str, Condition], own: dict[str, Condition]) -> dict[str, Condition]:
    """What a run knows of its conditions; a copy is made only where it says anything of its own."""
    return {**shared, **own} if shared and own else shared or own


def _shared(run: Measured2, sessions: Mapping[str, Shared], name: str, kind: str, key: str, run_path: str) -> Shared:
    """What the session of a run shares."""
    found = sessions.get(run.session)
    if found is not None and run.versions < max(1, len(found.versions)):
        return found
    place = f"{name}: $.{kind}[{quoted(key)}].{run_path}"
    if found is None:
        raise Damaged(f"{place}.session: is {quoted(run.session)}, which `sessions` does not hold")
    raise Damaged(f"{place}.versions: is {run.versions}, and its session has {len(found.versions)} sets of versions")


# written


class Lines:
    """The lines of entries as they were last rendered: in a file of a thousand, an update of one costs little."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, list[Shared], bytes]] = {}

    def of(
        self,
        key: str,
        entry: AnyEntry,
        sessions: Mapping[str, Shared],
        made: Callable[[AnyEntry, Mapping[str, Shared]], list[bytes]],
    ) -> list[bytes]:
        """Those of an entry, made anew unless it and what its sessions share are the very objects of the last time."""
        shared = [sessions[run.session] for run in entry.runs]
        known = self._known.get(key)
        if known is None or known[0] is not entry or not all(map(operator.is_, known[1], shared)):
            known = self._known[key] = entry, shared, b"".join(made(entry, sessions))
        return [known[2]]


def rendered(machine: Machine, lines: Lines | None = None) -> bytes:
    """The file's bytes: sorted, a line per run, per session and per fact of an entry, a newline at the end.

    Args:
        machine: what it holds.
        lines: of the last time, where `machine` is with shared facts.

    Raises:
        TypeError, ValueError: for a figure that JSON does not have.
    """
    sessions = machine.sessions if lines is not None else with_shared_facts(machine).sessions
    lines = lines or Lines()
    out = [b'{\n "format": 2,\n "machine": ', _facts(machine.machine), b',\n "sessions": ']
    out += _object({key: [_line(shared)] for key, shared in sessions.items()}, b"\n  ")
    if machine.speedups:
        out.append(b',\n "speedups": ')
        out += _object(
            {key: lines.of(key, one, sessions, _speedup_lines) for key, one in machine.speedups.items()}, b"\n  "
        )
    out.append(b',\n "workloads": ')
    out += _object({key: lines.of(key, one, sessions, _entry_lines) for key, one in machine.workloads.items()}, b"\n  ")
    return b"".join([*out, b"\n}\n"])


def with_shared_facts(machine: Machine, before: Machine | None = None) -> Machine:
    """With what the runs of each session share; sessions to which no run refers are gone.

    What the file said of a session before stands, less what does not hold for all of its runs any more: so nothing changes
    in the lines of runs that stay when others go.

    Args:
        machine: any.
        before: what it was made of, with shared facts: entries that are there already are not looked at again.
    """
    seen = set() if before is None else {*map(id, before.workloads.values()), *map(id, before.speedups.values())}
    runs: dict[str, list[StoredRun | StoredPair]] = {}
    for entry in (*_sorted(machine.workloads), *_sorted(machine.speedups)):
        for run in entry.runs:
            fresh = runs.setdefault(run.session, [])
            if id(entry) not in seen or run.session not in machine.sessions:
                fresh.append(run)
    sessions = {key: _shared_by(runs[key], machine.sessions.get(key)) for key in sorted(runs)}
    return msgspec.structs.replace(machine, sessions=sessions)


def _sorted(entries: Mapping[str, Entry | SpeedupEntry]) -> Iterable[Entry | SpeedupEntry]:
    return (entries[key] for key in sorted(entries))


def _shared_by(runs: list[StoredRun | StoredPair], before: Shared | None) -> Shared:
    if before is None:
        first = runs[0]
        before = Shared(
            recorded=first.recorded, commit=first.commit, clean=first.clean, conditions=dict(first.conditions)
        )
    versions, conditions = list(before.versions), dict(before.conditions)
    for run in runs:
        if run.versions not in versions:
            versions.append(run.versions)
        for key in [key for key, value in conditions.items() if not _same(run.conditions.get(key, UNSET), value)]:
            del conditions[key]
    if (versions, conditions) == (before.versions, before.conditions):
        return before
    return msgspec.structs.replace(before, versions=versions, conditions=conditions)


def _same(one: object, other: object) -> bool:
    return one is other or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _entry_lines(entry: Entry, sessions: Mapping[str, Shared]) -> list[bytes]:
    fields: dict[str, list[bytes]] = {
        "anchor": [_line(Anchor2(**msgspec.structs.asdict(entry.anchor)))],
        "runs": _list([_line(_compact_run(run, sessions[run.session])) for run in entry.runs], b"\n    "),
    }
    if entry.accepted is not None:
        fields["accepted"] = [_line(entry.accepted)]
    if entry.examples is not None:
        fields["examples"] = [_line(entry.examples)]
    if entry.fingerprint is not None:
        fields["work"] = [_line(Fingerprint2(**msgspec.structs.asdict(entry.fingerprint)))]
    return _object(fields, b"\n   ")


def _speedup_lines(entry: SpeedupEntry, sessions: Mapping[str, Shared]) -> list[bytes]:
    pairs = [_line(_compact_pair(pair, sessions[pair.session])) for pair in entry.pairs]
    fields = {
        "anchor": [_line(RatioAnchor2(**msgspec.structs.asdict(entry.anchor)))],
        "pairs": _list(pairs, b"\n    "),
    }
    return _object(fields, b"\n   ")


def _compact_run(run: StoredRun, shared: Shared) -> Run2:
    return Run2(
        seconds_per_batch=run.seconds_per_batch,
        lower_quartile=run.lower_quartile,
        upper_quartile=run.upper_quartile,
        batches=run.batches,
        first_batch_seconds=run.first_batch_seconds,
        session=run.session,
        mean_seconds=run.mean_seconds,
        estimator=run.estimator,
        peak_memory_bytes=run.peak_memory_bytes,
        joules_per_batch=run.joules_per_batch,
        recorded=UNSET if run.recorded == shared.recorded else run.recorded,
        commit=UNSET if run.commit == shared.commit else run.commit,
        clean=UNSET if run.clean == shared.clean else run.clean,
        versions=shared.versions.index(run.versions),
        conditions=_own(run.conditions, shared),
    )


def _compact_pair(pair: StoredPair, shared: Shared) -> Pair2:
    return Pair2(
        ratio=pair.ratio,
        session=pair.session,
        estimator=pair.estimator,
        recorded=UNSET if pair.recorded == shared.recorded else pair.recorded,
        commit=UNSET if pair.commit == shared.commit else pair.commit,
        clean=UNSET if pair.clean == shared.clean else pair.clean,
        versions=shared.versions.index(pair.versions),
        conditions=_own(pair.conditions, shared),
    )


def _own(conditions: Mapping[str, Condition], shared: Shared) -> dict[str, Condition]:
    """What is not shared; JSON has no nan, and msgspec would write null for it."""
    for key, value in conditions.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
    return {key: value for key, value in conditions.items() if key not in shared.conditions}


_ENCODER = msgspec.json.Encoder(order="sorted")


def _line(value: object) -> bytes:
    """A value on one line."""
    return msgspec.json.format(_ENCODER.encode(value), indent=0)


def _facts(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _object(values: Mapping[str, list[bytes]], newline: bytes) -> list[bytes]:
    """An object, a key per line; `newline` ends with the indentation of its keys."""
    if not values:
        return [b"{}"]
    out, separator = [], b"{"
    for key in sorted(values):
        out += [separator, newline, _ENCODER.encode(key), b": ", *values[key]]
        separator = b","
    return [*out, newline[:-1], b"}"]


def _list(lines: list[bytes], newline: bytes) -> list[bytes]:
    return [b"[", newline, (b"," + newline).join(lines), newline[:-1], b"]"]
