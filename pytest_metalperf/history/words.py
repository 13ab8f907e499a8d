"""What a person reads of a change in a history."""

from __future__ import annotations

from ..report import words
from .trend import Change, History


def change(one: History, found: Change) -> str:
    """`+4.8 % (+4.0 % to +5.6 %) between 5de0099784 (2026-09-30) and bd68516766 (2026-10-02)`."""
    before, after = one.points[found.before], one.points[found.after]
    size = words.changed(found.change, found.change_low, found.change_high)
    return f"{size} between {before.revision} ({before.started[:10]}) and {after.revision} ({after.started[:10]})"
