"""A stack: the packages that training loaded, with versions, and their interpreter; how two of them differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, order=True)
class Package:
    """One package of a stack.

    Attributes:
        name: as PEP 503 compares it.
        version: as PEP 440 writes it, unless the package has none such.
        record: the digest of its RECORD (see `worker/distributions.py`); empty where there is none.
        origin: why it cannot be installed again: `editable from a folder`; empty where an index should have it.
    """

    name: str
    version: str
    record: str = ""
    origin: str = ""

    @property
    def is_seen(self) -> bool:
        """Whether other code under the same version would show."""
        return bool(self.record) and not self.origin.startswith("editable")


@dataclass(frozen=True)
class Stack:
    """The packages that training loaded.

    Attributes:
        python: implementation and version, without its patch: `cpython 3.11`.
        platform: `linux x86_64 glibc`, `darwin arm64 macos`.
        least: the version of glibc or macOS that the packages' wheels need: `2.28`; empty where they need none.
        packages: with all that they require, sorted by name.
    """

    python: str
    platform: str
    least: str
    packages: tuple[Package, ...]

    @property
    def unavailable(self) -> tuple[Package, ...]:
        """What cannot be installed again."""
        return tuple(one for one in self.packages if one.origin)


class Change(NamedTuple):
    """A package that differs; None on the side that has not loaded it."""

    theirs: Package | None
    ours: Package | None

    @property
    def name(self) -> str:
        found = self.theirs or self.ours
        return found.name if found else ""

    def __str__(self) -> str:
        """`keras 3.14.0 -> 3.15.1`, `scipy 1.17.1 is new`."""
        if self.theirs is None or self.ours is None:
            one = self.theirs or self.ours
            return f"{self.name} {one.version if one else ''} is {'new' if self.theirs is None else 'gone'}"
        if self.theirs.version != self.ours.version:
            return f"{self.name} {self.theirs.version} -> {self.ours.version}"
        return f"{self.name} {self.ours.version} is another build"


@dataclass(frozen=True)
class Difference:
    """How today's stack differs from a recorded one.

    Attributes:
        python: theirs and ours, where they differ.
        platform: theirs and ours, where they differ.
        packages: those that differ, by name.
        unseen: packages on both sides whose code may differ without a trace.
    """

    python: tuple[str, str] | None = None
    platform: tuple[str, str] | None = None
    packages: tuple[Change, ...] = ()
    unseen: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.python or self.platform or self.packages)

    @property
    def needs_environment(self) -> bool:
        """Whether today's interpreter cannot serve both: it runs other code than theirs did."""
        return bool(self.python or self.platform or any(change.theirs is not None for change in self.packages))

    def words(self, most: int = 5) -> str:
        """`Python 3.11 -> 3.12, keras 3.14.0 -> 3.15.1, scipy 1.17.1 is new and 3 more`; empty for none.

        Args:
            most: how many packages are named.
        """
        sides = [_sides("Python", self.python), _sides("platform", self.platform)]
        named = [*filter(None, sides), *map(str, self.packages[:most])]
        more = len(self.packages) - most
        return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def difference(theirs: Stack, ours: Stack, installed: Iterable[Package] = ()) -> Difference:
    """How today's stack differs from a recorded one.

    Args:
        theirs: the recorded one.
        ours: today's.
        installed: what else today's interpreter has: a package that is there in the same build and was not loaded is no
            difference of packages, but of the code that loads them.
    """
    here = {one.name: one for one in ours.packages}
    beside = {one.name: one for one in installed} | here
    there = {one.name: one for one in theirs.packages}
    same_wheels = (theirs.python, theirs.platform) == (ours.python, ours.platform)
    changes, unseen = [], []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), beside.get(name)
        if old is None or new is None or old.version != new.version:
            changes.append(Change(old, new))
        elif not (old.is_seen and new.is_seen):
            unseen.append(name)
        elif same_wheels and old.record != new.record:
            changes.append(Change(old, new))
    return Difference(
        None if theirs.python == ours.python else (theirs.python, ours.python),
        None if theirs.platform == ours.platform else (theirs.platform, ours.platform),
        tuple(changes),
        tuple(unseen),
    )


def _sides(what: str, sides: tuple[str, str] | None) -> str:
    if sides is None:
        return ""
    old, new = (side.removeprefix("cpython ") for side in sides)
    return f"{what} {old} -> {new}"
