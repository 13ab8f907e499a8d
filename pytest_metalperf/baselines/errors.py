"""Errors of a baseline file: one sentence each, none of which advises to delete what can be recovered."""

RESTORE = "restore it with git checkout, or find a whole one with git log"


LONGEST = 600
"""Characters of a message: what a file holds may be long, and its remedy stands at the end."""


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
