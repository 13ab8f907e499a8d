"""Every sentence and figure that a person reads about a speedup."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ..baselines.schema import SpeedupEntry
from ..results.measurement import Speedup
from .words import ACCEPT, ACCEPT_TOTAL, WORTH_TELLING, percent, plural, provenance, seconds, size, version_changes


def failure(speedup: Speedup, command: str) -> str:
    """The failure text of a speedup that does not keep its promise, or shrank, or of which neither can be told."""
    unit = "s/example" if speedup.per_example else "s/batch"
    over, of = speedup.seconds
    rows = [
        (
            "now",
            f"{speedup.value:.3g}   95 % interval {speedup.low:.3g} to {speedup.high:.3g},"
            f" {plural(len(speedup.pairs), 'fresh pair')}",
        ),
        *_stored_ratio(speedup),
    ]
    if speedup.at_least is not None:
        rows.append(("promised", f"{speedup.at_least:g}   {_KEPT[speedup.promise]}"))
    changed = version_changes(speedup.versions_before, speedup.versions)
    rows += [
        *([("changed", changed)] if changed else []),
        ("of", f"{seconds(of)} {unit}   {speedup.of.id}"),
        ("over", f"{seconds(over)} {unit}   {speedup.over.id}"),
    ]
    spoiled = conditions(speedup)
    if spoiled:
        rows.append(("machine", spoiled))
    rows += [("note", note) for note in speedup.notes]
    if speedup.verdict == "inconclusive":
        rows.append(("why", reason(speedup)))
    accept = accepting(speedup)
    last = f"accept it with  {command} {accept}" if accept else f"look again with  {command}"
    lines = [f"  {key:<9} {text}" for key, text in rows]
    return "\n".join([f"{_title(speedup):<72} {speedup.nodeid}", *lines, f"  {last}"])


def accepting(speedup: Speedup) -> str:
    """The options that accept a speedup that shrank; empty where it did not, or a promise is not kept either."""
    if stored_verdict(speedup) != "slower" or speedup.promise == "slower":
        return ""
    return ACCEPT_TOTAL if speedup.beyond_total else ACCEPT


_KEPT = {"within": "kept", "slower": "not kept", "inconclusive": "cannot be told", "": ""}


def _title(speedup: Speedup) -> str:
    """Which of the two failed, or cannot be told: the promise, the stored ratio, or both."""
    promise = f"{speedup.at_least:g} times as fast" if speedup.at_least is not None else ""
    stored = "" if speedup.judgement is None else f"{1 / speedup.judgement.baseline_seconds:.3g} times as fast"
    if speedup.beyond_total and speedup.baseline is not None:
        stored = f"{speedup.baseline.anchor.ratio:.3g} times as fast"
    failed = (speedup.promise == speedup.verdict and promise, stored_verdict(speedup) == speedup.verdict and stored)
    words = ("is not", "no longer") if speedup.verdict == "slower" else ("may or may not be", "may or may not still be")
    if failed[1] and not failed[0]:
        words = ("", "is no longer" if speedup.verdict == "slower" else words[1])
    missed = " and ".join(f"{word} {what}" for word, what in zip(words, failed, strict=True) if what)
    return f"{speedup.of.id} {missed} as {speedup.over.id}"


def _stored_ratio(speedup: Speedup) -> list[tuple[str, str]]:
    """The rows of the stored ratio, and of the anchor where accepted steps have added up."""
    entry, judgement = speedup.baseline, speedup.judgement
    if entry is None or judgement is None:
        return []
    stored, allowed = 1 / judgement.baseline_seconds, shrunk(speedup.tolerance)
    rows = [
        (
            "stored",
            f"{stored:.3g}   {percent(shrunk(judgement.change), sign=True)} since; {provenance(entry.pairs, 'pair')}",
        ),
        (
            "allowed",
            f"{percent(allowed, sign=True)}   pairs differ by {percent(judgement.run_sd)} when nothing changes; speedups"
            f" that shrink by {percent(-shrunk(judgement.smallest_visible))} are seen 9 times in 10",
        ),
    ]
    total = creep(speedup)
    if total is not None:
        first = entry.anchor
        at = f" at {first.revision}" if first.commit else ""
        since = f"first accepted {first.recorded}{at}; {percent(total, sign=True)} since"
        rows.append(("anchor", f"{first.ratio:.3g}   {since}"))
    return rows


def creep(speedup: Speedup) -> float | None:
    """The change of the ratio since its anchor, where accepted steps have taken it beyond the tolerance."""
    entry, judgement = speedup.baseline, speedup.judgement
    if entry is None or judgement is None:
        return None
    total = judgement.now_seconds * entry.anchor.ratio - 1
    added_up = total > speedup.tolerance and total - judgement.change > WORTH_TELLING
    return shrunk(total) if speedup.beyond_total or added_up else None


def shrunk(slower: float) -> float:
    """The change of a ratio whose seconds changed by the share `slower`: +0.5 is a ratio of two thirds, -0.333."""
    return 1 / (1 + slower) - 1 if slower > -1 else math.inf


def stored_verdict(speedup: Speedup) -> str:
    """What is known of the stored ratio; empty without one."""
    return "" if speedup.judgement is None else "slower" if speedup.beyond_total else speedup.judgement.verdict


def change(speedup: Speedup) -> str:
    """`-33.5 % (3.98 to 4.06)`: the change of the stored ratio, where there is one, and the interval of today's."""
    if speedup.ratio is None:
        return "-"
    interval = f"{speedup.low:.3g} to {speedup.high:.3g}"
    if speedup.judgement is None:
        return interval
    return f"{percent(shrunk(speedup.judgement.change), sign=True)} ({interval})"


