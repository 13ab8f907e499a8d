"""What the pages of documentation hold: code blocks, commands that a reader would type, links, headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("pytest_metalperf", "tests", "baselines")
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted(page for folder in FOLDERS for page in (ROOT / folder).rglob("README.md")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(pytest|python -m|python tests/|tox|pip install)\b")


@dataclass(frozen=True)
class Found:
    """A command or a code block: its text, and where it stands."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def words(self) -> list[str]:
        """As a shell hands them over, without a comment; in a table `|` has a backslash."""
        return shlex.split(self.text.replace(r"\|", "|"), comments=True)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks() -> list[tuple[str, Found]]:
    """Fenced blocks, each with its language."""
    return [
        (block[1], Found(page, 1 + read(page)[: block.start()].count("\n"), block[2]))
        for page in PAGES
        for block in FENCED.finditer(read(page))
    ]


def commands() -> list[Found]:
    """Lines of fenced blocks, steps of a workflow, and inline code, where they start as a command; `a && b` are two."""
    found = []
    for language, block in blocks():
        if language != "python":
            typed = [line.strip().removeprefix("- run: ") for line in block.text.splitlines()]
            found += [Found(block.page, block.line + 1 + n, line) for n, line in enumerate(typed)]
    for page in PAGES:  # without the blocks, whose lines stay so that the next ones keep their number
        text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), read(page))
        for code in INLINE.finditer(text):
            found.append(Found(page, 1 + text[: code.start()].count("\n"), " ".join(code[1].split())))
    parts = [Found(one.page, one.line, part.strip()) for one in found for part in one.text.split("&&")]
    return [one for one in parts if COMMAND.match(one.text) and " " in one.text]


def links(page: Path) -> list[str]:
    """Those that lead to a file or a heading of ours."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", read(page)) if not link.startswith("http")]


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    titles = [line.lstrip("#").strip().lower() for line in FENCED.sub("", read(page)).splitlines() if line[:1] == "#"]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
