"""Stored runs: the file of one machine, read strictly, written atomically, made to be reviewed in git."""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

FORMAT = 1
HOUR = 3600.0

Positive = Annotated[float, msgspec.Meta(gt=0)]
Condition = float | bool | str | None


RESTORE = "restore it (git checkout) or delete it and record anew"


class BaselineError(Exception):
    """One sentence: which file, which place in it, what is wrong, what to do."""


class Damaged(BaselineError):
    """Of content that cannot be a baseline's: what to do is said by whoever knows where it comes from."""


class StoredRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run as it is kept: figures, not samples.

    Seconds are per batch, but for `first_batch_seconds`; `recorded` is a date in UTC, `commit` the revision of the
    measured repository. `conditions` and `versions` are provenance.
    """

    seconds_per_batch: Positive
    lower_quartile: Positive
    upper_quartile: Positive
    batches: Annotated[int, msgspec.Meta(gt=0)]
    first_batch_seconds: Positive
    session: str
    recorded: str
    peak_memory_bytes: int | None = None
    joules_per_batch: float | None = None
    commit: str | None = None
    versions: dict[str, str] = {}
    conditions: dict[str, Condition] = {}


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first figure ever accepted, so that ten accepted steps of 4 % are seen as 48 %."""

    seconds_per_batch: Positive
    recorded: str
    commit: str | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fingerprint: noise-free facts of the work. What a framework does not tell is None, or empty.

    `operations` counts the operations of one step by type, `operations_on_cpu` those of them that a GPU's run does on the
    CPU; `flop` is floating-point operations a step, `traces` how often the step was traced, `memory_bytes` what the
    device's allocator needs at its peak, where that is the same in every run. `varying` names the facts (`flop`,
    `operations Mul`) in which runs that were recorded together differed: they are no facts, and are not compared.
    """

    operations: dict[str, int] = {}
    operations_on_cpu: dict[str, int] = {}
    flop: float | None = None
    traces: int | None = None
    parameters: int | None = None
    memory_bytes: int | None = None
    varying: list[str] = []


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The baseline of one workload; `examples` are those of one batch, None where nobody can know."""

    anchor: Anchor
    runs: Annotated[list[StoredRun], msgspec.Meta(min_length=1)]
    work: Work | None = None
    examples: Annotated[int, msgspec.Meta(gt=0)] | None = None


class StoredPair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fresh pair of interleaved workers: how many times faster one side was, and the provenance of both together."""

    ratio: Positive
    session: str
    recorded: str
    commit: str | None = None
    versions: dict[str, str] = {}
    conditions: dict[str, Condition] = {}


class RatioAnchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first ratio ever accepted."""

    ratio: Positive
    recorded: str
    commit: str | None = None


class SpeedupEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The baseline of one speedup."""

    anchor: RatioAnchor
    pairs: Annotated[list[StoredPair], msgspec.Meta(min_length=1)]

    @property
    def runs(self) -> list[StoredPair]:
        """What is compared with: a pair is to a speedup what a run is to a workload."""
        return self.pairs


AnyEntry = TypeVar("AnyEntry", Entry, SpeedupEntry)


@dataclass(frozen=True)
class Recorded(Generic[AnyEntry]):
    """What an update stored: the entry before and after, and how many runs or pairs in which mode."""

    id: str
    old: AnyEntry | None
    new: AnyEntry
    count: int
    mode: str


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One machine's baselines; `speedups` stands in its file only where there are some."""

    format: int
    machine: dict[str, Any]
    workloads: dict[str, Entry]
    speedups: dict[str, SpeedupEntry] = {}


