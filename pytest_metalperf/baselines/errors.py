"""Errors of a baseline file: one sentence each, none of which advises to delete what can be recovered."""

from __future__ import annotations

import json
import reprlib

RESTORE = "restore it with git checkout, or find a whole one with git log"

LONGEST = 600
"""Characters of a message: what a file holds may be long, and its remedy stands at the end."""

LONGEST_QUOTE = 96
"""Characters of one quotation from a file; a sentence has two at most."""


def cut(text: str) -> str:
    """`text`, without its middle where it is long: ids differ at their ends."""
    half = LONGEST_QUOTE // 2
    return text if len(text) <= LONGEST_QUOTE else f"{text[:half]}…{text[-half:]}"


def printable(text: str) -> str:
    """`text` on one line, as a terminal shows it."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def quoted(text: str) -> str:
    """A string as JSON has it."""
    return printable(json.dumps(cut(text), ensure_ascii=False))


def shown(value: object) -> str:
    """A value of any kind and size, shortly."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = LONGEST_QUOTE


class BaselineError(Exception):
    """One sentence: which file, which place in it, what is wrong, what to do."""

    def __init__(self, message: str) -> None:
        half = LONGEST // 2
        super().__init__(message if len(message) <= LONGEST else f"{message[:half]} […] {message[-half:]}")


class Damaged(BaselineError):
    """Of content that cannot be a baseline's; the remedy depends on where the content comes from."""

    remedy = RESTORE


class UnknownKey(Damaged):
    """Of a key that this version does not know."""

    remedy = "if it was written by a newer pytest-metalperf, upgrade this one; else restore the file with git checkout"


class Conflict(Damaged):
    """Of a merge that somebody left unfinished."""

    remedy = "resolve it: the runs of both branches may stay, a line each; or restore the file with git checkout"
