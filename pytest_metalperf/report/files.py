"""The files that a session writes when it is asked to: begun before anything is measured, whole when it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.measurement import Measurement, Speedup
from ..session import MetalSession
from ..settings import Settings
from . import document
from .json import Gathered, SessionFile

if TYPE_CHECKING:
    from ..history.session import SessionHistory
    from .html import PageFile


class Unwritable(Exception):
    """One sentence: which option, what is wrong with its file, what to do."""


class Files:
    """What --metal-json, --metal-html and --metal-history name, as far as they are given.

    Raises:
        Unwritable: where one of them cannot be written.
    """

    def __init__(self, session: MetalSession, folder: Path) -> None:
        settings = session.settings
        self._gathered = Gathered(session)
        self._json: SessionFile | None = None
        self._wholes: dict[str, PageFile | SessionHistory] = {}
        if settings.json:
            self._json = SessionFile(folder / Path(settings.json).expanduser(), self._gathered)
            _begin("--metal-json", self._json.path, self._json.begin)
        past = folder / Path(settings.history).expanduser() if settings.history else None
        if past is not None:
            self._wholes["--metal-history"] = _history(past)
        if settings.html:  # after the history, which then holds this session too
            from .html import PageFile  # what a page needs: only where there is one

            page = self._wholes["--metal-html"] = PageFile(folder / Path(settings.html).expanduser(), past)
            _begin("--metal-html", page.path, page.begin)

    @property
    def problems(self) -> list[str]:
        """Why a file does not hold everything, a sentence for each."""
        found = {"--metal-json": self._json, **self._wholes}
        return [f"{option}: {file.problem}" for option, file in found.items() if file is not None and file.problem]

    def add(self, result: Measurement | Speedup, settings: Settings, command: str) -> None:
        """Take a result that is finished, and write what is written as it goes."""
        self._gathered.add(result, settings, command)
        self.write()

    def write(self) -> None:
        """Write what is known by now."""
        if self._json is not None:
            self._json.write()

    def end(self, *, whole: bool) -> None:
        """Write the last of it; `whole` is whether all tests have run."""
        if self._json is not None:
            self._json.end(whole=whole)
        if not self._wholes:
            return
        data = self._gathered.encoded("finished" if whole else "interrupted")
        try:
            found = document.parse(data, "this session")
        except document.DocumentError as error:
            for file in self._wholes.values():
                file.problem = str(error)
            return
        for file in self._wholes.values():
            file.end(found)


def _begin(option: str, path: Path, begin: Callable[[], None]) -> None:
    try:
        begin()
    except ImportError as error:
        raise Unwritable(f"{option}: {error}") from None
    except OSError as error:
        raise Unwritable(f"{option}: {path} cannot be written: {error.strerror or error}; name another file") from None


def _history(path: Path) -> SessionHistory:
    from ..history.session import SessionHistory  # SQLite: only where there is a history
    from ..history.store import HistoryError

    found = SessionHistory(path)
    try:
        found.begin()
    except HistoryError as error:
        raise Unwritable(f"--metal-history: {error}") from None
    return found
