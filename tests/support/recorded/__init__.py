"""What machines say about themselves: a transcript per machine, `$ command` or `$ file` and what is read there.

A transcript begins with lines of `# `, which say where its shape is from and what in it is composed. No Mac was at hand
when these were written, so no Mac's transcript is a verbatim recording of one machine: keys, layout and values are
those that owners of such machines have published, put together.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in (HERE / kind).glob("*.txt"))


def transcript(kind: str, name: str) -> dict[str, str]:
    """Output by command; `\\0` stands for NUL."""
    said: dict[str, str] = {}
    command = None
    for line in (HERE / kind / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("$ "):
            command = line[2:].strip()
            said[command] = ""
        elif command is not None:
            said[command] += "\0" if line == "\\0\n" else line.replace("\\0\n", "\0")
    return said
