"""The file of --metal-json: what a session measured, as one tree of values; read strictly, and its schema.

`document.schema.json` beside this module is the JSON Schema of `Document`; a page, a comparison and a history are made of
such a file alone. Times are in seconds, seconds of a run are per batch, shares are 0.05 for 5 %. What is not known is null or
left out: no number is infinite or NaN.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ..baselines.errors import cut, printable
from ..baselines.schema import Count, Entry, Fingerprint, Positive, SpeedupEntry, Whole
from ..baselines.writing import regular

VERSION = 1
MOST_BYTES = 64_000_000
"""Of a file: 200 workloads of 5 runs of 100 samples are 4 MB."""
MOST_VALUES = 6_000_000
"""In one file: a value of ours takes 15 bytes or more. Shorter ones would take many times the file's size in memory."""

Plain = float | bool | str | None
Share = float
Tolerance = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Seconds = float
Rate = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What all of them are: immutable, with named fields alone."""


class Session(Value, frozen=True, kw_only=True):
    """One invocation of pytest. `started` and `written` are UTC; `clean` is whether the working tree was that commit.

    `state` is `running` in a file that a killed session left, and `interrupted` after Ctrl-C or SIGTERM.
    """

    id: str
    started: str
    written: str
    state: Literal["running", "finished", "interrupted"]
    plugin: str
    commit: str | None = None
    clean: bool | None = None


class Machine(Value, frozen=True, kw_only=True):
    """The machine that trained. `added` is what hooks of the suite say of it."""

    id: str
    system: str
    chip: str
    model: str
    cores: str
    memory_gb: int
    gpus: list[str]
    os: str
    virtual: bool | None = None
    rosetta: bool | None = None
    added: dict[str, str] = msgspec.field(default_factory=dict)


class Options(Value, frozen=True, kw_only=True):
    """What was asked of the whole session."""

    metal: str
    update_baselines: bool = False
    update_mode: str = "changed"
    against: str = ""
    budget: Seconds | None = None
    force: bool = False
    host: str = ""


class Gate(Value, frozen=True, kw_only=True):
    """What the gate promises, by design, and how figures come of samples; those of other estimators are not compared."""

    estimator: str
    pair_estimator: str
    alarm_rate: Share
    tolerance_alarm_rate: Share
    power: Share


class Cost(Value, frozen=True, kw_only=True):
    """What the session took so far: processes that measured, and seconds of which some were spent waiting."""

    seconds: Seconds
    runs: int
    pairs: int
    waited_for_others: Seconds = 0.0
    waited_for: list[str] = msgspec.field(default_factory=list)
    waited_for_slow_minutes: Seconds = 0.0
    budget_spent: Seconds = 0.0


class Asked(Value, frozen=True, kw_only=True):
    """The settings of one call that its verdict depends on. `metrics` has the tolerance of each."""

    batches: int
    warmup: int
    runs: int
    max_runs: Annotated[int, msgspec.Meta(ge=2, le=2**31)]
    tolerance: Tolerance
    confirm: str
    total_tolerance: Share | None = None
    metrics: dict[str, Tolerance] = msgspec.field(default_factory=dict)
    strict: bool = False
    strict_work: bool = False
    sustained: Seconds | None = None
    sustained_tolerance: Share | None = None


class Workload(Value, frozen=True, kw_only=True):
    """What was trained. `axes` has all of them, those at their defaults too; `defaults` are the builder's own."""

    id: str
    label: str
    name: str
    device: str
    backend: str
    where: str = ""
    axes: dict[str, int | Plain] = msgspec.field(default_factory=dict)
    defaults: dict[str, int | Plain] = msgspec.field(default_factory=dict)


class Run(Value, frozen=True, kw_only=True):
    """One fresh process. `seconds_per_batch` is its figure, of its `samples`: seconds per batch of each block, in order.

    `warm_up` has seconds per batch of the first steps after the first batch, each ended by a fence of its own.

    `trace` has rows of seconds, clock in MHz, power in W, temperature in °C and busy share while blocks were timed. `work` is
    there where it differs from what the runs beside it have in common.
    """

    session: str
    recorded: str
    samples: Annotated[list[Positive], msgspec.Meta(min_length=1)]
    batches_per_block: Count
    seconds_per_batch: Positive
    lower_quartile: Positive
    upper_quartile: Positive
    first_batch_seconds: Seconds
    prepare_seconds: Seconds = 0.0
    warm_up: list[Seconds] = msgspec.field(default_factory=list)
    freezes: int = 0
    drift: Share = 0.0
    examples: Natural | None = None
    parameters: Whole | None = None
    peak_memory_bytes: Whole | None = None
    joules_per_batch: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    changed_variables: int | None = None
    trainable_variables: int | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: dict[str, Plain] = msgspec.field(default_factory=dict)
    trace: list[list[float | None]] = msgspec.field(default_factory=list)
    work: Fingerprint | None = None
    no_work: str = ""


