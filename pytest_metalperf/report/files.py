"""The files that a session writes when it is asked to: begun before anything is measured, whole when it ends."""

from __future__ import annotations

from pathlib import Path

from ..results.measurement import Measurement, Speedup
from ..session import MetalSession
from ..settings import Settings
from . import document, html
from .json import Gathered, SessionFile


class Unwritable(Exception):
    """One sentence: which option, what is wrong with its file, what to do."""


class Files:
    """What --metal-json and --metal-html name, as far as they are given.

    Raises:
        Unwritable: where one of them cannot be written.
    """

    def __init__(self, session: MetalSession, folder: Path) -> None:
        settings = session.settings
        self._gathered = Gathered(session)
        self._json = SessionFile(_path(folder, settings.json), self._gathered) if settings.json else None
        self._page = html.PageFile(_path(folder, settings.html)) if settings.html else None
        for option, file in (("--metal-json", self._json), ("--metal-html", self._page)):
            if file is None:
                continue
            try:
                file.begin()
            except ImportError as error:
                raise Unwritable(f"{option}: {error}") from None
            except OSError as error:
                why = error.strerror or error
                raise Unwritable(f"{option}: {file.path} cannot be written: {why}; name another file") from None

    @property
    def problems(self) -> list[str]:
        """Why a file does not hold everything, a sentence for each."""
        found = [("--metal-json", self._json), ("--metal-html", self._page)]
        return [f"{option}: {file.problem}" for option, file in found if file is not None and file.problem]

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
        if self._page is not None:
            data = self._gathered.encoded("finished" if whole else "interrupted")
            self._page.end(document.parse(data, "this session"))


def _path(folder: Path, named: str) -> Path:
    return folder / Path(named).expanduser()
