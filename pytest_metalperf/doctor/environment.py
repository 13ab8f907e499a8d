"""What is installed in this interpreter, read without importing any of it, and which of it works together.

Importing TensorFlow beside a plugin that does not fit aborts Python, so what can be told from names and versions is told
from them. Versions: the wheels of tensorflow, tensorflow-macos and tensorflow-metal on PyPI, and which symbols their
libraries export and ask for.
"""

from __future__ import annotations

import contextlib
import os
import platform
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..worker.backends import variables
from ..worker.machine import MachineFacts

PLUGINS = ("tensorflow-metal", "tensorflow-metal-plugin")
"""Apple's plugin, and a community's."""
JAX_PLUGINS = ("jax-mps", "metaljax")
"""What brings Apple's GPU to JAX; neither is Apple's."""
FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "mlx": "MLX"}
"""Backends by the distribution that they need, and how people call them."""
SAME_FOLDER = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tensorflow-rocm")
"""Distributions that bring `import tensorflow`; two of them overwrite each other's files."""
PACKAGES = (
    *SAME_FOLDER,
    "tensorflow-macos",
    *PLUGINS,
    "keras",
    "keras-nightly",
    "tf-keras",
    "torch",
    "jax",
    "jaxlib",
    "jax-metal",
    *JAX_PLUGINS,
    "mlx",
    "numpy",
)
JAX_FIX = "pip install jax-mps, or metaljax (macOS 14 and an arm64 Python 3.12, or later)"
METAL_PYTHONS = "an arm64 Python 3.10 to 3.12"
METAL_PAIR = "TensorFlow 2.18 or 2.19 with tensorflow-metal 1.2.0"
METAL_FIX = f"pip install 'pytest-metalperf[metal]' ({METAL_PAIR})"


class Installed(NamedTuple):
    """One distribution in one folder."""

    version: str
    folder: str


@dataclass(frozen=True)
class Environment:
    """An interpreter and what it would import.

    Attributes:
        python: its version, `(3, 11, 7)`.
        machine: what it is compiled for: `arm64`, `x86_64`, `aarch64`.
        facts: the machine that it runs on.
        packages: those of `PACKAGES` that are installed, each in the order in which folders are searched.
        plugins: libraries that TensorFlow loads as it is imported, one path for each way to reach them.
        variables: environment variables that are set and change what is computed, or how fast.
        needs: what those of `JAX_PLUGINS` that are installed want of others, by name: `{"jaxlib": "<0.12,>=0.11.0"}`.
    """

    python: tuple[int, int, int]
    machine: str
    facts: MachineFacts
    packages: Mapping[str, Sequence[Installed]] = field(default_factory=dict)
    plugins: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def version(self, name: str) -> str:
        """The version that would be imported; empty for what is not installed."""
        found = self.packages.get(name)
        return found[0].version if found else ""

    @property
    def tensorflow(self) -> str:
        """TensorFlow's version, whichever distribution brings it."""
        return next((self.version(name) for name in SAME_FOLDER if self.version(name)), "")

    @property
    def backends(self) -> list[str]:
        """Backends of ours whose framework is installed."""
        return [name for name in FRAMEWORKS if (self.tensorflow if name == "tensorflow" else self.version(name))]

    @property
    def apple(self) -> bool:
        """Whether the machine is Apple silicon, whatever this Python is compiled for."""
        mac = self.facts.system == "macos"
        return mac and (self.machine == "arm64" or bool(self.facts.rosetta) or self.facts.chip.startswith("Apple"))


def environment(facts: MachineFacts) -> Environment:
    """Read this interpreter's. A distribution whose metadata cannot be read counts as not installed."""
    return Environment(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        machine=platform.machine(),
        facts=facts,
        packages={name: found for name in PACKAGES if (found := installed(name, sys.path))},
        plugins=plugin_libraries(site_folders()),
        variables=variables(),
        needs={name: wanted for name in JAX_PLUGINS if (wanted := needs(name))},
    )


def needs(name: str) -> dict[str, str]:
    """The versions that an installed distribution wants of others, as its metadata say it; markers and extras are left out."""
    found = {}
    with contextlib.suppress(Exception):  # half of an installation, and metadata that are none
        wanted = [Requirement(text) for text in metadata.requires(name) or ()]
        found = {one.name: str(one.specifier) for one in wanted if one.specifier and one.marker is None}
    return found


def installed(name: str, path: Sequence[str]) -> tuple[Installed, ...]:
    """Every copy of a distribution on an import path, the one that is imported first; by however many paths it is reached."""
    found: dict[tuple[str, str], Installed] = {}
    for distribution in metadata.distributions(name=name, path=list(path)):
        try:
            one = Installed(distribution.version, str(distribution.locate_file("")))
        except Exception:  # half of an installation: a folder without metadata
            continue
        if one.version:
            found.setdefault((one.version, os.path.realpath(one.folder)), one)
    return tuple(found.values())


def site_folders() -> list[str]:
    """Folders in which TensorFlow's `__init__` looks for plugins, each name of one once, as it does it."""
    found = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    found += [entry for entry in sys.path if "site-packages" in entry]
    found += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    schemes = (
        sysconfig.get_path(name, scheme) for scheme in sysconfig.get_scheme_names() for name in ("purelib", "platlib")
    )
    return list(dict.fromkeys([*found, *schemes]))


def plugin_libraries(folders: Sequence[str]) -> tuple[str, ...]:
    """The libraries that lie in the `tensorflow-plugins` of these folders."""
    found: list[str] = []
    for folder in folders:
        try:
            found += sorted(str(one) for one in (Path(folder) / "tensorflow-plugins").iterdir())
        except OSError:
            continue
    return tuple(one for one in found if one.endswith((".dylib", ".so")))


def release(version: str) -> Version | None:
    """The release that a version belongs to: `2.19.1` for `2.19.1`, `2.19.1rc1` and `2.19.1+cpu`; None for what is no version."""
    try:
        return Version(Version(version).base_version)
    except ValueError:
        return None


def fits(version: str, specifiers: str) -> bool:
    """Whether the release of a version is in a set such as `>=2.18,<2.20` (PEP 440); what is no version is in none."""
    found = release(version)
    return found is not None and SpecifierSet(specifiers).contains(found)


_PAIRS = (
    (">=2.20", ">=0", False),  # no longer has the library that either plugin links to
    (">=2.18,<2.20", ">=1.2", True),
    (">=2.18,<2.20", "<1.2", False),  # no longer has a symbol that 1.1.0 asks for
    (">=2.17,<2.18", ">=1.1,<1.3", True),
    (">=2.14,<2.17", ">=1.1,<1.2", True),
)
"""Releases of TensorFlow and of tensorflow-metal, whose last is 1.2.0, and whether they load together."""


def pair_loads(tensorflow: str, metal: str) -> bool | None:
    """Whether this tensorflow-metal loads with this TensorFlow; None for pairs of which nobody has reported either."""
    return next((loads for ours, theirs, loads in _PAIRS if fits(tensorflow, ours) and fits(metal, theirs)), None)
