"""Tables for a terminal: aligned by the cells that characters take, since names may be of any alphabet."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], columns: str) -> list[str]:
    """A line per row; `columns` has a letter for each column, `l` for text and `r` for figures."""
    from tabulate import tabulate  # only where a table is printed: pytest loads our modules at every start

    alignment = {"l": "left", "r": "right"}
    text = tabulate(
        rows,
        tablefmt="plain",
        disable_numparse=True,
        colalign=[alignment[column] for column in columns],
        preserve_whitespace=True,
    )
    return [line.rstrip() for line in text.split("\n")]