class Store:
    """The baselines of one machine in one folder.

    Args:
        folder: where `<machine id>.json` lies or will lie.
        machine: the machine's id.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self.path = folder / f"{machine}.json"
        self.machine = machine
        stored = self.read()
        self.workloads: dict[str, Entry] = stored.workloads
        self.speedups: dict[str, SpeedupEntry] = stored.speedups

    def read(self) -> Machine:
        """What the file says now; nothing stored, if there is none.

        Raises:
            BaselineError: for a file that is broken, truncated, foreign or of a future format.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return Machine(format=FORMAT, machine={"id": self.machine}, workloads={})
        except OSError as error:
            raise BaselineError(
                f"{self.path}: cannot be read: {error.strerror}; mend that, or use another --metal-baselines"
            ) from None
        try:
            return parse(data, str(self.path), self.machine)
        except Damaged as error:
            raise BaselineError(f"{error}; {RESTORE}") from None

    def prepare(self) -> None:
        """Make sure that the file can be written, before anything is measured for it.

        Raises:
            BaselineError: when it cannot.
        """
        folder = self.path.resolve().parent  # of what a link points to
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BaselineError(f"{folder}: cannot be made: {error.strerror}; use another --metal-baselines") from None
        if not os.access(folder, os.W_OK):
            raise BaselineError(f"{folder}: cannot be written to; use another --metal-baselines")

    def update(
        self,
        id: str,  # noqa: A002
        after: Callable[[Any], Entry | SpeedupEntry],
        facts: Mapping[str, Any],
        kind: Literal["workloads", "speedups"] = "workloads",
    ) -> None:
        """Store what `after` makes of the entry called `id`, which it is given as the file has it now (None: not at all).

        Another session may have written since we read, so the file is read again under the lock. A kill at any
        instant, or a full disk, leaves the old file.

        Raises:
            BaselineError: when the file cannot be written; what was stored before is still there.
        """

        def change(stored: Machine) -> Machine:
            entries = getattr(stored, kind)
            return msgspec.structs.replace(
                stored, machine=dict(facts), **{kind: {**entries, id: after(entries.get(id))}}
            )

        self._change(change)

    def _change(self, change: Callable[[Machine], Machine]) -> None:
        import filelock

        try:
            self.path.resolve().parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(_lock_file(self.path), timeout=60):
                changed = change(self.read())
                data = rendered(changed)
                parse(data, f"{self.path}: not stored", self.machine)  # or nobody could read it any more
                replace(self.path, data)
        except filelock.Timeout:
            raise BaselineError(
                f"{self.path}: another session has been writing it for a minute; nothing was stored"
            ) from None
        except (TypeError, ValueError) as error:
            raise BaselineError(f"{self.path}: a figure cannot be stored ({error}); nothing was stored") from None
        except OSError as error:
            raise BaselineError(
                f"{self.path}: cannot be written: {error.strerror or error}; nothing was stored, the old file is intact"
            ) from None
        self.workloads, self.speedups = changed.workloads, changed.speedups


