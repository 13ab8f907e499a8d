"""`python -m pytest_metalperf report a.json b.json --html out.html`: sessions that have ended as one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..baselines.errors import printable
from ..baselines.writing import make_room
from ..history.store import HistoryError
from . import document, html, words

UNREADABLE = 2

EPILOG = """\
The page holds everything, works without a network, and may be opened from a CI artifact. Sessions of several machines,
packages or commits stand side by side in it.

exit codes: 0 the page is written; 2 a file cannot be read, or the page cannot be written
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_metalperf report",
        description="one page of sessions that have ended, from their files of --metal-json",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sessions", nargs="+", type=Path, metavar="FILE", help="files of --metal-json")
    parser.add_argument("--html", required=True, type=Path, metavar="OUT", help="the page that is written")
    parser.add_argument("--history", type=Path, metavar="FILE", help="a file of --metal-history, which rows then show")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Read the sessions and write the page; 2 where that is impossible."""
    asked = _parser().parse_args(arguments)
    if not html.is_installed():
        return _refused(html.MISSING)
    try:
        found = [document.read(path) for path in asked.sessions]
    except document.DocumentError as error:
        return _refused(str(error))
    try:
        make_room(asked.html)
        html.write(asked.html, found, asked.history)
    except HistoryError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"{printable(str(asked.html))} cannot be written: {error.strerror or error}; name another file")
    size = asked.html.stat().st_size
    print(f"{printable(str(asked.html))}: {words.plural(len(found), 'session')}, {words.size(size)}")
    return 0


def _refused(why: str) -> int:
    print(f"report: {why}", file=sys.stderr)
    return UNREADABLE