class Judgement(Value, frozen=True, kw_only=True):
    """The gate's figures. `change` is now / baseline - 1 with its 95 % interval; of a speedup, of `of`'s time over `over`'s.

    `run_sd` is what runs (pairs) differ by when nothing changes, `visible` the smallest slowdown that is seen 9 times in 10.
    """

    verdict: str
    change: Share
    change_low: Share
    change_high: Share
    now: Seconds
    now_low: Seconds
    now_high: Seconds
    baseline: Seconds
    run_sd: Share
    visible: Share | None = None
    change_at_most: Share | None = None
    reason: str = ""


class Reference(Value, frozen=True, kw_only=True):
    """What was trained in turn: run i of it and run i of the measurement are a pair, whose blocks are neighbours.

    `apart` is why whole runs took turns instead, so that blocks are none.
    """

    name: str
    runs: list[Run] = msgspec.field(default_factory=list)
    apart: str = ""


class Replay(Value, frozen=True, kw_only=True):
    """What a replay of the baseline adds. `stored` is the judgement by stored figures.

    `moved` is how much slower the baseline's own code is today than its stored figures, with a 95 % interval. `accepted_on` is
    another machine, where what it has accepted since took the place of this one's baseline.
    """

    stored: Judgement | None = None
    differs: list[str] = msgspec.field(default_factory=list)
    not_replayed: list[str] = msgspec.field(default_factory=list)
    moved: tuple[Share, Share, Share] | None = None
    accepted_on: str = ""


class Metric(Value, frozen=True, kw_only=True):
    """A metric that was gated beside seconds per batch, in its own unit."""

    name: str
    unit: str
    tolerance: Share
    verdict: str
    worse: bool = False
    now: float | None = None
    now_low: float | None = None
    now_high: float | None = None
    baseline: float | None = None
    change: Share | None = None
    change_low: Share | None = None
    change_high: Share | None = None
    visible: Share | None = None
    runs: int = 0
    reason: str = ""


class Sustained(Value, frozen=True, kw_only=True):
    """The first and the last `stretch` seconds of a long run in seconds per batch; last over first with a 95 % interval."""

    first: Seconds
    last: Seconds
    ratio: float
    low: float
    high: float
    stretch: Seconds


class Ratio(Value, frozen=True, kw_only=True):
    """How many times as fast, with its interval at `confidence`."""

    value: float
    low: float
    high: float
    confidence: Share


class Pair(Value, frozen=True, kw_only=True):
    """Two processes that took turns; `ratio` is how many times faster `of` was."""

    of: Run
    over: Run
    ratio: Positive


class Changes(Value, frozen=True, kw_only=True):
    """What else is not as it was, as the texts of a failure have it: work, packages, machine, counters, tail."""

    work: list[str] = msgspec.field(default_factory=list)
    packages: str = ""
    machine: str = ""
    counters: str = ""
    tail: str = ""


class Commands(Value, frozen=True, kw_only=True):
    """Command lines: to repeat the test, to accept what it found, to compare it with the code of its baseline."""

    repeat: str
    accept: str = ""
    compare: str = ""


class Measurement(Value, frozen=True, kw_only=True, tag_field="kind", tag="measurement"):
    """One call of `metal_bench` or `metal_live`. `verdict` is empty in a smoke run, and where there is an `error` instead.

    `peak_flop_per_second` is the rate of a large product on its device in `peak_arithmetic`, and `share_of_peak` what
    `flop_per_second` is of it; where that is unknown, `no_share_of_peak` says why.

    `baseline` is the stored entry that it was compared with, anchor and all; `total` the change since the anchor. `work` is
    what all runs have in common, `work_before` that of the other side.
    """

    nodeid: str
    workload: Workload
    verdict: str
    asked: Asked
    commands: Commands
    error: str = ""
    judgement: Judgement | None = None
    beyond_total: bool = False
    total: Share | None = None
    seconds_per_batch: Seconds | None = None
    examples_per_second: float | None = None
    flop_per_second: float | None = None
    peak_flop_per_second: Rate | None = None
    peak_arithmetic: str = ""
    share_of_peak: Part | None = None
    no_share_of_peak: str = ""
    first_batch_seconds: Seconds | None = None
    peak_memory_bytes: float | None = None
    joules_per_batch: float | None = None
    runs: list[Run] = msgspec.field(default_factory=list)
    baseline: Entry | None = None
    reference: Reference | None = None
    replay: Replay | None = None
    no_replay: str = ""
    metrics: list[Metric] = msgspec.field(default_factory=list)
    sustained: Sustained | None = None
    work: Fingerprint | None = None
    work_before: Fingerprint | None = None
    changes: Changes = Changes()
    notes: list[str] = msgspec.field(default_factory=list)


class Speedup(Value, frozen=True, kw_only=True, tag_field="kind", tag="speedup"):
    """One call of `metal_speedup`. `promise` is what is known of `at_least`; seconds are per example where batches differ."""

    nodeid: str
    id: str
    of: Workload
    over: Workload
    verdict: str
    asked: Asked
    commands: Commands
    error: str = ""
    at_least: Positive | None = None
    promise: str = ""
    parity: str = ""
    ratio: Ratio | None = None
    per_example: bool = False
    of_seconds: Seconds | None = None
    over_seconds: Seconds | None = None
    of_peak_memory_bytes: float | None = None
    over_peak_memory_bytes: float | None = None
    of_joules: float | None = None
    over_joules: float | None = None
    pairs: list[Pair] = msgspec.field(default_factory=list)
    baseline: SpeedupEntry | None = None
    judgement: Judgement | None = None
    beyond_total: bool = False
    notes: list[str] = msgspec.field(default_factory=list)


