"""Who a machine is: the hardware facts that name its baselines."""

from __future__ import annotations

import os
import platform
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from . import linux, macos
from .reading import UNKNOWN

if TYPE_CHECKING:
    from .reading import Hardware

_APPLE_GPU = re.compile(r"Apple .* (\d+)-core")


@dataclass(frozen=True)
class MachineFacts:
    """Stable hardware facts.

    What could not be read is "unknown" (0 for memory, None for a question of yes or no), never a guess.
    """

    id: str
    """Names the machine's baselines; only [a-z0-9-], and nothing that a reboot or a new kernel changes."""
    system: str
    """"linux", "macos", or another `platform.system().lower()`."""
    chip: str
    """"Apple M1 Pro", "Intel Xeon Platinum 8481C"."""
    model: str
    """"MacBookPro18,3"; on Linux the product name of DMI or of the device tree."""
    cores: str
    """"8p2e": cores by performance level; elsewhere the CPUs that this process may use: "2", or "1.5" under a quota."""
    memory_gb: int
    """Rounded to the size that the memory was sold as, in GiB."""
    gpus: tuple[str, ...]
    """"Apple M1 Pro 16-core", "NVIDIA H200"; ("unknown",) where there is one without a readable name."""
    os: str
    """Provenance, not identity: "macOS 15.1 (24B83)"."""
    virtual: bool | None
    """Whether this is a virtual machine."""
    rosetta: bool | None = None
    """Whether this process is x86-64 code translated by Rosetta; None off macOS."""

    def as_dict(self) -> dict[str, object]:
        """The facts in plain JSON types."""
        return {**asdict(self), "gpus": list(self.gpus)}


def machine_facts() -> MachineFacts:
    """The facts of this machine. Never raises."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower()) or UNKNOWN
    try:
        if system == "linux":
            return facts_from(system, linux.hardware())
        if system == "macos":
            return facts_from(system, macos.hardware())
    except Exception:  # a machine that nobody foresaw gets no name, but still its tests
        return facts_from(system, {})
    return facts_from(system, {"cores": str(os.cpu_count() or UNKNOWN)})


def facts_from(system: str, hardware: Hardware) -> MachineFacts:
    """The facts, with their id, from what a system's module could read."""
    chip = hardware.get("chip", UNKNOWN)
    model = hardware.get("model", UNKNOWN)
    cores = hardware.get("cores", UNKNOWN)
    memory_gb = hardware.get("memory_gb", 0)
    gpus = tuple(sorted(hardware.get("gpus", ())))
    return MachineFacts(
        id=_id(system, chip, model, cores, memory_gb, gpus),
        system=system,
        chip=chip,
        model=model,
        cores=cores,
        memory_gb=memory_gb,
        gpus=gpus,
        os=hardware.get("os", UNKNOWN),
        virtual=hardware.get("virtual"),
        rosetta=hardware.get("rosetta"),
    )


def slug(text: str) -> str:
    """Any name as part of an id: [a-z0-9-], never empty; letters of other alphabets become their code points."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    ascii_only = "".join(c if c.isascii() else f"-u{ord(c):x}-" if c.isalnum() else "-" for c in plain.lower())
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-") or UNKNOWN


def _id(system: str, chip: str, model: str, cores: str, memory_gb: int, gpus: tuple[str, ...]) -> str:
    """Laptops and desktops share Apple's chips, not their cooling, so a Mac begins with its model."""
    shared: list[str] = []  # on Apple silicon the GPU shares chip and memory, and only its size is news
    extra: list[str] = []
    for name, count in sorted(Counter(gpus).items()):
        apple = _APPLE_GPU.fullmatch(name)
        if apple:
            shared.append(f"{apple[1]}gpu")
        else:
            extra.append(("" if count == 1 else f"{count}x-") + ("unknown-gpu" if name == UNKNOWN else name))
    parts = [
        model if system == "macos" and model != UNKNOWN else system,
        chip if chip != UNKNOWN else "unknown-chip",
        cores + "cpu" if cores.replace(".", "").isdigit() else cores if cores != UNKNOWN else "unknown-cores",
        *shared,
        f"{memory_gb}gb" if memory_gb else "unknown-memory",
        *extra,
    ]
    return "-".join(slug(part) for part in parts)
