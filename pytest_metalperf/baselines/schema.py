"""What a baseline keeps, in memory: values without their form in a file.

A file repeats nothing (`format2.py`); here every run knows all of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec

FIRST_ESTIMATOR = "lower-half mean"
"""How the figures of format 1 came of their samples; the gate names what is used today."""
FIRST_PAIR_ESTIMATOR = "clipped mean of log ratios"
"""How the ratios of format 1 came of the blocks of both variants."""

Positive = Annotated[float, msgspec.Meta(gt=1e-12, lt=1e12)]
"""Seconds and ratios, none of which is near these bounds; what is computed of them stays finite."""
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Condition = float | bool | str | None
Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4,64}$")]
"""40 hexadecimal digits of git's SHA-1; format 1 kept ten of them, and SHA-256 has 64."""


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What all of them are: immutable, with named fields alone."""


class Stamped(Value, frozen=True, kw_only=True):
    """What was accepted once: a date in UTC, and the revision of the measured repository.

    `commit` is hexadecimal digits; `clean` whether the working tree was that commit, None where nobody knows.
    """

    recorded: str
    commit: str | None = None
    clean: bool | None = None

    @property
    def revision(self) -> str:
        """`1a2b3c4d5e`, with a `+` where the working tree differed from it; empty outside git."""
        return "" if self.commit is None else self.commit[:10] + ("+" if self.clean is False else "")


class StoredRun(Stamped, frozen=True, kw_only=True):
    """One run as it is kept: figures, not samples.

    Seconds are per batch, but for `first_batch_seconds`. `estimator` says how `seconds_per_batch` comes of the samples;
    figures of different estimators are never compared. `mean_seconds` is the mean of all samples, None where format 1 kept
    none. `conditions` and `versions` are provenance.
    """

    seconds_per_batch: Positive
    lower_quartile: Positive
    upper_quartile: Positive
    batches: Count
    first_batch_seconds: Positive
    session: str
    mean_seconds: Positive | None = None
    estimator: str = FIRST_ESTIMATOR
    peak_memory_bytes: Whole | None = None
    joules_per_batch: float | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class StoredPair(Stamped, frozen=True, kw_only=True):
    """One fresh pair of interleaved workers: how many times faster one was, and the provenance of both together."""

    ratio: Positive
    session: str
    estimator: str = FIRST_PAIR_ESTIMATOR
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class Anchor(Stamped, frozen=True, kw_only=True):
    """The first figure ever accepted, so that ten accepted steps of 4 % are seen as 48 %."""

    seconds_per_batch: Positive
    estimator: str = FIRST_ESTIMATOR


class RatioAnchor(Stamped, frozen=True, kw_only=True):
    """The first ratio ever accepted."""

    ratio: Positive
    estimator: str = FIRST_PAIR_ESTIMATOR


class Fingerprint(Value, frozen=True, kw_only=True):
    """The fingerprint: noise-free facts of the work. What a framework does not give is None, or empty.

    `operations` counts the operations of one step by type, `operations_on_cpu` those of them that a GPU's run does on the
    CPU; `flop` is floating-point operations a step, `traces` how often the step was traced, `memory_bytes` what the
    device's allocator needs at its peak, where that is the same in every run. `varying` names the facts (`flop`,
    `operations Mul`) in which runs that were recorded together differed: they are no facts, and are not compared.
    """

    operations: dict[str, Whole] = msgspec.field(default_factory=dict)
    operations_on_cpu: dict[str, Whole] = msgspec.field(default_factory=dict)
    flop: float | None = None
    traces: Whole | None = None
    parameters: Whole | None = None
    memory_bytes: Whole | None = None
    varying: list[str] = msgspec.field(default_factory=list)


class Accepted(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What is needed to train the accepted code again.

    `commit` is hexadecimal digits, `digest` that of the code as measured, `added` what belongs to it and git did not track
    yet, `file` the builder's, relative to the repository, `qualified_name` its name there, `stack` the file of its packages.
    """

    commit: Commit | None = None
    digest: str | None = None
    added: list[str] = msgspec.field(default_factory=list)
    file: str | None = None
    qualified_name: str | None = None
    axes: dict[str, Condition | int] | None = None
    variables: dict[str, str] | None = None
    stack: str | None = None


class Entry(Value, frozen=True, kw_only=True):
    """The baseline of one workload; `examples` are those of one batch, None where nobody can know."""

    anchor: Anchor
    runs: Annotated[list[StoredRun], msgspec.Meta(min_length=1)]
    fingerprint: Fingerprint | None = None
    examples: Count | None = None
    accepted: Accepted | None = None


class SpeedupEntry(Value, frozen=True, kw_only=True):
    """The baseline of one speedup."""

    anchor: RatioAnchor
    pairs: Annotated[list[StoredPair], msgspec.Meta(min_length=1)]

    @property
    def runs(self) -> list[StoredPair]:
        """What is compared with: a pair is to a speedup what a run is to a workload."""
        return self.pairs


class Shared(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What the runs of one session share, as the file has it: `versions` has one object for each set of packages."""

    recorded: str
    commit: Commit | None = None
    clean: bool | None = None
    versions: list[dict[str, str]] = msgspec.field(default_factory=list)
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)


class Machine(Value, frozen=True, kw_only=True):
    """One machine's baselines, by the ids of workloads and of speedups.

    `sessions` is what the file says of sessions. It is kept so that a file changes little when one entry does; every run
    knows all of its own without it.
    """

    machine: dict[str, Any]
    sessions: dict[str, Shared] = msgspec.field(default_factory=dict)
    workloads: dict[str, Entry] = msgspec.field(default_factory=dict)
    speedups: dict[str, SpeedupEntry] = msgspec.field(default_factory=dict)


AnyEntry = TypeVar("AnyEntry", Entry, SpeedupEntry)


@dataclass(frozen=True)
class Recorded(Generic[AnyEntry]):
    """What an update stored: the entry before and after, and how many runs or pairs in which mode."""

    id: str
    old: AnyEntry | None
    new: AnyEntry
    count: int
    mode: str


def rounded(value: float, digits: int = 5) -> float:
    """`value` to so many significant digits: more would be noise in every diff."""
    return float(f"{value:.{digits}g}")
