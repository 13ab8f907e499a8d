"""The store: one SQLite file, which sessions append to and trends are read from.

Two tables. A session is stored once, by its machine and id; the runs of a file that was written later, of a session that had
not ended before, take the place of those that it had. Nothing else is ever changed or removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from ..baselines.errors import cut, printable
from .rows import RunRow, SessionRow

APPLICATION = int.from_bytes(b"MPrf", "big")
"""What SQLite files of ours begin with (PRAGMA application_id)."""
VERSION = 1
OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""
BUSY_SECONDS = 60.0
"""How long a session waits for others that write, as with baselines."""

_SESSIONS = """CREATE TABLE sessions (
  key INTEGER PRIMARY KEY,
  machine TEXT NOT NULL,
  id TEXT NOT NULL,
  started TEXT NOT NULL,
  written TEXT NOT NULL,
  state TEXT NOT NULL,
  plugin TEXT NOT NULL,
  estimator TEXT NOT NULL,
  os TEXT NOT NULL,
  "commit" TEXT,
  clean INTEGER,
  UNIQUE (machine, id)
) STRICT"""
_RUNS = """CREATE TABLE runs (
  key INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions (key),
  workload TEXT NOT NULL,
  device TEXT NOT NULL,
  in_turn INTEGER NOT NULL,
  seconds_per_batch REAL NOT NULL CHECK (seconds_per_batch > 0 AND seconds_per_batch < 1e12),
  lower_quartile REAL NOT NULL,
  upper_quartile REAL NOT NULL,
  first_batch_seconds REAL NOT NULL,
  batches INTEGER NOT NULL,
  examples INTEGER,
  parameters INTEGER,
  flop REAL,
  peak_memory_bytes INTEGER,
  joules_per_batch REAL,
  versions TEXT NOT NULL,
  conditions TEXT NOT NULL
) STRICT"""
_BY_WORKLOAD = "CREATE INDEX runs_by_workload ON runs (workload, in_turn, session)"
_BY_SESSION = "CREATE INDEX runs_by_session ON runs (session)"
_SCHEMA = {"sessions": _SESSIONS, "runs": _RUNS, "runs_by_workload": _BY_WORKLOAD, "runs_by_session": _BY_SESSION}

_OF_SESSION = [f'"{one.name}"' for one in dataclasses.fields(SessionRow)]
_OF_RUN = [one.name for one in dataclasses.fields(RunRow)]
_ADD_SESSION = f"INSERT INTO sessions ({', '.join(_OF_SESSION)}) VALUES ({', '.join('?' * len(_OF_SESSION))})"
_ADD_RUN = f"INSERT INTO runs (session, {', '.join(_OF_RUN)}) VALUES (?, {', '.join('?' * len(_OF_RUN))})"
_KNOWN = (
    "SELECT key, written, (SELECT count(*) FROM runs WHERE session = sessions.key) FROM sessions"
    " WHERE machine = ? AND id = ?"
)
_RUNS_OF = (
    f"SELECT {', '.join(f'sessions.{name}' for name in _OF_SESSION)}, {', '.join(f'runs.{name}' for name in _OF_RUN)}"
    " FROM runs JOIN sessions ON sessions.key = runs.session"
    " WHERE runs.workload = ? AND runs.in_turn = 0 AND sessions.machine = ? ORDER BY sessions.id, runs.key"
)
_WORKLOADS = (
    "SELECT DISTINCT sessions.machine, runs.workload FROM runs JOIN sessions ON sessions.key = runs.session"
    " WHERE runs.in_turn = 0 ORDER BY sessions.machine, runs.workload"
)


class HistoryError(Exception):
    """One sentence: which file, what is wrong with it, what to do."""


class Busy(HistoryError):
    """Another process was writing for too long."""


@dataclass(frozen=True)
class StoredRun:
    """A run with its session."""

    session: SessionRow
    run: RunRow


class Store:
    """An open history; also a context, which closes it.

    Args:
        path: of the file. One that is to be written is made where there is none, its folder too.
        write: whether sessions will be added.
        seconds: how long to wait for others that write.

    Raises:
        HistoryError: for a file that is none of ours, of a newer version, damaged, or cannot be opened.
    """

    def __init__(self, path: Path, *, write: bool = False, seconds: float = BUSY_SECONDS) -> None:
        self._name = printable(cut(str(path)))
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise HistoryError(
                f"{self._name}: a history needs SQLite 3.37, and this Python has {sqlite3.sqlite_version}: use a newer Python"
            )
        with self._told():
            self._look(path, write)
            self._connection = self._connected(path, write, seconds)
        try:
            with self._told():
                self._check(write)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the file to others."""
        with self._told():
            self._connection.close()

    def add(self, session: SessionRow, runs: Iterable[RunRow]) -> int:
        """Store a session in one transaction; how many runs are new. A session without runs is not stored.

        Raises:
            HistoryError: where that is impossible; then nothing of it is stored.
        """
        runs = list(runs)
        with self._told(), self._transaction():
            known = self._connection.execute(_KNOWN, (session.machine, session.id)).fetchone()
            key, written, before = known or (None, "", 0)
            if not runs or (known and (session.written <= written or len(runs) < before)):
                return 0
            if known:
                self._connection.execute("DELETE FROM runs WHERE session = ?", (key,))
                self._connection.execute("DELETE FROM sessions WHERE key = ?", (key,))
            key = self._connection.execute(_ADD_SESSION, dataclasses.astuple(session)).lastrowid
            self._connection.executemany(_ADD_RUN, ((key, *dataclasses.astuple(run)) for run in runs))
            return len(runs) - int(before)

    def workloads(self) -> list[tuple[str, str]]:
        """Machine and workload of every series, sorted.

        Raises:
            HistoryError: where the file cannot be read.
        """
        with self._told():
            return [(machine, workload) for machine, workload in self._connection.execute(_WORKLOADS)]

    def runs(self, machine: str, workload: str) -> list[StoredRun]:
        """The runs of a workload on a machine that trained alone, by their sessions, whose ids begin with their start.

        Raises:
            HistoryError: where the file cannot be read, or holds seconds that are none.
        """
        with self._told():
            found = []
            for row in self._connection.execute(_RUNS_OF, (workload, machine)):
                session, run = SessionRow(*row[: len(_OF_SESSION)]), RunRow(*row[len(_OF_SESSION) :])
                if not 0 < run.seconds_per_batch < 1e12:
                    raise HistoryError(
                        f"{self._name}: {printable(cut(workload))} has a run of {run.seconds_per_batch} seconds a batch in"
                        f" session {printable(cut(session.id))}, which is none: remove that row, or take an unchanged copy"
                    )
                clean = None if session.clean is None else bool(session.clean)  # SQLite has no truth values
                found.append(StoredRun(replace(session, clean=clean), replace(run, in_turn=bool(run.in_turn))))
            return found

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """All or nothing; the lock is taken at once, since two readers that both want to write would wait for each other."""
        self._connection.execute(begin)
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _look(self, path: Path, write: bool) -> None:
        """Find what is no file before SQLite opens it: a pipe would never answer."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
        except FileNotFoundError:
            if not write:
                raise
            path.parent.mkdir(parents=True, exist_ok=True)

    def _connected(self, path: Path, write: bool, seconds: float) -> sqlite3.Connection:
        """A connection whose transactions are ours alone; sqlite3's own ways differ between versions of Python."""
        address = f"file:{quote(os.fsencode(path.absolute()))}?mode="
        ways = ["rwc"] if write else ["rw", "ro"]
        log = path.with_name(f"{path.name}-wal")
        if not write and not (log.exists() and log.stat().st_size):
            ways.append("ro&immutable=1")  # one that lies where no log can be made beside it, and has none
        for way in ways:
            found = sqlite3.connect(f"{address}{way}", uri=True, timeout=seconds, isolation_level=None)
            try:
                found.execute("PRAGMA trusted_schema = OFF")
                if not write:
                    found.execute("PRAGMA query_only = ON")
                found.execute("SELECT 1 FROM sqlite_master").fetchone()
            except sqlite3.DatabaseError as error:
                found.close()
                if way == ways[-1] or not any(why in str(error) for why in ("unable to open", "readonly")):
                    raise
            else:
                break
        return found

    def _check(self, write: bool) -> None:
        application, version, tables = self._facts()
        if write and not application and not tables:
            self._make()
            application, version, tables = self._facts()
        if application != APPLICATION:
            raise HistoryError(f"{self._name}: is no history of pytest-metalperf: name another file")
        if version > VERSION:
            raise HistoryError(
                f"{self._name}: is of version {version}, and this pytest-metalperf reads version {VERSION}:"
                " upgrade pytest-metalperf"
            )
        if any(tables.get(name) != sql for name, sql in _SCHEMA.items()):
            raise HistoryError(f"{self._name}: its tables were changed: take an unchanged copy, or name another file")
        if write:
            with self._transaction():  # of nothing: whether that is possible
                pass

    def _facts(self) -> tuple[int, int, dict[str, str]]:
        """Whose file it is, of which version, and its tables: of one moment, since another session may be making it."""
        if not self._connection.in_transaction:
            with self._transaction("BEGIN"):
                return self._facts()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return application, version, dict(self._connection.execute("SELECT name, sql FROM sqlite_master"))

    def _make(self) -> None:
        with contextlib.suppress(
            sqlite3.OperationalError
        ):  # no log on a network's file system, or another makes it now
            self._connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            if not self._facts()[2]:  # two sessions may begin at once
                for sql in _SCHEMA.values():
                    self._connection.execute(sql)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self._connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite and the system refuse, in one sentence."""
        try:
            yield
        except OSError as error:
            raise HistoryError(
                f"{self._name}: cannot be opened: {error.strerror or error}; name another file"
            ) from None
        except OverflowError:
            raise HistoryError(
                f"{self._name}: a number of that session is too large to be stored; it was left out"
            ) from None
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Busy(f"{self._name}: another process is writing to it: try again when that has ended") from None
            raise HistoryError(f"{self._name}: {printable(cut(str(error)))}; mend that, or name another file") from None
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise HistoryError(f"{self._name}: is no history of pytest-metalperf: name another file") from None
            raise HistoryError(
                f"{self._name}: is damaged: {printable(cut(str(error)))}; restore a copy, or import the files of"
                " --metal-json into another"
            ) from None
