"""The page as a file: from sessions to what a browser opens; and what has to be installed for that."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..baselines.writing import make_room, put, regular
from ..history.store import HistoryError
from ..references.cache import cache_folder, private
from ..worker.clock import RealTime
from . import document

NEEDS = ("jinja2", "vl_convert")
MISSING = "the page is made by jinja2 and vl-convert, which are not installed: pip install 'pytest-metalperf[report]'"
DEFINES = "window.vegaEmbed="
MOST_BYTES = 10_000_000
UNFINISHED = """<!doctype html>
<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Training performance</title>
<p>This session has not ended, or was killed: its page is written at its end.</p>
"""


def is_installed() -> bool:
    """Whether a page can be made here; nothing is imported for the answer."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDS)


class PageFile:
    """The page of one session, which is made at its end; with what a history knows of its workloads, where there is one.

    Attributes:
        path: where it is.
        problem: why it is not there, in one sentence; empty where it is.
    """

    def __init__(self, path: Path, history: Path | None = None) -> None:
        self.path = path
        self.problem = ""
        self._history = history

    def begin(self) -> None:
        """Put a page there that says what is missing, in place of what an earlier session left.

        Raises:
            ImportError: where nothing is installed that draws it.
            OSError: where it cannot be written.
        """
        if not is_installed():
            raise ImportError(MISSING)
        make_room(self.path)
        put(self.path, UNFINISHED.encode(), durable=False)

    def end(self, found: document.Document) -> None:
        """Write the page; a disk that is full ends no session."""
        try:
            try:
                write(self.path, [found], self._history)
            except HistoryError as error:
                write(self.path, [found])
                self.problem = f"{self.path} shows no history: {error}"
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror or error}"


def write(path: Path, sessions: Sequence[document.Document], history: Path | None = None) -> None:
    """Write the page of these sessions, with what a history knows of their workloads.

    Raises:
        HistoryError: for a history that cannot be read; nothing is written.
        OSError: where the file cannot be written; what was there is left.
    """
    from .page.past import past
    from .page.write import page  # jinja2: only where a page is made

    known = None if history is None else past(history, sessions)
    put(path, page(sessions, runtime(), today(), known).encode("utf-8", "backslashreplace"), durable=True)


def today() -> datetime.date:
    """What ages of baselines are counted from, whatever a test has frozen."""
    return datetime.date.fromisoformat(RealTime.utc("%Y-%m-%d"))


def runtime() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`.

    It is put together in seconds, so it is kept in the user's cache folder for the next page.
    """
    try:
        kept = private(cache_folder()) / f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    except (OSError, importlib.metadata.PackageNotFoundError):  # no home, or one that others write to
        return _put_together()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        script = regular(kept, MOST_BYTES).decode("utf-8")
        if DEFINES in script:
            return script
    script = _put_together()
    with contextlib.suppress(OSError):
        put(kept, script.encode("utf-8"), durable=False)
    return script


def _put_together() -> str:
    import vl_convert  # 50 MB: only where a page is made

    _, _, rest = vl_convert.vega_to_html({"marks": []}, bundle=True).partition('<script type="text/javascript">')
    script: str = rest.partition("</script>")[0]
    if DEFINES in script:
        return script
    return str(vl_convert.javascript_bundle(f"{DEFINES}vegaEmbed;"))  # the same, by another way
