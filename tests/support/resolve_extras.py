"""Whether each extra resolves for the machines that it is made for, to what is known to load together.

Asks the package index, by uv, which resolves for other platforms and Pythons than its own: `tox -e extras`.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_metalperf.doctor.environment import fits, pair_loads

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
MAC, INTEL_MAC, LINUX = "aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-unknown-linux-gnu"

NEW_LINUX = "x86_64-manylinux_2_35"
"""What MLX' wheels need, and on a Mac:"""
NEW_MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}

AT_ONCE = 4  # they wait for the index

Resolved = Mapping[str, str]
Rule = Callable[[Resolved], str]


def metal(found: Resolved) -> str:
    """What is wrong with a pair for Apple's GPU; empty for nothing."""
    tensorflow, plugin = found.get("tensorflow", ""), found.get("tensorflow-metal", "")
    if not plugin:
        return "no tensorflow-metal"
    return (
        ""
        if pair_loads(tensorflow, plugin)
        else f"tensorflow-metal {plugin} does not load with TensorFlow {tensorflow}"
    )


def no_metal(found: Resolved) -> str:
    """What is wrong where no tensorflow-metal exists: it must be left out, and TensorFlow be there all the same."""
    return "tensorflow-metal has no wheel there" if "tensorflow-metal" in found else tensorflow(found)


def tensorflow(found: Resolved) -> str:
    """What is wrong with a TensorFlow for the CPU or CUDA."""
    version = found.get("tensorflow") or found.get("tensorflow-cpu") or ""
    return "" if fits(version, ">=2.16") else f"TensorFlow {version or 'none'}; 2.16 or later brings Keras 3"


def package(name: str) -> Rule:
    """What is wrong where this package must be there, such as another framework for Keras."""
    return lambda found: "" if name in found else f"no {name}"


WITHOUT_KERAS = ("benchmark", "bisect", "history", "replay", "report", "torch", "jax", "mlx")
"""Extras that bring no Keras: no framework, or one that trains without."""

CASES: list[tuple[str, str, str, Rule]] = [
    *(("metal", MAC, python, metal) for python in ("3.10", "3.11", "3.12")),
    ("metal", MAC, "3.13", no_metal),
    ("metal", LINUX, "3.12", no_metal),
    ("metal", INTEL_MAC, "3.11", no_metal),
    *(("tensorflow-macos", MAC, python, metal) for python in ("3.10", "3.11")),
    ("tensorflow-macos", MAC, "3.12", no_metal),
    *(("bench", MAC, python, metal) for python in ("3.10", "3.11", "3.12")),
    *(("tensorflow", where, python, tensorflow) for where, python in itertools.product((MAC, LINUX), ("3.10", "3.12"))),
    *(("tensorflow-cpu", where, "3.12", tensorflow) for where in (MAC, LINUX)),
    ("cuda", LINUX, "3.12", tensorflow),
    *((name, MAC, python, package(name)) for name, python in itertools.product(("torch", "jax"), ("3.10", "3.12"))),
    *(
        ("mlx", where, python, package("mlx"))
        for where, python in itertools.product((MAC, NEW_LINUX), ("3.10", "3.12"))
    ),
    *(("keras", where, "3.10", package("keras")) for where in (MAC, LINUX)),
    *(("benchmark", where, "3.10", package("pytest-benchmark")) for where in (MAC, LINUX)),
    *(("report", where, "3.10", package("vl-convert-python")) for where in (MAC, LINUX)),
    *(("replay", where, "3.10", package("uv")) for where in (MAC, LINUX)),
    *(("history", where, "3.10", package("ruptures")) for where in (MAC, LINUX)),
    *(("bisect", where, "3.10", package("git-bayesect")) for where in (MAC, LINUX)),
]


def resolved(extra: str, platform: str, python: str) -> Resolved:
    """Versions by distribution.

    Raises:
        ValueError: with the resolver's own words.
    """
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        str(PYPROJECT),
        "--extra",
        extra,
        "--python-platform",
        platform,
    ]
    command += ["--python-version", python, "--no-header", "--no-annotate", "--quiet"]
    environment = {**os.environ, **(NEW_MACOS if extra == "mlx" else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ValueError(" ".join(done.stderr.split()))
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", done.stdout, re.MULTILINE))


def problem(found: Resolved, rule: Rule) -> str:
    """What is wrong with a resolution; empty for nothing."""
    return rule(found) or ("" if fits(found.get("keras", ""), ">=3") else f"Keras {found.get('keras', 'none')}, not 3")


def checked(extra: str, platform: str, python: str, rule: Rule) -> tuple[Resolved, str]:
    """A resolution, and what is wrong with it."""
    try:
        found = resolved(extra, platform, python)
    except ValueError as error:
        return {}, f"does not resolve: {error}"
    return found, rule(found) if extra in WITHOUT_KERAS else problem(found, rule)


def main() -> int:
    """Resolve every case; 1 when one of them is wrong."""
    wrong = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(lambda case: checked(*case), CASES))
    for (extra, platform, python, _), (found, why) in zip(CASES, looked, strict=True):
        told = [
            f"{name} {found[name]}"
            for name in (
                "tensorflow",
                "tensorflow-cpu",
                "tensorflow-metal",
                "torch",
                "jax",
                "mlx",
                "keras",
                "pytest-benchmark",
            )
            if name in found
        ]
        print(
            f"{'BAD' if why else 'ok ':<4} {extra:<17} {platform:<25} {python:<5} {', '.join(told)} {why}".rstrip(),
            flush=True,
        )
        wrong += bool(why)
    print(f"{len(CASES)} resolutions, {wrong or 'none'} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