def rendered(machine: Machine) -> bytes:
    """The file's bytes: sorted keys, stable formatting, a newline at the end."""
    plain = msgspec.to_builtins(machine)
    for run in (run for entry in plain["workloads"].values() for run in entry["runs"]):
        if run["joules_per_batch"] is None:  # younger than the format: files without it keep their bytes
            del run["joules_per_batch"]
    return (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def rounded(value: float, digits: int = 5) -> float:
    """`value` to so many significant digits: more would be noise in every diff."""
    return float(f"{value:.{digits}g}")


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step, and only if it differs from what is there."""
    target = path.resolve()
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == data:
            return
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _mode(target: Path) -> int:
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _lock_file(path: Path) -> Path:
    # not beside the baselines: a lock file there would wait to be committed by mistake
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"pytest-metalperf-{user}-{name}.lock"


def parse(data: bytes, place: str, machine: str) -> Machine:
    """Read a baseline file strictly.

    Args:
        data: the file's bytes.
        place: the file's name, for messages.
        machine: the id of the machine that it must belong to.

    Raises:
        Damaged: naming the place in the file.
        BaselineError: for a file that is whole, but another format's or machine's.
    """
    plain = _json(data, place)
    if not isinstance(plain, dict) or "format" not in plain or "workloads" not in plain:
        raise BaselineError(
            f"{place}: is no baseline file of pytest-metalperf; move it away, or use another --metal-baselines"
        )
    written = plain["format"]
    if isinstance(written, int) and not isinstance(written, bool) and written > FORMAT:
        raise BaselineError(
            f"{place}: was written in format {written} by a newer pytest-metalperf; this one reads format {FORMAT}:"
            " upgrade it, or use another --metal-baselines"
        )
    if written != FORMAT or isinstance(written, bool):
        raise Damaged(f"{place}: $.format: expected {FORMAT}, got {written!r}")
    workloads = _entries(plain["workloads"], _entry, place, "$.workloads")
    speedups = _entries(plain.get("speedups", {}), _speedup, place, "$.speedups")
    _known_keys(plain, Machine, place, "$")
    whole = _convert({**plain, "workloads": {}, "speedups": {}}, Machine, place, "$")
    found = whole.machine.get("id")
    if found != machine:
        raise BaselineError(
            f"{place}: $.machine.id: holds the baselines of {found!r}, not of {machine!r};"
            " a copied file needs its own machine's name, and its figures are another machine's"
        )
    return Machine(format=FORMAT, machine=whole.machine, workloads=workloads, speedups=speedups)


def _json(data: bytes, place: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise BaselineError(f"{place}: the key {twice!r} stands twice in one object; keep one of them")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise Damaged(f"{place}: holds {word[:40]}, which is no figure")

    def finite(word: str) -> float:
        return float(word) if math.isfinite(float(word)) else refuse(word)

    def whole(word: str) -> int:
        return int(word) if len(word) <= 300 else refuse(word)  # beyond what a float can hold

    try:
        text = data.decode()
        plain = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite, parse_int=whole)
        json.dumps(plain, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but could not be written again
    except UnicodeError as error:
        raise Damaged(f"{place}: is no UTF-8 text ({error.reason})") from None  # type: ignore[attr-defined]
    except json.JSONDecodeError as error:
        conflict = re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE)
        if conflict:
            line = text.count("\n", 0, conflict.start()) + 1
            raise Damaged(f"{place}: line {line}: holds an unresolved merge conflict") from None
        what = (
            "is empty" if not text.strip() else f"line {error.lineno}, column {error.colno}: is not JSON ({error.msg})"
        )
        raise Damaged(f"{place}: {what}") from None
    except RecursionError:
        raise Damaged(f"{place}: is nested too deeply to be a baseline file") from None
    return plain


def _entries(plain: Any, read: Callable[[Any, str, str], AnyEntry], place: str, path: str) -> dict[str, AnyEntry]:
    if not isinstance(plain, dict):
        raise Damaged(f"{place}: {path}: expected an object, got {_kind(plain)}")
    return {key: read(value, place, f"{path}[{json.dumps(key, ensure_ascii=False)}]") for key, value in plain.items()}


def _entry(value: Any, place: str, path: str) -> Entry:
    """One workload's entry; what msgspec cannot name (unknown keys, keys of plain dicts) is looked at first."""
    if isinstance(value, dict):
        _known_keys(value, Entry, place, path)
        _known_keys(value.get("anchor"), Anchor, place, f"{path}.anchor")
        _known_keys(value.get("work"), Work, place, f"{path}.work")
        _known_runs(value.get("runs"), StoredRun, place, f"{path}.runs")
    entry: Entry = _convert(value, Entry, place, path)
    return entry


def _speedup(value: Any, place: str, path: str) -> SpeedupEntry:
    """One speedup's entry, read as a workload's is."""
    if isinstance(value, dict):
        _known_keys(value, SpeedupEntry, place, path)
        _known_keys(value.get("anchor"), RatioAnchor, place, f"{path}.anchor")
        _known_runs(value.get("pairs"), StoredPair, place, f"{path}.pairs")
    entry: SpeedupEntry = _convert(value, SpeedupEntry, place, path)
    return entry


def _known_runs(runs: Any, kind: type[msgspec.Struct], place: str, path: str) -> None:
    for index, run in enumerate(runs if isinstance(runs, list) else ()):
        where = f"{path}[{index}]"
        _known_keys(run, kind, place, where)
        for name, inside in (("versions", str), ("conditions", Condition)):
            inner = run.get(name) if isinstance(run, dict) else None
            for key, item in inner.items() if isinstance(inner, dict) else ():
                _convert(item, inside, place, f"{where}.{name}[{json.dumps(key)}]")


def _known_keys(value: Any, kind: type[msgspec.Struct], place: str, path: str) -> None:
    names = {field.name for field in msgspec.structs.fields(kind)}
    for key in value if isinstance(value, dict) else ():
        if key not in names:
            raise Damaged(f"{place}: {path}: has an unknown key `{json.dumps(key)[1:-1]}`")


def _convert(value: Any, kind: Any, place: str, path: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise Damaged(f"{place}: {path}{where.strip('`').removeprefix('$')}: {_plain(what)}") from None


_WORDS = {
    "float": "a number", "int": "a whole number", "str": "a string", "bool": "true or false",
    "object": "an object", "array": "a list", "null": "null",
}  # fmt: skip


def _plain(message: str) -> str:
    """Msgspec's sentence in the words of someone who edits JSON: Expected `float`, got `str` -> expected a number, …."""
    words = re.sub(
        r"`([a-z_|\s]+)`", lambda m: " or ".join(_WORDS.get(t.strip(), m[0]) for t in m[1].split("|")), message
    )
    words = re.sub(r"^Expected a string, got", "expected a string, got", words)
    words = words.replace("Object missing required field", "is missing")
    return words[0].lower() + words[1:]


def _kind(value: object) -> str:
    name = {dict: "object", list: "array", str: "str", bool: "bool", int: "int", float: "float"}.get(
        type(value), "null"
    )
    return _WORDS[name]


def hours(sessions: Iterable[str]) -> dict[str, str]:
    """Each session, and the first one of its hour: sessions minutes apart share the machine's slow and fast minutes.

    A session's id begins with its start in UTC; one that does not is an hour of its own.
    """
    found: dict[str, str] = {}
    first, since = "", -math.inf
    for session in sorted(set(sessions)):
        try:
            start = calendar.timegm(time.strptime(session[:15], "%Y%m%dT%H%M%S"))
        except ValueError:
            found[session] = session
            continue
        if start - since > HOUR:
            first, since = session, start
        found[session] = first
    return found


def orphans(stored: Iterable[str], asked: Iterable[str], available: Container[str]) -> list[str]:
    """What is stored and no test asked for, less what needs a place (`gpu:tensorflow`) that was not there or not wanted."""
    wanted = set(asked)
    return sorted(key for key in stored if key not in wanted and all(place in available for place in places(key)))


def places(key: str) -> list[str]:
    """`gpu:tensorflow` of a workload's id; of a speedup's, whose sides stand around ` over `, the places of both."""
    return re.findall(r"@([^@\[\]]+?)(?= over |$)", key)
