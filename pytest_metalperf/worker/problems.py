"""The one way in which a worker says that something went wrong: a kind, a sentence, the user's own frames."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

_HERE = str(Path((lambda: None).__code__.co_filename).parent)  # as frames say it: compiled code is from elsewhere
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Keras colours its messages, also where there is no terminal


MOST_LINES = 60
MOST_OF_A_LINE = 300
MOST_OF_A_SENTENCE = 2000  # of ours, which may name two paths


def readable(text: str, most: int = MOST_OF_A_LINE) -> str:
    """`text` as long as somebody reads: the beginning and the end of its lines, each cut to so many characters."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return "\n".join(line if len(line) <= most else f"{line[:most]}…" for line in lines)


def sendable(value: Any) -> Any:
    """`value` with texts that a channel can carry: half a surrogate pair, as of a file name that is no UTF-8, is escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {sendable(key): sendable(one) for key, one in value.items()}
    return [sendable(one) for one in value] if isinstance(value, (list, tuple)) else value


class Problem(Exception):
    """A measurement cannot go on.

    Args:
        kind: ``builder`` (the user's function), ``training`` (what it built), ``device`` (not there or not able),
            ``backend`` (framework missing or unusable), ``memory`` (full), ``lock`` (of the machine), ``worker`` (the
            process itself).
        message: one sentence that names the place and, where there is one, the remedy.
        traceback: the user's own frames, formatted; empty when the sentence says all.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.traceback = traceback

    def as_message(self) -> dict[str, str]:
        """The problem as plain values that any channel can carry, of a length that somebody reads."""
        return {
            "kind": self.kind,
            "message": readable(self.message, MOST_OF_A_SENTENCE),
            "traceback": readable(self.traceback),
        }


def user_traceback(error: BaseException) -> str:
    """Format `error` from the first frame that is not ours, so that people read about their own code."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return _COLOUR.sub("", "".join(traceback.format_exception(type(error), error, frames)).rstrip())


_FULL = re.compile(
    r"RESOURCE_EXHAUSTED|ResourceExhausted|OOM when|out of memory|not enough memory|can't allocate memory|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> bool:
    """Whether a device's or the host's memory is full, as TensorFlow, PyTorch, XLA and Python say it."""
    return isinstance(error, MemoryError) or bool(_FULL.search(_full_text(error)))


def _full_text(error: BaseException) -> str:
    """`ValueError: all that it says`."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # somebody's __str__ is broken: the name must do
        return f"{type(error).__name__}: "


def first_line(error: BaseException) -> str:
    """`ValueError: what it says`, cut to one line."""
    text = _COLOUR.sub("", _full_text(error).partition(": ")[2]).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
