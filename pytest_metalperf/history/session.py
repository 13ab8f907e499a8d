"""What a session adds to its --metal-history."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..report.document import Document
from .rows import rows_of
from .store import BUSY_SECONDS, Busy, HistoryError, Store

LOOK_SECONDS = 1.0
"""How long the look before measuring waits for another one that writes."""


class SessionHistory:
    """The history that one session is added to at its end, in one transaction.

    Attributes:
        problem: why nothing was stored, in one sentence; empty where all was.
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self._path = path

    def begin(self) -> None:
        """Make sure that it can be written, before anything is measured. Another session that writes now is no reason.

        Raises:
            HistoryError: where it cannot.
        """
        with contextlib.suppress(Busy):
            Store(self._path, write=True, seconds=LOOK_SECONDS).close()

    def end(self, found: Document) -> None:
        """Add what was measured."""
        session, runs = rows_of(found)
        if not runs:
            return
        try:
            with Store(self._path, write=True, seconds=BUSY_SECONDS) as store:
                store.add(session, runs)
        except HistoryError as error:
            self.problem = f"nothing of this session was stored: {error}"
