"""What a person reads about a replayed baseline: pure text."""

from __future__ import annotations

from ..results.measurement import Measurement
from . import words


def rows(measurement: Measurement) -> list[tuple[str, str]]:
    """The lines `now`, `replayed`, `stored`, `allowed`, `differs` of a comparison; empty where nothing was replayed."""
    replayed, judgement, reference = measurement.replayed, measurement.judgement, measurement.reference
    if replayed is None or judgement is None or reference is None:
        return []
    stored, entry = replayed.stored, measurement.baseline
    figures = [judgement.now_seconds, judgement.baseline_seconds, *([stored.baseline_seconds] if stored else [])]
    shown = [words.seconds(figure, min(figures)) for figure in figures]
    width = max(map(len, shown))
    now, then, *kept = (f"{one:>{width}} s/batch" for one in shown)
    pairs = words.plural(len(reference.runs), "pair")
    return [
        ("now", f"{now}   {pairs}, each in turn with the baseline's own code"),
        ("replayed", f"{then}   {reference.name}; change {words.with_interval(judgement)}"),
        *(
            ("stored", f"{one}   {words.provenance(entry.runs)}; by it {words.with_interval(stored)}")
            for one in kept
            if entry is not None and stored is not None
        ),
        (
            "allowed",
            f"{words.percent(measurement.tolerance, sign=True):<{width + 8}}   fresh pairs differ by"
            f" {words.percent(judgement.run_sd)}; slowdowns from {words.percent(judgement.smallest_visible)} are seen"
            " 9 times in 10",
        ),
        (
            "accepted",
            f"on {replayed.accepted_on}, later than this machine's own" if replayed.accepted_on and entry else "",
        ),
        ("differs", "; ".join(replayed.differs)),
        ("the same", "; ".join(f"{one} was not replayed" for one in replayed.not_replayed)),
    ]


def line(measurement: Measurement) -> str:
    """What the closing lines say of a replay, or of one that was not possible; empty for nothing."""
    judgement, replayed, key = measurement.judgement, measurement.replayed, measurement.workload.id
    if judgement is None and replayed is not None:
        return f"{key}: nothing that can be seen differs from what {replayed.accepted_on} recorded: code, packages, variables"
    if (
        measurement.no_replay
        and measurement.verdict in ("within", "slower", "inconclusive", "no baseline")
        and not measurement.error
    ):
        return f"{key}: not replayed: {measurement.no_replay}"
    if judgement is None or measurement.error or measurement.verdict == "recorded":
        return ""
    if measurement.verdict == "machine" and replayed is None:
        return (
            f"{key}: {words.with_interval(judgement)} against the stored figures, and nothing that can be seen differs:"
            " code, packages and variables are those of the baseline, so it is the machine"
        )
    if replayed is not None and measurement.verdict == "machine" and replayed.moved is not None:
        moved, low, high = (words.percent(one, sign=True) for one in replayed.moved)
        return (
            f"{key}: the baseline's own code takes {moved} here today ({low} to {high}), and today's code"
            f" {words.percent(judgement.change, sign=True)} beside it, so it is the machine"
        )
    if replayed is not None:
        stored = replayed.stored
        if stored is None or measurement.verdict == "slower" or abs(stored.change) <= measurement.tolerance:
            return ""
        return f"{key}: replayed ({'; '.join(replayed.differs)}); by the stored figures it would be {words.with_interval(stored)}"
    return ""


def slower(measurement: Measurement, command: str) -> str:
    """The failure text of a test whose baseline's own code is faster here and now."""
    share, than = measurement.change or 0.0, "its baseline, trained in turn"
    if measurement.beyond_total and measurement.total is not None:
        share, than = measurement.total, "its anchor"
    head = f"{words.title(measurement)} is {words.factor(share)} than {than}"
    return _text(head, measurement, f"accept it with  {command} {words.accepting(measurement)}")


def inconclusive(measurement: Measurement, command: str) -> str:
    """The failure text of an inconclusive replay under --metal-strict."""
    reason = measurement.judgement.reason if measurement.judgement else ""
    head = f"{words.title(measurement)}: inconclusive, and --metal-strict is on"
    return _text(
        head, measurement, f"look longer with  {command} and more --metal-max-runs or --metal-batches", ("why", reason)
    )


def on_another_system(measurement: Measurement, differs: str, command: str) -> str:
    """The failure text of `machine` under --metal-strict, where the operating system or a driver is another."""
    head = f"{words.title(measurement)}: the machine is slower, and --metal-strict is on"
    return _text(head, measurement, f"accept it with  {command} {words.accepting(measurement)}", ("system", differs))


def _text(head: str, measurement: Measurement, last: str, *more: tuple[str, str]) -> str:
    shown = [*rows(measurement), *words.context(measurement), *more]
    return "\n".join([f"{head:<72} {measurement.nodeid}", *words.rows(shown), f"  {last}"])
