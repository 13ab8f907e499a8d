"""Environments of recorded stacks: made once, verified, kept in the user's cache, locked while used, bounded in bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..worker.clock import RealTime
from ..worker.stack import libc
from ..worker.stack import python as this_python
from .cache import cache_folder, private, trim
from .installer import Installer, InstallError, find_uv, python_of
from .slot import Slot
from .stack import Package, Stack
from .stack_file import text_of
from .verified import files, site_of, wrong_files, wrong_packages

MOST_BYTES = 20 * 1024**3
"""Of all environments that are kept; one with TensorFlow or PyTorch has 1 to 8 GB."""

WAIT_SECONDS = 3600.0
"""For so long another session that makes the same environment is waited for."""

LAYOUT = 1
"""Another number makes every environment anew."""

NOTE = "metalperf.json"
"""In an environment: how many bytes it has."""


class NoEnvironment(Exception):
    """Why there is no environment for a stack: a clause that begins in lower case, without a stop."""


@dataclass(frozen=True)
class Environment:
    """An interpreter with the packages of a stack.

    Attributes:
        python: its path, for `Interpreter(python=…)`.
        folder: where it lies.
        seconds: what making it took; 0 where it was there.
        left_out: tools that no index has.
    """

    python: Path
    folder: Path
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()


class Environments:
    """The environments that one session uses, which no other session removes meanwhile.

    One may be made in a thread while tests run, one after the other; `close` ends that.

    Args:
        cache: where they are kept; else the user's cache folder.
        command: how uv is started; else what the extra `[replay]` has installed.
        most_bytes: of all that are kept.
        waiting: hears about once a second what is done, and the seconds that it has taken.
    """

    def __init__(
        self,
        cache: Path | None = None,
        command: Sequence[str] = (),
        most_bytes: int = MOST_BYTES,
        waiting: Callable[[str, float], None] = lambda what, seconds: None,
    ) -> None:
        self._cache, self._command, self._most_bytes, self._waiting = cache, command, most_bytes, waiting
        self._slots: dict[str, Slot] = {}
        self._installer: Installer | None = None

    def of(self, stack: Stack, tools: Sequence[Package] = ()) -> Environment:
        """An environment with the packages of a stack, made if it is not there.

        Args:
            stack: as recorded.
            tools: what builders' modules import as well, in today's versions (`Collected.tools`); where the stack has a
                package, its version counts.

        Raises:
            NoEnvironment: for each reason why there is none; nothing of it is left.
        """
        if why := why_not(stack):
            raise NoEnvironment(why)
        in_stack = {one.name for one in stack.packages}
        same_wheels = stack.python == this_python()
        beside = [one if same_wheels else Package(one.name, one.version) for one in tools if one.name not in in_stack]
        wanted = [*stack.packages, *(one for one in beside if not one.origin)]
        left_out = tuple(one.name for one in beside if one.origin)
        # of the same version, this very interpreter: builds of one version differ in speed
        base = getattr(sys, "_base_executable", "") or sys.executable
        python = str(base) if same_wheels else stack.python.replace(" ", "")
        key = _key(stack, wanted, f"{python} {sys.version if same_wheels else ''}")
        try:
            return self._held(key, wanted, python, left_out)
        except InstallError as error:
            raise NoEnvironment(str(error)) from None
        except TimeoutError:
            raise NoEnvironment("another session has been making it for an hour") from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise NoEnvironment(f"{where}{error.strerror or error}") from None

    def _held(self, key: str, wanted: Sequence[Package], python: str, left_out: tuple[str, ...]) -> Environment:
        cache = private(self._cache or cache_folder() / "environments")
        slot = self._slots.get(key) or Slot(cache, key)
        try:
            ready = Environment(python_of(slot.folder), slot.folder, left_out=left_out)
            if key in self._slots and _is_whole(ready, wanted):
                return ready
            seconds = 0.0
            what = "waiting for another session that makes the same environment"
            while not slot.wait(lambda: _is_whole(ready, wanted), lambda s: self._waiting(what, s), WAIT_SECONDS):
                start = RealTime.monotonic()
                self._make(slot, wanted, python)
                seconds = RealTime.monotonic() - start
        except BaseException:
            self._slots.pop(key, None)
            slot.close()
            raise
        self._slots[key] = slot
        if seconds:
            trim(cache, self._most_bytes, NOTE, using=self._slots)
        return Environment(ready.python, ready.folder, seconds, left_out)

    def _make(self, slot: Slot, wanted: Sequence[Package], python: str) -> None:
        installer = self._installer = Installer(self._command or find_uv(), self._waiting)
        folder = slot.unfinished()
        try:
            target = folder / "environment"
            held = [slot.descriptor]
            wrong = ""
            for last_index_first in (
                False,
                True,
            ):  # uv takes a version from the first that has it; another may have its wheel
                shutil.rmtree(target, ignore_errors=True)
                installer.make(python, folder, held)
                before = files(target)
                installer.install(wanted, folder, held, last_index_first=last_index_first)
                site = site_of(target)
                found = wrong_packages(site, wanted) or wrong_files(target, site, before)
                wrong = found and (wrong or found)
                if not wrong or not installer.has_indexes:
                    break
            if wrong:
                raise InstallError(wrong)
            size = sum(file.size for file in files(target).values())
            (target / NOTE).write_text(json.dumps({"bytes": size}))
            slot.fill(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let others remove what this session has used, and end what it still makes."""
        if self._installer is not None:
            self._installer.end()
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()


def why_not(stack: Stack) -> str:
    """Why a stack cannot be installed here, whatever an index has; empty where nothing forbids it."""
    here = " ".join(filter(None, (sys.platform, platform.machine(), libc().partition(" ")[0])))
    if stack.platform != here:
        return f"its packages are for {stack.platform}, and this machine is {here}"
    if gone := stack.unavailable:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        named = ", ".join(f"{one.name} {one.version} ({one.origin})" for one in gone[:3])
        return f"some of its packages cannot be installed again: {named}{more}"
    return ""


def _key(stack: Stack, wanted: Sequence[Package], interpreter: str) -> str:
    lines = (f"{one.name}=={one.version} {one.record}" for one in wanted)
    text = "\n".join([str(LAYOUT), interpreter, text_of(stack), *lines])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _is_whole(environment: Environment, wanted: Sequence[Package]) -> bool:
    """Whether it is there with its packages, and the interpreter that it links to still is."""
    with contextlib.suppress(OSError):
        if environment.python.exists() and (environment.folder / NOTE).exists():
            return not wrong_packages(site_of(environment.folder), wanted)
    return False
