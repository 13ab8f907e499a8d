"""Format 1 of the baseline file: read for ever, written no more.

Every run repeated its commit, its versions and its date; the figures are those of the first estimator, without the mean.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from .schema import (
    Anchor,
    Condition,
    Count,
    Entry,
    Fingerprint,
    Machine,
    Positive,
    RatioAnchor,
    SpeedupEntry,
    StoredPair,
    StoredRun,
    Value,
    Whole,
)


class Run1(Value, frozen=True, kw_only=True):
    """A run; a `commit` that ends in `+` was a working tree that differed from it."""

    seconds_per_batch: Positive
    lower_quartile: Positive
    upper_quartile: Positive
    batches: Count
    first_batch_seconds: Positive
    session: str
    recorded: str
    peak_memory_bytes: Whole | None = None
    joules_per_batch: float | None = None
    commit: str | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class Anchor1(Value, frozen=True, kw_only=True):
    """An anchor."""

    seconds_per_batch: Positive
    recorded: str
    commit: str | None = None


class Entry1(Value, frozen=True, kw_only=True):
    """A workload's entry."""

    anchor: Anchor1
    runs: Annotated[list[Run1], msgspec.Meta(min_length=1)]
    work: Fingerprint | None = None
    examples: Count | None = None


class Pair1(Value, frozen=True, kw_only=True):
    """A pair."""

    ratio: Positive
    session: str
    recorded: str
    commit: str | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class RatioAnchor1(Value, frozen=True, kw_only=True):
    """A speedup's anchor."""

    ratio: Positive
    recorded: str
    commit: str | None = None


class Speedup1(Value, frozen=True, kw_only=True):
    """A speedup's entry."""

    anchor: RatioAnchor1
    pairs: Annotated[list[Pair1], msgspec.Meta(min_length=1)]


class File1(Value, frozen=True, kw_only=True):
    """The file."""

    format: int
    machine: dict[str, Any]
    workloads: dict[str, Entry1]
    speedups: dict[str, Speedup1] = msgspec.field(default_factory=dict)


def expanded(file: File1, name: str) -> Machine:  # noqa: ARG001
    """What the file called `name` holds, as values."""
    return Machine(
        machine=file.machine,
        workloads={
            key: Entry(
                anchor=Anchor(**_stamped(entry.anchor)),
                runs=[StoredRun(**_stamped(run)) for run in entry.runs],
                fingerprint=entry.work,
                examples=entry.examples,
            )
            for key, entry in file.workloads.items()
        },
        speedups={
            key: SpeedupEntry(
                anchor=RatioAnchor(**_stamped(entry.anchor)),
                pairs=[StoredPair(**_stamped(pair)) for pair in entry.pairs],
            )
            for key, entry in file.speedups.items()
        },
    )


def _stamped(value: Run1 | Pair1 | Anchor1 | RatioAnchor1) -> dict[str, Any]:
    found = msgspec.structs.asdict(value)
    known = re.fullmatch(r"([0-9a-f]{4,64})(\+?)", value.commit or "")
    return found | {"commit": known and known[1], "clean": known and not known[2]}
