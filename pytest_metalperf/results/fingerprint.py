"""The fingerprint of a workload, compared: what runs agree on, and what changed in the work itself.

Operations, FLOP, traces and parameters are the same in every process that runs the same code, so no noise has to be
learned: they are compared exactly. What one side does not tell is no change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..baselines.schema import Fingerprint
from .quantities import amounts

SHOWN_TYPES = 2
"""Operation types named in one clause; the rest is counted."""

_KINDS = ("operations", "operations_on_cpu")
_FIGURES = ("flop", "traces", "parameters", "memory_bytes")


class FingerprintError(ValueError):
    """One sentence about a fingerprint that a backend gives and nobody can read."""


def fingerprint(plain: Mapping[str, Any] | None) -> Fingerprint | None:
    """What a worker tells of its work; None where it tells nothing.

    Raises:
        WorkError: for what is no fingerprint.
    """
    if plain is None:
        return None
    try:
        work: Fingerprint = msgspec.convert(dict(plain), Fingerprint)
    except (TypeError, ValueError, msgspec.ValidationError) as error:
        raise FingerprintError(f"the backend gives a fingerprint that cannot be read: {error}") from None
    return msgspec.structs.replace(
        work,
        operations={name: count for name, count in work.operations.items() if count},
        operations_on_cpu={name: count for name, count in work.operations_on_cpu.items() if count},
        flop=work.flop if work.flop is not None and math.isfinite(work.flop) else None,
    )


def beside(old: Fingerprint | None, new: Fingerprint | None) -> Fingerprint | None:
    """The fingerprint of runs that are stored beside older ones: facts that were seen to vary stay out of it."""
    if kept_apart(old, new):  # what varied in the old says nothing of it
        return new
    return common((old, new))


def kept_apart(old: Fingerprint | None, new: Fingerprint | None) -> list[str]:
    """What keeps runs of both from being one baseline, a clause per fact.

    The allocator's peak does not: an algorithm that is chosen when a process starts may move it from one day to the next.
    """
    return fingerprint_changes(None if old is None else msgspec.structs.replace(old, memory_bytes=None), new)


def common(fingerprints: Iterable[Fingerprint | None]) -> Fingerprint | None:
    """What all of these tell alike; facts in which they differ are named in `varying`, and told no more.

    One process may tell less than another (a first look that is cheap): what it does not tell, it does not deny.
    """
    known: list[Fingerprint] = []
    for work in fingerprints:
        if work is not None and work not in known:  # most runs tell the very same, which then is looked through once
            known.append(work)
    if not known:
        return None
    varying = {name for work in known for name in work.varying}
    facts: dict[str, Any] = {}
    for kind in _KINDS:
        counted = [getattr(work, kind) for work in known if _knows(work, kind)]
        types = sorted({name for counts in counted for name in counts})
        varying |= {f"{kind} {name}" for name in types if len({counts.get(name, 0) for counts in counted}) > 1}
        facts[kind] = {name: counted[0].get(name, 0) for name in types if f"{kind} {name}" not in varying}
    for figure in _FIGURES:
        values = {value for work in known if (value := getattr(work, figure)) is not None}
        varying |= {figure} if len(values) > 1 else set()
        facts[figure] = values.pop() if len(values) == 1 and figure not in varying else None
    return Fingerprint(**facts, varying=sorted(varying))


NO_WORK = frozenset({"return"})
"""What older versions counted in some programs of JAX, and is the end of a region."""


def fingerprint_changes(old: Fingerprint | None, new: Fingerprint | None) -> list[str]:
    """What changed in the work, one clause per fact; operations on the CPU first, since they cost the most."""
    if old is None or new is None:
        return []
    varying = {*old.varying, *new.varying}
    clauses = []
    for kind, words in (("operations_on_cpu", "operations on the CPU"), ("operations", "operations")):
        if _knows(old, kind) and _knows(new, kind):
            left_out = {name.partition(" ")[2] for name in varying if name.startswith(f"{kind} ")} | NO_WORK
            clauses.append(_operations(words, getattr(old, kind), getattr(new, kind), left_out))
    for figure in _FIGURES:
        before, after = getattr(old, figure), getattr(new, figure)
        if None not in (before, after) and before != after and figure not in varying:
            clauses.append(_figure(figure, before, after))
    return [clause for clause in clauses if clause]


def _operations(words: str, old: Mapping[str, int], new: Mapping[str, int], left_out: set[str]) -> str:
    """`operations 8,330 -> 10,940 (Mul 1,622 -> 3,100, Pow 344 -> 690 and 3 more)`; empty where nothing changed."""
    differ = [name for name in {*old, *new} if name not in left_out and old.get(name, 0) != new.get(name, 0)]
    if not differ:
        return ""
    differ.sort(key=lambda name: (-abs(new.get(name, 0) - old.get(name, 0)), name))
    shown = [
        f"{name} {old[name]:,} -> {new.get(name, 0):,}" if name in old else f"{name} {new[name]:,}"
        for name in differ[:SHOWN_TYPES]
    ]
    more = f" and {len(differ) - SHOWN_TYPES} more" if len(differ) > SHOWN_TYPES else ""
    totals = [sum(count for name, count in side.items() if name not in left_out) for side in (old, new)]
    return f"{words} {totals[0]:,} -> {totals[1]:,} ({', '.join(shown)}{more})"


def _figure(name: str, before: float, after: float) -> str:
    """`FLOP 4.1 G -> 4.6 G a step`."""
    if name == "flop":
        first, second = (text.removesuffix("FLOP").rstrip() for text in amounts([before, after], "FLOP", 2, apart=True))
        return f"FLOP {first} -> {second} a step"
    if name == "memory_bytes":
        first, second = amounts([before, after], "B", apart=True)
        return f"allocator's peak {first} -> {second}"
    counts = f"{before:,} -> {after:,}"
    return f"traced {counts} times" if name == "traces" else f"{name} {counts}"


def _knows(work: Fingerprint, kind: str) -> bool:
    """Whether operations were counted: where any were, that none of them is on the CPU is a fact too."""
    return bool(work.operations or (kind == "operations_on_cpu" and work.operations_on_cpu))
