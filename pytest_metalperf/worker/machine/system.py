"""Versions of what lies below the frameworks and comes with the system: Metal's kernels with macOS, CUDA's driver."""

from __future__ import annotations

import platform
import re
import sys

from .reading import read

SYSTEM = ("macos", "nvidia-driver")
"""Names of them; baselines that were stored before they were known have none."""


def system_versions(device: str) -> dict[str, str]:
    """Those that a run on `device` depends on; empty where nobody tells any."""
    if sys.platform == "darwin":
        return _known("macos", platform.mac_ver()[0])
    return {} if device == "cpu" else _known("nvidia-driver", driver(read("/proc/driver/nvidia/version")))


def driver(version: str) -> str:
    """`580.159.04` of /proc/driver/nvidia/version, of the open kernel module as of the other; empty if unknown."""
    found = re.search(r"^NVRM version: .*Kernel Module(?: for \S+)?\s+(\d[\d.]*)", version, re.MULTILINE)
    return found[1] if found else ""


def _known(name: str, version: str) -> dict[str, str]:
    return {name: version} if version else {}
