"""What a search has measured so far, kept in the user's cache folder so that the same command goes on.

One file per question: a digest of the commits, the arguments, the machine and the packages is its name, and all of them but
the packages stand in it again. It holds the samples of every pair, so that nothing measured is lost to a summary.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ..baselines.errors import cut, printable
from ..baselines.schema import Positive
from ..baselines.writing import put, regular
from ..references.cache import cache_folder, private
from ..references.slot import Slot
from .question import Question, Refused

MOST_BYTES = 64_000_000
RESTART = "--restart puts it aside and begins anew"

Samples = Annotated[list[Positive], msgspec.Meta(min_length=1)]


class Value(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all of them are."""


class Comparison(Value, kw_only=True):
    """One session that trained BAD in turn with a commit: samples of BAD and of the commit, pair by pair.

    Without pairs, `skipped` is why the commit cannot be trained. `seconds` are those that the session took.
    """

    commit: str
    pairs: list[tuple[Samples, Samples]] = msgspec.field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0


class State(Value, kw_only=True):
    """A search so far, and the question that it answers. `workload` is known from the first comparison on."""

    version: Literal[1] = 1
    good: str
    bad: str
    folder: str
    arguments: list[str]
    machine: str
    workload: str = ""
    comparisons: list[Comparison] = msgspec.field(default_factory=list)


class StateFile:
    """The state of one search, which this process alone holds.

    Attributes:
        path: of the file.
        state: what it holds.
    """

    def __init__(self, path: Path, state: State) -> None:
        self.path, self.state = path, state

    def add(self, comparison: Comparison) -> None:
        """Keep one more comparison; a kill at any instant leaves the file as it was or with it.

        Raises:
            Refused: where it cannot be written.
        """
        self.state.comparisons.append(comparison)
        try:
            put(self.path, msgspec.json.encode(self.state), durable=True)
        except OSError as error:
            raise _unwritten(self.path, error) from None


@contextmanager
def held(asked: Question, machine: str, key: str, *, restart: bool = False) -> Iterator[StateFile]:
    """The state of a question, while no other process may go on with it.

    Args:
        asked: the question.
        machine: that answers it.
        key: the name of its state.
        restart: put aside what there is.

    Raises:
        Refused: in one sentence, for a file that is damaged, of another question or in use, and a folder that cannot be used.
    """
    folder_name, *words = (
        word.encode("utf-8", "backslashreplace").decode() for word in (str(asked.folder), *asked.arguments)
    )
    new = State(good=asked.good, bad=asked.bad, folder=folder_name, arguments=words, machine=machine)
    try:
        folder = private(cache_folder() / "bisects")
        slot = Slot(folder, key)
    except OSError as error:
        raise _unwritten(cache_folder() / "bisects", error) from None
    try:
        if not slot.held(exclusive=True):
            raise Refused("another process is at work on the same search: wait for it, or end it")
        path = folder / f"{key}.json"
        if restart:
            _put_aside(path)
        yield StateFile(path, _read(path, new))
    finally:
        slot.close()


def _read(path: Path, new: State) -> State:
    shown = printable(cut(str(path)))
    try:
        found = msgspec.json.decode(regular(path, MOST_BYTES), type=State)
    except FileNotFoundError:
        return new
    except OSError as error:
        why = (
            f"is longer than {MOST_BYTES:,} bytes"
            if error.errno == errno.EFBIG
            else f"cannot be read: {error.strerror}"
        )
        raise Refused(f"{shown}: {why}; {RESTART}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"{shown}: the state is damaged ({printable(cut(str(error)))}); {RESTART}") from None
    for name in ("good", "bad", "folder", "arguments", "machine"):
        if getattr(found, name) != getattr(new, name):
            raise Refused(f"{shown}: the state is that of another search ({name} differs); {RESTART}")
    return found


def _put_aside(path: Path) -> None:
    """Under the first name that is free."""
    try:
        if path.exists():
            names = (path.with_suffix(f".{number}.json") for number in range(1, 10_000))
            path.rename(next(name for name in names if not name.exists()))
    except (OSError, StopIteration) as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: Exception) -> Refused:
    why = getattr(error, "strerror", None) or type(error).__name__
    return Refused(f"{printable(cut(str(path)))} cannot be written: {why}; PYTEST_METALPERF_CACHE names another folder")
