"""What the parsers are fed, and what they make of it: files, commands with a time limit, and the types of the facts.

Nothing here raises: what cannot be read is the empty string, and parsers answer an empty string with "unknown".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypedDict

UNKNOWN = "unknown"

State: TypeAlias = "dict[str, float | str | bool | None]"
"""Conditions by name; None is unknown, never "fine"."""


class Hardware(TypedDict, total=False):
    """What could be read of a machine; a key that is missing is unknown."""

    chip: str
    model: str
    cores: str
    memory_gb: int
    gpus: tuple[str, ...]
    os: str
    virtual: bool | None
    rosetta: bool | None


class CpuTimes(NamedTuple):
    """Seconds of CPU time, summed over all CPUs, since some moment in the past."""

    busy: float
    stolen: float
    total: float


def read(path: str, limit: int = 65536) -> str:
    """At most `limit` bytes of a file."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def listing(path: str) -> list[str]:
    """The sorted names in a directory."""
    try:
        return sorted(entry.name for entry in Path(path).iterdir())
    except OSError:
        return []


def run(*command: str, timeout: float = 2.0) -> str:
    """What a command prints, in English where it has a choice.

    The exit status says nothing: sysctl fails for one missing name of many.
    """
    import subprocess  # some milliseconds that Linux need not pay

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            timeout=timeout,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def lines(text: str) -> list[str]:
    """The complete lines of `text`. One without its newline was cut off, and half a number is a wrong number."""
    return [line.rstrip("\r") for line in text.split("\n")[:-1]]


def whole(text: str) -> int | None:
    """A whole number of plausible length."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def fields(text: str, separator: str = ":") -> dict[str, str]:
    """`key: value` lines as a dict. The first of equal keys counts."""
    found: dict[str, str] = {}
    for line in lines(text):
        key, mark, value = line.partition(separator)
        if mark:
            found.setdefault(key.strip(), value.strip())
    return found