class NotMeasured(Value, frozen=True, kw_only=True):
    """A test without a result: skipped, refused (it failed, since a device was required), or put off and not run again."""

    nodeid: str
    how: Literal["skipped", "refused", "put off"]
    reason: str


class OtherRuns(Value, frozen=True, kw_only=True):
    """Runs that no result holds: of a session that ended early, of a first look, or measured for a metric alone.

    With `reference` they are pairs.
    """

    id: str
    runs: list[Run]
    reference: list[Run] = msgspec.field(default_factory=list)


class Document(Value, frozen=True, kw_only=True):
    """A session. `results` has one row per call of a fixture, in order; `unavailable` places such as `gpu:tensorflow`.

    `gate` is null until something was measured.
    """

    version: Literal[1]
    session: Session
    machine: Machine
    options: Options
    cost: Cost
    gate: Gate | None = None
    results: list[Measurement | Speedup] = msgspec.field(default_factory=list)
    other_runs: list[OtherRuns] = msgspec.field(default_factory=list)
    not_measured: list[NotMeasured] = msgspec.field(default_factory=list)
    unavailable: dict[str, str] = msgspec.field(default_factory=dict)


def why_not(row: Measurement | Speedup, found: Document) -> str:
    """Why a row says nothing of how long training takes; empty where it does."""
    if row.error:
        return f"broke: {row.error.splitlines()[0]}"
    if found.options.metal == "smoke":
        return "a smoke run, which trains one batch"
    if isinstance(row, Measurement) and row.asked.sustained is not None:
        return "a sustained run, which is judged by itself"
    measured = row.runs if isinstance(row, Measurement) else row.pairs
    return "" if measured else "nothing measured"


def schema() -> bytes:
    """The JSON Schema (2020-12) of a document, as it is published beside this module."""
    found = msgspec.json.schema(Document)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A session of pytest-metalperf"}
    return msgspec.json.format(msgspec.json.encode({**head, **found}), indent=1) + b"\n"


class DocumentError(Exception):
    """One sentence: which file, what is wrong with it, what to do."""


class _Head(msgspec.Struct):
    """What documents of all versions begin with."""

    version: int


_DECODER = msgspec.json.Decoder(Document)


def read(path: Path) -> Document:
    """What a file of --metal-json holds.

    Raises:
        DocumentError: for a file that cannot be read, is too large, damaged, of another version, or none of ours.
    """
    try:
        data = regular(path, MOST_BYTES)
    except OSError as error:
        why = (
            f"is longer than {MOST_BYTES:,} bytes"
            if error.errno == errno.EFBIG
            else f"cannot be read: {error.strerror}"
        )
        raise DocumentError(f"{_named(path)}: {why}; name a file that --metal-json wrote") from None
    return parse(data, _named(path))


def parse(data: bytes, name: str) -> Document:
    """What the bytes of such a file say; `name` is the file's, for messages.

    Raises:
        DocumentError: as above.
    """
    if data.count(b",") > MOST_VALUES:
        raise DocumentError(f"{name}: holds more than {MOST_VALUES:,} values, which no file of --metal-json does")
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        version = _version(data)
        if version is None:
            raise DocumentError(f"{name}: is no file of --metal-json: it has no version") from None
        if version != VERSION:
            raise DocumentError(
                f"{name}: is of version {version}, and this pytest-metalperf reads version {VERSION}:"
                " compare with the pytest-metalperf that wrote it, or measure again"
            ) from None
        raise DocumentError(f"{name}: {_placed(error)}; measure again, or take an unchanged copy") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DocumentError(
            f"{name}: is damaged: {printable(cut(why))}; measure again, or take an unchanged copy"
        ) from None


def _version(data: bytes) -> int | None:
    try:
        return msgspec.json.decode(data, type=_Head).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _placed(error: msgspec.ValidationError) -> str:
    """`$.results[3].runs[0]: Expected …`: the place first."""
    what, _, place = str(error).partition(" - at ")
    place = re.sub(r"[`\s]", "", place) or "$"
    return printable(cut(f"{place}: {what}"))


def _named(path: Path) -> str:
    return printable(cut(str(path)))


def encoded(value: Any) -> bytes:
    """A value as JSON; half a surrogate pair, which no UTF-8 can hold, is written as Python shows it."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, enc_hook=msgspec.json.decode)  # rows that are encoded already
        return msgspec.json.encode(_whole(plain))


def _whole(plain: Any) -> Any:
    if isinstance(plain, str):
        return plain.encode("utf-8", "backslashreplace").decode()
    if isinstance(plain, (list, tuple)):
        return [_whole(one) for one in plain]
    if isinstance(plain, dict):
        return {_whole(key): _whole(value) for key, value in plain.items()}
    return plain
