"""Whether an environment holds exactly the packages of a stack, told by its files before any of them is imported."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from ..worker.distributions import Facts, facts, rows
from .collected import package
from .stack import Package

HASHES = {"sha256", "sha384", "sha512"}
"""Of RECORD (PEP 376); others prove nothing."""

OF_UV = {".lock"}
"""What uv leaves in an environment when it installs; nothing reads it."""

_UNHASHED = "RECORD"
"""What holds the hashes cannot hold its own."""

_CHUNK = 1 << 20


class File(NamedTuple):
    """A file as it was before packages came: whoever writes into it changes this."""

    size: int
    changed: int
    inode: int
    link: str


def files(environment: Path) -> dict[str, File]:
    """Every file of an environment, by its path in it."""
    found = {}
    for folder, _, names in os.walk(environment):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            status = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
            found[os.path.relpath(path, environment)] = File(status.st_size, status.st_mtime_ns, status.st_ino, link)
    return found


def wrong_packages(site: Path, wanted: Sequence[Package]) -> str:
    """What of the packages in a folder is not what was wanted, in one sentence; empty if they are those, and no others.

    Args:
        site: the environment's site-packages.
        wanted: each with its exact version, and the digest of its RECORD where one is known.
    """
    found: dict[str, Package] = {}
    for told, _ in _installed(site):
        if told["name"] in found:
            return f"{told['name']} was installed twice"
        found[told["name"]] = package(told)
    for one in wanted:
        here = found.pop(one.name, None)
        if here is None:
            return f"{one.name} {one.version} was not installed"
        if here.version != one.version:
            return f"{one.name} {here.version} was installed, and {one.version} was wanted"
        if one.record and here.record != one.record:
            return (
                f"{one.name} {one.version} is not the package that was recorded: it holds other files (the wheel of another"
                " platform, or another package of that name)"
            )
    return f"{min(found)} was installed, and nothing wants it" if found else ""


def wrong_files(environment: Path, site: Path, before: Mapping[str, File]) -> str:
    """What of an environment's files no RECORD accounts for, in one sentence; empty if there is nothing.

    Installers copy files and their RECORD and compare nothing, so a RECORD alone proves nothing about the files.

    Args:
        environment: its folder.
        site: its site-packages.
        before: its files when it had no packages.
    """
    now = files(environment)
    for path, file in before.items():
        if now.get(path) != file:
            return f"a package has changed {path}, which is the environment's own"
    below = os.path.relpath(site, environment)
    recorded: dict[str, list[tuple[str, str]]] = {}
    for told, record in _installed(site):
        for path, sums in record.items():
            recorded.setdefault(os.path.normpath(f"{below}/{path}"), []).append((told["name"], sums))
    for path, claims in recorded.items():  # several, where packages share a file: the last one's is there
        name = claims[0][0]
        if path not in now or now[path].link:
            return f"{name} lacks its file {path}"
        if path in before or not any(_is_as_recorded(environment / path, sums) for _, sums in claims):
            return f"{name} has another file {path} than its RECORD says"
    unaccounted = now.keys() - before.keys() - recorded.keys() - OF_UV
    return f"{min(unaccounted)} belongs to no package" if unaccounted else ""


def site_of(environment: Path) -> Path:
    """Where an environment's packages lie.

    Raises:
        OSError: where it has no such folder.
    """
    for pattern in ("lib/*/site-packages", "Lib/site-packages"):
        for found in environment.glob(pattern):
            return found
    raise FileNotFoundError(2, "no site-packages", str(environment))


def _installed(site: Path) -> Iterator[tuple[Facts, dict[str, str]]]:
    for one in distributions(path=[str(site)]):
        record = rows(one.read_text("RECORD") or "")
        yield facts(one, record), record


def _is_as_recorded(path: Path, sums: str) -> bool:
    kind, _, wanted = sums.partition("=")
    if not sums:
        return path.name == _UNHASHED and path.parent.suffix == ".dist-info"
    if kind not in HASHES:
        return False
    found = hashlib.new(kind)
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return base64.urlsafe_b64encode(found.digest()).decode().rstrip("=") == wanted.rstrip("=")
