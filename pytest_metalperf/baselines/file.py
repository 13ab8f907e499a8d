"""The file of one machine's baselines: where it lies, how it is read and written, what its entries have in common."""

from __future__ import annotations

import calendar
import math
import re
import time
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from .errors import BaselineError, Damaged
from .format2 import Lines, rendered, with_shared_facts
from .reading import MOST_BYTES, check, parse
from .schema import Entry, Machine, SpeedupEntry
from .writing import locked, regular, replace, sweep, try_out

HOUR = 3600.0
_NO_ENTRIES: dict[str, dict[str, Any]] = {"workloads": {}, "speedups": {}}


_MEMORY = re.compile(r"-(\d+)gb(?=-|$)")
"""The first is the machine's own: a GPU's, in its name, comes after it."""


class Entries:
    """The baselines of one machine, in memory. What is derived of them is made once, since every test asks for it."""

    def __init__(self, stored: Machine) -> None:
        self.holds(stored)

    def holds(self, stored: Machine) -> None:
        """Take over what is stored."""
        self.workloads: dict[str, Entry] = stored.workloads
        self.speedups: dict[str, SpeedupEntry] = stored.speedups
        self.derived: dict[Any, Any] = {}
        self.hour_of_runs = hours(run.session for entry in stored.workloads.values() for run in entry.runs)
        self.hour_of_pairs = hours(pair.session for entry in stored.speedups.values() for pair in entry.pairs)


class Store(Entries):
    """The baselines of one machine in one folder.

    Args:
        folder: where `<machine id>.json` lies or will lie.
        machine: the machine's id.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self.path = folder / f"{machine}.json"
        self.machine = machine
        self.without_lock = False
        """Whether the file was written on a file system that has no locks, where another session's update may be lost."""
        self._read: tuple[bytes, Machine] | None = None  # the file's bytes and what they say: read once
        self._lines = Lines()
        super().__init__(self.read())

    def read(self) -> Machine:
        """What the file says now; nothing stored, if there is none.

        Raises:
            BaselineError: for a file that is broken, truncated, foreign or of a future format.
        """
        try:
            data = regular(self.path, MOST_BYTES)
        except FileNotFoundError:
            return Machine(machine={"id": self.machine})
        except OSError as error:
            raise BaselineError(
                f"{self.path}: cannot be read: {error.strerror}; mend that, or use another --metal-baselines"
            ) from None
        if self._read is None or self._read[0] != data:
            try:
                self._read = data, parse(data, str(self.path), self.machine)
            except Damaged as error:
                raise BaselineError(f"{error}; {error.remedy}") from None
        return self._read[1]

    def near(self) -> str:
        """The stored machine whose id differs from this one's in its memory alone, the closest; empty where none does."""
        size = _MEMORY.search(self.machine)
        if size is None:
            return ""
        before, after = self.machine[: size.start()], self.machine[size.end() :]
        others = re.compile(rf"{re.escape(before)}-(\d+)gb{re.escape(after)}")
        found = {
            file.stem: others.fullmatch(file.stem) for file in self.path.parent.glob("*.json") if file != self.path
        }
        sizes = {name: abs(int(match[1]) - int(size[1])) for name, match in found.items() if match is not None}
        return min(sizes, key=lambda name: (sizes[name], name), default="")

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
        try:
            try_out(self.path)
        except OSError as error:
            raise BaselineError(
                f"{self.path}: cannot be written: {error.strerror}; mend that, or use another --metal-baselines"
            ) from None

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
        folder = self.path.resolve().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder) as is_locked:
                self.without_lock = not is_locked
                if is_locked:
                    sweep(folder)
                stored = self.read()
                entries = getattr(stored, kind)
                entry = after(entries.get(id))
                changed = with_shared_facts(
                    msgspec.structs.replace(stored, machine=dict(facts), **{kind: {**entries, id: entry}}), stored
                )
                data = rendered(changed, self._lines)
                # or nobody could read it any more; the other entries have just been read
                alone = msgspec.structs.replace(changed, **{**_NO_ENTRIES, kind: {id: entry}})
                check(rendered(alone), len(data), f"{self.path}: not stored", self.machine)
                replace(self.path, data)
        except TimeoutError:
            raise BaselineError(
                f"{self.path}: another session has been writing it for a minute; nothing was stored"
            ) from None
        except (TypeError, ValueError) as error:
            raise BaselineError(f"{self.path}: a figure cannot be stored ({error}); nothing was stored") from None
        except OSError as error:
            raise BaselineError(
                f"{self.path}: cannot be written: {error.strerror or error}; nothing was stored, the old file is intact"
            ) from None
        self._read = data, changed
        self.holds(changed)


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
    """What is stored and no test asked for, less what needs a device (`gpu:tensorflow`) that was not there or not wanted."""
    wanted = set(asked)
    return sorted(key for key in stored if key not in wanted and all(one in available for one in devices_of(key)))


def devices_of(key: str) -> list[str]:
    """`gpu:tensorflow` of a workload's id; of a speedup's, whose sides stand around ` over `, the devices of both."""
    return re.findall(r"@([^@\[\]]+?)(?= over |$)", key)
