"""`python -m pytest_metalperf bisect GOOD BAD -- pytest-arguments`: which commit made training slower."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..baselines.errors import printable

if TYPE_CHECKING:
    from .following import Following

FOUND, NO_ANSWER, REFUSED, INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
Every comparison is a session of pytest in a folder of its own, which trains BAD in turn with another commit, three fresh
pairs each. BAD's tests tell, with today's packages; what each commit brings is the code that they train. The working tree is
neither changed nor looked at. Of merges, the first parents are followed.

First GOOD is compared: without a step there is nothing to search. Then git-bayesect picks one commit after the other, until
one is the first slower one with a probability of 95 %. A commit that cannot be trained is skipped. What was measured is kept:
after Ctrl-C the same command goes on.

exit codes: 0 the commit is found, or those among which only skipped ones lie; 1 there is no step, or no answer; 2 what cannot be
asked, or broke; 130 interrupted
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_metalperf bisect",
        usage="%(prog)s [-h] [--restart] GOOD BAD -- pytest-arguments",
        description="which commit made training slower, by pairs between revisions",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("good", metavar="GOOD", help="a revision that is known to be fast")
    parser.add_argument("bad", metavar="BAD", help="a later one that is slow")
    parser.add_argument("--restart", action="store_true", help="put aside what the same command has measured before")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Search, and print what is found; see the epilog for the exit codes."""
    mine, theirs = list(arguments), []
    if "--" in mine:
        at = mine.index("--")
        mine, theirs = mine[:at], mine[at + 1 :]
    asked = _parser().parse_args(mine)
    if importlib.util.find_spec("git_bayesect") is None:
        return _refused("git-bayesect is not installed: pip install 'pytest-metalperf[bisect]'")
    from . import following, words  # scipy and git-bayesect: only when a search is due, and there
    from .question import Refused, question

    try:
        wanted = question(Path.cwd(), asked.good, asked.bad, theirs)
        with following.opened(wanted, restart=asked.restart) as search:
            return _followed(search)
    except Refused as error:
        return _refused(str(error))
    except following.Ended:
        _print(words.again(wanted))
        return INTERRUPTED


def _followed(search: Following) -> int:
    for line in search.lines():
        _print(line)
    return FOUND if search.found else NO_ANSWER


def _print(line: str) -> None:
    print(printable(line), flush=True)


def _refused(why: str) -> int:
    print(f"bisect: {printable(why)}", file=sys.stderr)
    return REFUSED
