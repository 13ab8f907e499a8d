"""Which installed distributions a worker has loaded: those of its imported modules, and of the libraries mapped into it.

Facts alone: markers and the closure of requirements are for who reads the answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from .distributions import Facts, facts, is_editable, rows, source
from .sources import interpreter_folders

_OURS = __name__.partition(".")[0]
_MAPPED = re.compile(r"^\S+ +\S+ +\S+ +\S+ +\S+ +(/.*)$", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t(]+([^#)\n]*)|import[ \t]+([^#\n]+))", re.MULTILINE)
_AT_START = re.compile(r"""\bimport +([\w.]+)|__import__\(["']([\w.]+)["']\)""")


def installed() -> dict[str, Any]:
    """What is installed where this process imports from, as a value that travels.

    Returns:
        `python` (implementation and version, without its patch: `cpython 3.11`), `system`, `machine` and `libc` (`glibc
        2.35`) of the platform, `markers` (the variables of PEP 508), and `distributions`: `Facts`, each with `loaded`
        (whether this process has a file of it imported or mapped) and `by_user` (whether a module of the user's imports
        one of its modules by name).
    """
    return {
        "python": python(),
        "system": sys.platform,
        "machine": platform.machine(),
        "libc": libc(),
        "markers": _markers(),
        "distributions": loaded(sys.path, _files(sys.modules), mapped()),
    }


def loaded(path: Iterable[str], modules: Mapping[str, str], libraries: Iterable[str]) -> list[dict[str, Any]]:
    """The distributions on an import path, the first of each name: that is the one that is imported.

    Args:
        path: folders.
        modules: files by the names of imported modules.
        libraries: mapped files.
    """
    found: dict[str, tuple[Facts, dict[str, str], list[str]]] = {}
    for one in distributions(path=list(path)):
        with contextlib.suppress(ValueError, OSError):  # a broken one is none
            record = rows(one.read_text("RECORD") or "")
            of_it = facts(one, record)
            if of_it["name"]:
                found.setdefault(of_it["name"], (of_it, record, (one.read_text("top_level.txt") or "").split()))
    at_start = _imported_at_start({of_it["folder"] for of_it, _, _ in found.values()})
    real = {name: _real(file) for name, file in modules.items()}
    files = {*(file for name, file in real.items() if name not in at_start), *map(_real, libraries)}
    by_user = {real[name] for name in _of_the_user(real) if name in real}
    below: dict[str, tuple[set[str], set[str]]] = {}
    for of_it, _, _ in found.values():
        root = of_it["folder"]
        below[root] = below.get(root) or (_relative(files, root), _relative(by_user, root))
    answer = []
    for of_it, record, top in found.values():
        owned = _Owned(of_it, record, top)
        mine, users = below[of_it["folder"]]
        answer.append({**of_it, "loaded": owned.has(files, mine), "by_user": owned.has(by_user, users)})
    return answer


class _Owned:
    """The files of a distribution: those of its RECORD; without one, its top-level modules; if editable, its source."""

    def __init__(self, of_it: Facts, record: Mapping[str, str], top: list[str]) -> None:
        outside = [path for path in record if path.startswith("..")]
        self.inside = set(record).difference(outside)
        self.outside = {os.path.normpath(f"{of_it['folder']}/{path}") for path in outside}
        self.source = source(of_it["url"]) if is_editable(of_it["url"]) else ""
        self.top = () if record else tuple(top or [of_it["name"].replace("-", "_")])

    def has(self, files: set[str], below: set[str]) -> bool:
        """Whether one of these files, absolute, or relative to the distribution's folder, is its own."""
        if not self.inside.isdisjoint(below) or not self.outside.isdisjoint(files):
            return True
        if self.source and any(file.startswith(self.source + os.sep) for file in files):
            return True
        return bool(self.top) and any(re.split(r"[/.]", file, maxsplit=1)[0] in self.top for file in below)


def _relative(files: Iterable[str], root: str) -> set[str]:
    return {file[len(root) + 1 :].replace(os.sep, "/") for file in files if file.startswith(root + os.sep)}


def _files(modules: Mapping[str, Any]) -> dict[str, str]:
    """The files of imported modules; a lazy module must not be imported by looking at it."""
    found = {}
    for name, module in list(modules.items()):
        with contextlib.suppress(Exception):
            file = object.__getattribute__(module, "__dict__").get("__file__")
            if isinstance(file, str) and os.path.isabs(file):  # noqa: PTH117
                found[name] = file
    return found


def _real(file: str) -> str:
    """A file with the links of its folder followed, not its own: some installers link each file to a cache."""
    where, _, name = file.rpartition(os.sep)
    return f"{_real_folder(where or os.sep)}{os.sep}{name}"


@functools.cache
def _real_folder(where: str) -> str:
    return os.path.realpath(where)


def _imported_at_start(folders: Iterable[str]) -> set[str]:
    """The modules that .pth files import whenever Python starts, which no training asked for."""
    found: set[str] = set()
    for where in folders:
        with contextlib.suppress(OSError):
            for file in Path(where).glob("*.pth"):
                lines = file.read_text(errors="replace").splitlines()
                text = "\n".join(line for line in lines if line.startswith(("import ", "import\t")))
                found |= {one or other for one, other in _AT_START.findall(text)}
    return found


def _of_the_user(modules: Mapping[str, str]) -> set[str]:
    """The modules that modules of the user's name in an import, as far as their text shows it."""
    own = tuple(folder + os.sep for folder in interpreter_folders())
    found: set[str] = set()
    for name, file in modules.items():
        if file.endswith(".py") and name.partition(".")[0] != _OURS and not file.startswith(own):
            with contextlib.suppress(OSError):
                found |= imported(Path(file).read_text(errors="replace"))
    return found


def imported(text: str) -> set[str]:
    """The names of modules that a Python source imports, with their packages; `from a import b` may be `a.b`."""
    return set(_names(text))


def _names(text: str) -> Iterator[str]:
    for base, what, plain in _IMPORT.findall(text.replace(";", "\n")):
        named = [f"{base}.{one}" for one in re.findall(r"\w+", what)] if base else []
        for name in [*named, base, *re.findall(r"[\w.]+", re.sub(r"\bas\s+\w+", "", plain))]:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def python() -> str:
    """`cpython 3.11`, or `cpython 3.13t` of one without the interpreter's lock."""
    free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}{free}"


def libc() -> str:
    """`glibc 2.35`, `musl` of another one on Linux, and `macos 14.5`, which is what a Mac's wheels name."""
    if sys.platform == "darwin":
        return f"macos {platform.mac_ver()[0]}"
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.confstr("CS_GNU_LIBC_VERSION") or "musl"
    return "musl" if sys.platform == "linux" else ""


def _markers() -> dict[str, str]:
    system = os.uname() if hasattr(os, "uname") else platform.uname()
    release = [*map(str, sys.implementation.version[:3])]
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": ".".join(release),
        "os_name": os.name,
        "platform_machine": system[4],
        "platform_release": system[2],
        "platform_system": system[0],
        "platform_version": system[3],
        "platform_python_implementation": platform.python_implementation(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "sys_platform": sys.platform,
    }


def mapped() -> set[str]:
    """The files that are mapped into this process: its libraries, whoever loaded them."""
    if sys.platform == "darwin":
        return images(ctypes.CDLL(None))
    with contextlib.suppress(OSError):
        return of_maps(Path("/proc/self/maps").read_text(errors="surrogateescape"))
    return set()


def of_maps(text: str) -> set[str]:
    """The files in Linux' /proc/<pid>/maps (proc(5)) that are still there."""
    return {path for path in _MAPPED.findall(text) if not path.endswith(" (deleted)")}


def images(dyld: Any) -> set[str]:
    """The images that macOS' dyld(3) has loaded; one that goes while we count has no name."""
    dyld._dyld_get_image_name.restype = ctypes.c_char_p
    names = [dyld._dyld_get_image_name(number) for number in range(dyld._dyld_image_count())]
    return {os.fsdecode(name) for name in names if name}
