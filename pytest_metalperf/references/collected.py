"""Which of the distributions that a worker found belong to its stack, and which are tools or the measured code itself."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from ..worker.distributions import Facts, is_editable, normalised, source
from .stack import Package, Stack

OURSELVES = "pytest-metalperf"

OUR_OWN = {
    "cloudpickle", "execnet", "msgspec", "numpy", "nvidia-ml-py", "packaging", "pluggy", "psutil", "scipy", "tabulate",
    "zeus-apple-silicon",
}  # fmt: skip
"""What we require, or use where it is present: part of a stack only where something else needs it."""

FRAMEWORKS = {"jax", "keras", "mlx", "tensorflow", "tensorflow-cpu", "tensorflow-macos", "tf-keras", "torch"}
"""What counts although a plugin of pytest's requires it."""

_SECTION = re.compile(r"\[([\w.]+)\]")
_NAME = re.compile(r"""name *= *["']?([\w.-]+)""")
_OLD_GLIBC = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_NEEDS = re.compile(r"-(?:(manylinux\d+)_|(?:manylinux|macosx)_(\d+)_(\d+)_)\w+$")


class Collected(NamedTuple):
    """What a worker had loaded, and what is installed beside it.

    Attributes:
        stack: the packages that training loaded.
        tools: what its modules import as well, and no stack counts: pytest, its plugins, what these require.
        installed: all packages of its interpreter.
    """

    stack: Stack
    tools: tuple[Package, ...]
    installed: tuple[Package, ...]


def collected(answer: Mapping[str, Any], repository: Path | None = None) -> Collected:
    """The stack of a worker.

    Args:
        answer: of `Job.stack`.
        repository: of the measured code, whose own distributions are code and no packages.
    """
    everything: dict[str, Mapping[str, Any]] = {one["name"]: one for one in answer["distributions"]}
    code: set[str] = set()
    if repository is not None:
        code = project_names(repository) | {name for name, one in everything.items() if is_code(one, repository)}
    packages = {name: one for name, one in everything.items() if name not in code}
    requirements = _Requirements(packages, answer["markers"])
    loaded = {name for name, one in packages.items() if one["loaded"]}
    never = {name for name, one in packages.items() if one["plugin"]} | {"pytest", OURSELVES}
    hidden = (
        requirements.closure((never & loaded) | OUR_OWN) - FRAMEWORKS
    )  # a tool that is not loaded has loaded nothing
    roots = {name for name in loaded - never if name not in hidden or packages[name]["by_user"]}
    counted = requirements.closure(roots, less=never)
    tools = requirements.closure(loaded - counted) - counted - {OURSELVES}
    stack = Stack(
        answer["python"],
        " ".join(filter(None, (answer["system"], answer["machine"], answer["libc"].partition(" ")[0]))),
        _least(packages[name]["tags"] for name in counted),
        tuple(package(packages[name]) for name in sorted(counted)),
    )
    return Collected(
        stack,
        tuple(package(packages[name]) for name in sorted(tools)),
        tuple(package(packages[name]) for name in sorted(packages)),
    )


def is_code(one: Mapping[str, Any], repository: Path) -> bool:
    """Whether a distribution is the repository's own: installed from there, or lying there outside any interpreter."""
    top = repository.resolve()
    made_from, lies_in = source(one["url"]), Path(one["folder"])
    if made_from and Path(made_from).is_relative_to(top):
        return True
    return lies_in.is_relative_to(top) and not {"site-packages", "dist-packages"} & set(lies_in.parts)


def project_names(repository: Path) -> set[str]:
    """What the project at the top of a repository calls its distribution: installed from wherever, that is its code."""
    found = set()
    for file in ("pyproject.toml", "setup.cfg"):
        section = ""
        with contextlib.suppress(OSError):
            for line in (repository / file).read_text(errors="replace").splitlines():
                if line.startswith("["):
                    section = named[1] if (named := _SECTION.match(line)) else ""
                elif section in {"project", "tool.poetry", "metadata"} and (named := _NAME.match(line)):
                    found.add(normalised(named[1]))
    return found


def package(one: Mapping[str, Any] | Facts) -> Package:
    """A distribution as part of a stack."""
    origin = _origin(one)
    try:
        version = str(Version(one["version"]))
    except InvalidVersion:
        version, origin = (
            re.sub(r"[^A-Za-z0-9.+!_-]", "-", one["version"]) or "unknown",
            origin or "of no valid version",
        )
    return Package(one["name"], version, one["digest"], origin)


def _origin(one: Mapping[str, Any] | Facts) -> str:
    """Why a distribution cannot be installed again, in words that name no address: it may hold a password."""
    if one["url"]:
        try:
            said = json.loads(one["url"])
        except ValueError:
            said = {}
        if not isinstance(said, dict) or not isinstance(said.get("url"), str):
            return "from a URL"
        if isinstance(said.get("vcs_info"), dict):
            commit = re.match("[0-9a-f]{7,10}", str(said["vcs_info"].get("commit_id")))
            return f"from a repository at {commit[0]}" if commit else "from a repository"
        if is_editable(one["url"]):
            return "editable from a folder"
        if not said["url"].startswith("file:"):
            return "from a URL"
        return "from a folder" if "dir_info" in said else "from a file"
    if one["installer"] == "conda":
        return "by conda"
    return "" if one["digest"] else "without a RECORD"


def _least(wheels: Iterable[Iterable[str]]) -> str:
    """The version of glibc or macOS that all these wheels run on, by the tags of each: one of its tags suffices."""
    most = (0, 0)
    for tags in wheels:
        found = [_NEEDS.search(tag) for tag in tags]
        needed = [_OLD_GLIBC.get(one[1], (0, 0)) if one[1] else (int(one[2]), int(one[3])) for one in found if one]
        most = max(most, min(needed, default=most))
    return f"{most[0]}.{most[1]}" if most > (0, 0) else ""


class _Requirements:
    """What distributions require of each other where their markers hold."""

    def __init__(self, packages: Mapping[str, Mapping[str, Any]], markers: Mapping[str, str]) -> None:
        self.packages, self.markers = packages, dict(markers)

    def closure(self, names: Iterable[str], less: Iterable[str] = ()) -> set[str]:
        """Those of `names` that are installed, with all that they require; what is in `less` is left out."""
        seen: set[tuple[str, str]] = set()
        waiting = [(name, "") for name in names]
        left_out = set(less)
        while waiting:
            one = waiting.pop()
            if one not in seen and one[0] in self.packages and one[0] not in left_out:
                seen.add(one)
                waiting.extend(self._required(*one))
        return {name for name, _ in seen}

    def _required(self, name: str, extra: str) -> Iterable[tuple[str, str]]:
        """What one distribution requires for one of its extras, or without any: each with an extra or without."""
        for line in self.packages[name]["requires"]:
            required = _requirement(line)
            if required is None:
                continue
            if required.marker is None or required.marker.evaluate({**self.markers, "extra": extra}):
                yield normalised(required.name), ""
                for wanted in required.extras:
                    yield normalised(required.name), normalised(wanted)


@functools.lru_cache(maxsize=10_000)
def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:  # of the time before PEP 508
        return None