def visible(speedup: Speedup) -> str:
    """By how much a stored speedup must shrink to be seen 9 times in 10."""
    return "-" if speedup.judgement is None else percent(-shrunk(speedup.judgement.smallest_visible))


def compared_with(speedup: Speedup) -> str:
    """What the ratio is compared with, stored and promised: `6.05x, at least 3x`, `6.05x`, or `3x` for a promise alone."""
    promised = f"{speedup.at_least:g}x" if speedup.at_least is not None else ""
    if speedup.judgement is None:
        return promised or "-"
    stored = f"{1 / speedup.judgement.baseline_seconds:.3g}x"
    return f"{stored}, at least {promised}" if promised else stored


def reason(speedup: Speedup) -> str:
    """Why a speedup is inconclusive."""
    reasons = []
    if speedup.promise == "inconclusive":
        reasons.append(f"the interval {speedup.low:.3g} to {speedup.high:.3g} holds the promised {speedup.at_least:g}")
    if speedup.judgement is not None and speedup.judgement.verdict == "inconclusive":
        reasons.append(speedup.judgement.reason)
    return "; ".join(reasons)


def conditions(speedup: Speedup) -> str:
    """What spoiled pairs, and what is worth knowing beside it, each clause once."""
    from ..worker.machine import remarks, spoils

    found = [spoil.clause for pair in speedup.pair_results for spoil in spoils(pair.conditions, speedup.device)]
    found += [clause for pair in speedup.pair_results for clause in remarks(pair.conditions, speedup.device)]
    return "; ".join(dict.fromkeys(found))


def line(speedup: Speedup) -> str:
    """`…: 1.82 times as fast (1.79 to 1.86), memory 5.1 GB -> 3.2 GB, energy 12.1 J -> 7.9 J a batch`.

    Empty where neither memory nor energy is known.
    """
    memory = speedup.over_peak_memory_bytes, speedup.of_peak_memory_bytes
    energy = speedup.over_joules, speedup.of_joules
    if speedup.ratio is None or set(memory + energy) == {None}:
        return ""
    parts = [f"{speedup.value:.3g} times as fast ({speedup.low:.3g} to {speedup.high:.3g})"]
    if memory != (None, None):
        parts.append(f"memory {' -> '.join(size(one) for one in memory)}")
    if energy != (None, None):
        each = "an example" if speedup.per_example else "a batch"
        parts.append(f"energy {' -> '.join(_joules(side) for side in energy)} {each}")
    return f"{speedup.id}: {', '.join(parts)}"


def _joules(value: float | None) -> str:
    return "unknown" if value is None else f"{value:#.3g} J" if value < 100 else f"{value:.0f} J"


def other_work(different: Sequence[str]) -> str:
    """Why parity cannot be asked for: `they differ in batch_size 32 and 8, and so do their losses`."""
    return f"they differ in {', '.join(different)}, and so do their losses"


def no_model(id: str) -> str:  # noqa: A002
    """Why parity cannot be asked for where nothing computes a gradient."""
    return (
        f"{id} shows no loss and gradient (a step shows them by `loss_and_gradient` with `parameters` that can be set)"
    )


OTHER_DATA = "its builder makes other data on each side, and so another loss: draw them with NumPy from a fixed seed"
"""Why parity cannot be asked for where a framework drew the batch."""


OTHER_WEIGHTS = (
    "the two builders begin with other weights, and so with another loss: draw them with NumPy from a fixed seed"
)
"""Why parity cannot be asked for of two models, whose weights lie in other places."""


DRAWN = "the model draws at random, so it computes something else every time; parity=False says that you know"
"""Why parity cannot be asked for of layers that draw beyond dropout, which is off."""


def not_checked(speedup: Speedup) -> str:
    """What stands below the table where parity was not checked."""
    more = "; seconds per example are compared" if speedup.per_example else ""
    return f"parity not checked: {speedup.parity}{more}"


def old_and_new(old: SpeedupEntry | None, new: SpeedupEntry) -> str:
    """`6.05 -> 4.02 times as fast (-33.5 %; 5 -> 5 pairs)` for an update."""
    now = statistics.median(pair.ratio for pair in new.pairs)
    if old is None:
        return f"new {now:.3g} times as fast ({plural(len(new.pairs), 'pair')})"
    before = statistics.median(pair.ratio for pair in old.pairs)
    pairs = f"{len(old.pairs)} -> {plural(len(new.pairs), 'pair')}"
    return f"{before:.3g} -> {now:.3g} times as fast ({percent(now / before - 1, sign=True)}; {pairs})"
