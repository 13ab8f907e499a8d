"""Names of processors, without what is not identity: trademarks, clocks, core counts."""

from __future__ import annotations

import re

from .reading import UNKNOWN

_NOISE = re.compile(
    r"\((?:R|TM|C)\)|[®™©]"  # trademarks
    r"|@.*|\b\d+(?:\.\d+)?\s*[GM]Hz\b"  # clocks
    r"|\bwith Radeon .*"
    r"|\b(?:[\w]+-Cores?|CPU|Processor)\b",
    re.IGNORECASE,
)

_ARM = {
    (0x41, 0xD03): "Arm Cortex-A53",
    (0x41, 0xD05): "Arm Cortex-A55",
    (0x41, 0xD07): "Arm Cortex-A57",
    (0x41, 0xD08): "Arm Cortex-A72",
    (0x41, 0xD09): "Arm Cortex-A73",
    (0x41, 0xD0A): "Arm Cortex-A75",
    (0x41, 0xD0B): "Arm Cortex-A76",
    (0x41, 0xD0C): "Arm Neoverse N1",
    (0x41, 0xD40): "Arm Neoverse V1",
    (0x41, 0xD41): "Arm Cortex-A78",
    (0x41, 0xD42): "Arm Cortex-A78AE",
    (0x41, 0xD49): "Arm Neoverse N2",
    (0x41, 0xD4F): "Arm Neoverse V2",
    (0x41, 0xD84): "Arm Neoverse V3",
    (0x41, 0xD8E): "Arm Neoverse N3",
    (0x46, 0x001): "Fujitsu A64FX",
    (0x48, 0xD01): "HiSilicon TSV110",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
"""MIDR implementer and part -> name, as in util-linux's lscpu. Others go by their numbers, which is exact too."""


def brand(text: str) -> str:
    """A brand string as a name: `Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz` -> `Intel Core i7-9750H`."""
    return " ".join(_NOISE.sub(" ", text).split()) or UNKNOWN


def arm(implementer: int, part: int) -> str:
    """An Arm core by the two numbers of its main ID register (MIDR)."""
    return _ARM.get((implementer, part), f"Arm implementer 0x{implementer:02x} part 0x{part:03x}")
