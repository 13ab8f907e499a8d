"""Every sentence and figure that a person reads about a result: pure text, tested as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..baselines.schema import Entry, StoredPair, StoredRun
from ..results.measurement import Measurement
from ..results.quantities import magnitude
from ..worker.machine import PER_BATCH, SYSTEM
from .tables import aligned

if TYPE_CHECKING:
    from ..gate import Judgement
    from ..measure.forecast import Expected

_INDENT = "  "
WORTH_TELLING = 0.01  # of a change: an anchor that is the baseline differs from it by rounding
_KEY = 9  # width of now, baseline, allowed, changed

ACCEPT = "--metal-update-baselines"
"""The option that accepts what is slower."""
ACCEPT_ALL = f"{ACCEPT} --metal-update-mode all"
"""The options that accept what a machine is today, whatever its verdict."""
MISSING = f"{ACCEPT} --metal-update-mode missing"
"""The options that record what has no baseline, and leave the rest as it is."""
ACCEPT_TOTAL = f"{ACCEPT} --metal-update-mode anchor"
"""The options that accept the total change since the anchor."""


def seconds(value: float, beside: float | None = None) -> str:
    """Four significant digits, never an exponent: `0.1832`, `1.042`, `12.30`.

    With `beside`, as many decimals as the smaller of the two needs, so that both sides of a comparison align.
    """
    if not math.isfinite(value) or value <= 0:
        return "unknown"
    least = min(value, beside) if beside is not None and 0 < beside < math.inf else value
    digits = max(0, 3 - magnitude(least, 4))
    return f"{value:.{min(digits, 9)}f}"


def hidden(more: float) -> str:
    """Why a figure that is within says too little."""
    return (
        f"the mean of all batches grew by {percent(more)} beside the figure:"
        " some steps became slower, as every k-th one would."
        " Record with more --metal-batches, so that such a step comes four times in a run, and the figure shows it"
    )


def shared(change: float, others: int, device: str) -> str:
    """Why a slowdown that other workloads show too is no verdict on one of them."""
    return (
        f"{others} other workloads on {device} are {percent(change)} slower too, in the median:"
        " the framework, the machine or the hour; --metal-against trains both in turn"
    )


def duration(value: float) -> str:
    """How long something takes, as people say it: `40 s`, `2.5 min`, `25 min`."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.{1 if value < 600 else 0}f} min"


def size(count: float | None) -> str:
    """`3.2 GB`, `640 MB`; `unknown` for None."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def percent(share: float, *, sign: bool = False) -> str:
    """`14.2 %`, `+5.0 %`, `110 %`."""
    digits = 1 if abs(share) < 0.9995 else 0
    number = round(100 * share, digits) + 0.0  # there is no -0.0 %
    return f"{number:{'+' if sign else ''}.{digits}f} %"


def of_peak(share: float | None) -> str:
    """The share of a device's peak: `61.2 %`, `0.0312 %`; empty where it is unknown."""
    if share is None:
        return ""
    return percent(share) if share >= 0.01 else f"{100 * share:.3g} %"


def factor(share: float) -> str:
    """A change in words: `14.2 % slower`, `2.31 times slower`, `8.0 % faster`."""
    if share >= 0.95:
        return f"{1 + share:.2f} times slower"
    if share <= -0.5:
        return f"{1 / max(1 + share, 1e-9):.2f} times faster"
    return f"{percent(abs(share))} {'slower' if share > 0 else 'faster'}"


def title(measurement: Measurement) -> str:
    """`resnet50v2[64px,b8] on gpu`."""
    workload = measurement.workload
    where = "in the test's own process" if workload.device == "live" else f"on {workload.device}"
    backend = f" ({workload.backend})" if workload.backend not in ("", "tensorflow") else ""
    return f"{workload.label} {where}{backend}"


def slower(measurement: Measurement, command: str) -> str:
    """The failure text of a test that became slower."""
    change, reference = measurement.change or 0.0, measurement.reference
    than = "its baseline" if reference is None else f"with {reference.name}"
    if measurement.beyond_total and measurement.total is not None:
        change, than = measurement.total, "its anchor"
    head = f"{title(measurement)} is {factor(change)} than {than}"
    lines = [f"{head:<72} {measurement.nodeid}", *comparison(measurement)]
    if reference is None:
        if compare := compared_by(measurement, command):
            lines.append(f"{_INDENT}compare it with the code of then by  {compare}")
        lines.append(f"{_INDENT}accept it with  {command} {accepting(measurement)}")
    return "\n".join(lines)


def compared_by(measurement: Measurement, command: str) -> str:
    """The command that trains the code of the baseline in turn with today's; empty where no revision holds it."""
    last = measurement.baseline.runs[-1] if measurement.baseline is not None else None
    own = measurement.workload.source.get("kind") in ("import", "pickle")  # code that a revision can hold
    return f"{command} --metal-against={last.revision}" if own and last is not None and last.clean else ""


def accepting(measurement: Measurement) -> str:
    """The options that accept what is slower, or a machine that is; empty where it is compared with nothing that is stored."""
    if measurement.sustained is not None or (measurement.reference is not None and measurement.replayed is None):
        return ""
    if measurement.verdict == "machine":
        return ACCEPT_ALL
    return ACCEPT_TOTAL if measurement.beyond_total and measurement.total is not None else ACCEPT


def suspected(measurement: Measurement) -> str:
    """Why a test is put off: what its first look found."""
    return f"{title(measurement)} looks {factor(measurement.change or 0.0)}"


def out_of_budget(seconds: float | None) -> str:
    """Why there is no answer where the session may spend no more time on it."""
    return f"the session's --metal-budget of {duration(seconds or 0.0)} is spent"


def runs_in_turn(why: str) -> str:
    """What is said of pairs that no memory holds."""
    return f"both sides together do not fit the memory, so whole runs took turns ({why.splitlines()[0]})"


def refused(why: str) -> str:
    """What a recording is told that would store a state which a person can remove."""
    return f"not recorded, and nothing stored: {why}; record when that is over, or all the same with --metal-force"


def inconclusive(measurement: Measurement, command: str) -> str:
    """The failure text of an inconclusive verdict under --metal-strict."""
    reason = measurement.judgement.reason if measurement.judgement else ""
    head = f"{title(measurement)}: inconclusive, and --metal-strict is on"
    more = f"{_INDENT}learn its noise with  {command} --metal-update-baselines --metal-update-mode extend"
    if "cannot be told from noise" not in reason:
        more = f"{_INDENT}look again when that is over with  {command}"
    elif measurement.reference is not None:
        more = f"{_INDENT}look longer with  --metal-max-runs or --metal-batches"
    return "\n".join(
        [f"{head:<72} {measurement.nodeid}", *comparison(measurement), f"{_INDENT}why       {reason}", more]
    )


def no_baseline(measurement: Measurement, file: str, command: str, stored: Iterable[str] = (), near: str = "") -> str:
    """The failure text of a test that has nothing to be compared with.

    Args:
        measurement: of the test.
        file: where a baseline would be.
        command: that runs the test alone.
        stored: the ids that have a baseline there.
        near: the id of a stored machine that differs in its memory alone.
    """
    workload = measurement.workload
    others = [key for key in stored if key.partition("@")[0].partition("[")[0] == workload.name]
    lines = [
        f"{title(measurement)} has no baseline for this machine ({file})",
        f"{_INDENT}now       {seconds(measurement.seconds_per_batch)} s/batch   {_runs(measurement)}",
    ]
    if workload.older_id in others:
        lines.append(f"{_INDENT}stored    {workload.older_id}: its name until this version")
        others.remove(workload.older_id)
    if others:  # another size, batch size or backend is another workload
        lines.append(f"{_INDENT}stored    {listed(sorted(others), 3)}: other work, which says nothing of this")
    if near:
        lines.append(f"{_INDENT}stored    {near}.json is of a machine that differs in its memory alone")
        lines.append(f"{_INDENT}compare with it by  {command} --metal-machine {near}")
    return "\n".join([*lines, f"{_INDENT}record it with  {command} --metal-update-baselines"])


def comparison(measurement: Measurement) -> list[str]:
    """now, baseline (or reference), allowed, changed, work: aligned lines."""
    judgement, entry, reference = measurement.judgement, measurement.baseline, measurement.reference
    if judgement is None or (entry is None and reference is None):
        return []
    sides = judgement.now_seconds, judgement.baseline_seconds
    now, then = seconds(sides[0], sides[1]), seconds(sides[1], sides[0])
    width = max(len(now), len(then))
    interval = f"95 % interval {seconds(judgement.now_low)} to {seconds(judgement.now_high)}"
    other, what = ("baseline", "runs") if reference is None else ("reference", "pairs")
    origin = (
        provenance(entry.runs)
        if entry is not None
        else f"in turn, 95 % interval of the change {span(judgement.change_low, judgement.change_high)}"
    )
    found = [
        ("now", f"{now:>{width}} s/batch   {_runs(measurement)}" + (f", {interval}" if reference is None else "")),
        (other, f"{then:>{width}} s/batch   {origin}"),
        (
            "allowed",
            f"{percent(measurement.tolerance, sign=True):<{width + 8}}   {what} differ by {percent(judgement.run_sd)} when"
            + f" nothing changes; slowdowns from {percent(judgement.smallest_visible)} are seen 9 times in 10",
        ),
    ]
    total = creep(measurement)
    if entry is not None and total is not None:
        first = entry.anchor
        at = f" at {first.revision}" if first.commit else ""
        since = f"first accepted {first.recorded}{at}; {percent(total, sign=True)} since"
        since += ", more than --metal-total-tolerance allows" if measurement.beyond_total else ""
        found.append(("anchor", f"{seconds(first.seconds_per_batch, min(sides)):>{width}} s/batch   {since}"))
    found += [*context(measurement), ("tail", freezes(measurement))]
    return rows(found)


def context(measurement: Measurement) -> list[tuple[str, str]]:
    """What else differs: versions, the work itself, the machine's state."""
    return [
        ("changed", changed_versions(measurement)),
        ("pairs", measurement.reference.apart if measurement.reference is not None else ""),
        ("work", work(measurement)),
        ("machine", conditions(measurement)),
        ("counters", counters(measurement)),
    ]


def on_cpu(measurement: Measurement) -> str:
    """What of the work of a GPU's run the CPU does; empty for nothing."""
    found = measurement.fingerprint.operations_on_cpu if measurement.fingerprint is not None else {}
    if not found or measurement.device == "cpu":
        return ""
    types = listed([f"{name} {count:,}" for name, count in sorted(found.items(), key=lambda one: -one[1])], 3)
    return f"{plural(sum(found.values()), 'operation')} of a step on the CPU: {types}"


def rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Aligned lines `  now       …`; those that say nothing are left out."""
    return [f"{_INDENT}{key:<{_KEY}} {text}" for key, text in pairs if text]


def work(measurement: Measurement) -> str:
    """What changed in the work itself; `unchanged` separates conditions from code; empty where a side does not tell."""
    changes = measurement.fingerprint_changes
    shown = measurement.fingerprint is not None and measurement.fingerprint_before is not None
    return "; ".join(changes) if changes else "unchanged" if shown else ""


def other_work(measurement: Measurement, command: str) -> str:
    """The failure text of a changed fingerprint under --metal-strict-work."""
    than = "its baseline" if measurement.reference is None else f"with {measurement.reference.name}"
    head = f"{title(measurement)} does other work than {than}, and --metal-strict-work is on"
    lines = [f"{head:<72} {measurement.nodeid}", *comparison(measurement)]
    if measurement.reference is None:
        lines.append(f"{_INDENT}accept it with  {command} --metal-update-baselines")
    return "\n".join(lines)


def creep(measurement: Measurement) -> float | None:
    """The change since the anchor, where accepted steps have taken it beyond the tolerance."""
    total, change = measurement.total, measurement.change
    if total is None or change is None or measurement.verdict == "recorded":
        return None
    added_up = total > measurement.tolerance and total - change > WORTH_TELLING
    return total if measurement.beyond_total or added_up else None


def change(measurement: Measurement) -> str:
    """`+4.2 %`, and where both sides took turns its 95 % interval, which is all that is known of a reference's noise."""
    judgement = measurement.judgement
    if judgement is None:
        return "-"
    return percent(judgement.change, sign=True) if measurement.reference is None else with_interval(judgement)


def with_interval(judgement: Judgement) -> str:
    """`+8.3 % (+6.1 % to +10.4 %)`: the change with its 95 % interval."""
    return changed(judgement.change, judgement.change_low, judgement.change_high)


def changed(change: float, low: float, high: float) -> str:
    """The same of any change."""
    return f"{percent(change, sign=True)} ({span(low, high)})"


def span(low: float, high: float) -> str:
    """`+6.1 % to +10.4 %`."""
    return f"{percent(low, sign=True)} to {percent(high, sign=True)}"


def provenance(stored: Sequence[StoredRun | StoredPair], noun: str = "run") -> str:
    """`5 runs of 2 sessions, last 2026-11-02 at 1a2b3c4`."""
    runs, sessions = len(stored), len({run.session for run in stored})
    last = max(stored, key=lambda run: run.recorded)
    at = f" at {last.revision}" if last.commit else ""
    return f"{plural(runs, noun)} of {plural(sessions, 'session')}, last {last.recorded}{at}"


def unknown(measurement: Measurement) -> str:
    """What a step of the user's own did not show of itself, in a sentence; empty where it is nothing."""
    lacks = measurement.runs[0].unknown if measurement.runs else ()
    return f"its step does not show {listed(lacks)}: return a Step that does" if lacks else ""


def changed_versions(measurement: Measurement) -> str:
    """`tensorflow 2.18.1 -> 2.19.1, tensorflow-metal 1.1.0 -> none`; empty when nothing did."""
    return version_changes(measurement.versions_before, measurement.runs[-1].versions)


def version_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The same of any two."""
    unknown = {name for name in SYSTEM if name not in before or name not in now}
    return ", ".join(
        f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*before, *now} - unknown)
        if before.get(name) != now.get(name)
    )


def conditions(measurement: Measurement) -> str:
    """What spoiled the runs, and what is worth knowing beside it, each clause once."""
    from ..worker.machine import spoils

    found = [spoil.clause for run in measurement.runs for spoil in spoils(run.conditions, measurement.device)]
    return "; ".join(dict.fromkeys([*found, *remarks(measurement)]))


def remarks(measurement: Measurement) -> list[str]:
    """What spoils no comparison by itself, and is worth knowing where one looks bad: each clause once."""
    from ..worker.machine import remarks as of_run

    found = [clause for run in measurement.runs for clause in of_run(run.conditions, measurement.device)]
    stored = measurement.baseline.runs if measurement.baseline is not None else []
    if stored and measurement.runs:
        before, now = (run.get("high_power") for run in (stored[-1].conditions, measurement.runs[-1].conditions))
        if None not in (before, now) and before != now:
            found.append("high-power mode off -> on" if now else "high-power mode on -> off")
    return list(dict.fromkeys(found))


def counters(measurement: Measurement) -> str:
    """`instructions +0.1 %, cycles +14.0 % a batch: the same work, so look at the machine`; empty where nobody counts.

    Only on a CPU do they say who is to blame: while a GPU trains, the processor mostly waits.
    """
    stored = measurement.baseline.runs if measurement.baseline is not None else []
    changes: dict[str, float] = {}
    for name in ("instructions", "cycles"):
        before = _counted([run.conditions for run in stored], name)
        now = _counted([run.conditions for run in measurement.runs], name)
        if before and now:
            changes[name] = now / before - 1
    slower = measurement.change or 0.0
    if "instructions" not in changes:
        return ""
    shown = ", ".join(f"{name} {percent(change, sign=True)}" for name, change in changes.items())
    if measurement.device != "cpu" or measurement.verdict != "slower" or slower <= 0:
        return f"{shown} a batch"
    share = changes["instructions"] / slower
    blame = ""
    if abs(share) < 1 / 3:
        blame = ": the same work, so look at the machine"
    elif share > 2 / 3:
        blame = ": more of them, so look at the code (threads that wait for others in a loop count too)"
    return f"{shown} a batch{blame}"


def _counted(conditions: Iterable[Mapping[str, object]], name: str) -> float | None:
    figures = [one.get(name + PER_BATCH) for one in conditions]
    known = [figure for figure in figures if isinstance(figure, float)]
    return statistics.median(known) if known else None


def freezes(measurement: Measurement) -> str:
    """Blocks of ten times the usual length, and growth within a run: what a run's figure hides."""
    estimates = [run.estimate for run in measurement.runs]
    words = []
    frozen = sum(estimate.freezes for estimate in estimates)
    if frozen:
        worst = max(estimate.worst for estimate in estimates)
        words.append(f"{plural(frozen, 'freeze')} of 10 times a step or more, the longest {seconds(worst)} s/batch")
    drift = min((estimate.drift for estimate in estimates), key=abs)
    if drift > 0:
        words.append(f"step time grows by {percent(drift)} within a run")
    return "; ".join(words)


def broken(message: str, details: str) -> str:
    """An error with the user's own traceback, or the end of the worker's log, below it."""
    return f"{message}\n\n{details}" if details else message


def fitted(message: str, largest: int | None) -> str:
    """A full memory, with the largest batch that is known to fit; what more is known of it stays below."""
    message, line, known = message.partition("\n")
    if largest is None:
        return f"{message}: try a smaller batch_size{line}{known}"
    return f"{message}: a batch of {largest} has fitted here, so try a batch_size between the two{line}{known}"


def not_parametrised(nodeid: str) -> str:
    """For a unittest method, which pytest cannot parametrise."""
    return (
        f"{nodeid} has no device: pytest cannot parametrise methods of unittest classes, so name one,"
        ' metal_bench(…, device="cpu"), or make it a plain function'
    )


def of_another_test(nodeid: str, test: tuple[str, str], call: tuple[str, str]) -> str:
    """For a call that names another device or backend than its test is parametrised with (each a device, a backend)."""
    keys = [
        (key, mine, theirs)
        for key, mine, theirs in zip(("devices", "backend"), test, call, strict=True)
        if mine != theirs
    ]
    differ = " and ".join(f"{mine}, while its call names {theirs}" for _, mine, theirs in keys)
    marker = ", ".join(f'{key}="{theirs}"' for key, _, theirs in keys)
    return f"{nodeid} is the test of {differ}: put that into the marker, @pytest.mark.metal_bench({marker})"


def plural(count: int, noun: str) -> str:
    """`1 run`, `5 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def counts(verdicts: Iterable[str], order: Sequence[str]) -> str:
    """`6 within, 1 slower`, in `order`, what did not happen left out."""
    verdicts = list(verdicts)
    return ", ".join(f"{verdicts.count(word)} {word}" for word in order if word in verdicts)


def listed(names: Iterable[str], most: int = 5) -> str:
    """`a, b, c and 4 more`."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def old_and_new(old: Entry | None, new: Entry) -> str:
    """`0.1604 -> 0.1832 s/batch (+14.2 %)` for an update."""
    now = statistics.geometric_mean(run.seconds_per_batch for run in new.runs)
    if old is None:
        return f"new {seconds(now)} s/batch ({plural(len(new.runs), 'run')})"
    before = statistics.geometric_mean(run.seconds_per_batch for run in old.runs)
    runs = f"{len(old.runs)} -> {plural(len(new.runs), 'run')}"
    return f"{seconds(before, now)} -> {seconds(now, before)} s/batch ({percent(now / before - 1, sign=True)}; {runs})"


def versions(runs: Iterable[Mapping[str, str]]) -> str:
    """One line of what was measured with."""
    seen: dict[str, list[str]] = {}
    for run in runs:
        for name, version in run.items():
            if version not in seen.setdefault(name, []):
                seen[name].append(version)
    return ", ".join(f"{name} {'/'.join(found)}" for name, found in sorted(seen.items()))


def announcement(tests: int, expected: Sequence[Expected]) -> str:
    """What is said before all measuring, whether code has changed being known only when a test runs.

    `metalperf: 6 tests of training performance, about 4 min (a guess for 2 of 6 workloads), 9 min if code or packages have
    changed since their baselines`.
    """
    seconds = {one.id: one.seconds for one in expected if one.seconds is not None}
    guessed = {one.id for one in expected if one.seconds is not None and one.guessed}
    unknown = sum(one.seconds is None for one in expected)
    changed = seconds | {one.id: one.changed for one in expected if one.changed is not None}
    usual, replayed = duration(sum(seconds.values())), duration(sum(changed.values()))
    parts = [f"about {usual}"] if seconds else []
    if guessed:
        share = f" for {len(guessed)} of {len(seconds)} workloads" if len(guessed) < len(seconds) else ""
        parts[0] += f" (a guess{share})"
    if replayed != usual:
        parts.append(f"{replayed} if code or packages have changed since their baselines")
    if unknown:
        parts.append(f"{unknown} not timed here before")
    return f"metalperf: {plural(tests, 'test')} of training performance" + (f", {', '.join(parts)}" if parts else "")


def plan(expected: Sequence[Expected]) -> list[str]:
    """The table of --metal-plan: a line per workload of each test."""
    rows = [("test", "workload", "stored", "fresh runs", "time", "visible")]
    rows += [
        (
            one.nodeid,
            one.id or "not measured here before",
            plural(one.stored, "run") if one.id else "",
            one.runs or "unknown",
            _expected_time(one),
            "-" if one.visible is None else percent(one.visible),
        )
        for one in expected
    ]
    return aligned(rows, "llrrrr")


def _expected_time(one: Expected) -> str:
    """`40 s, changed: 3 min (guess)`."""
    if one.seconds is None:
        return "unknown"
    usual, changed = duration(one.seconds), "" if one.changed is None else duration(one.changed)
    return usual + (f", changed: {changed}" if changed not in ("", usual) else "") + (" (guess)" if one.guessed else "")


def _runs(measurement: Measurement) -> str:
    return runs([run.batches for run in measurement.runs])


def runs(batches: Sequence[int]) -> str:
    """`3 runs of 20 to 24 batches`, of the batches of each run."""
    if not batches:
        return "no runs"
    least, most = min(batches), max(batches)
    shown = str(least) if least == most else f"{least} to {most}"
    return f"{plural(len(batches), 'run')} of {shown} batch{'' if shown == '1' else 'es'}"


def place(device: str, backend: str) -> str:
    """`gpu`, or `gpu:torch` where the backend is not TensorFlow."""
    return device if backend in ("", "tensorflow") else f"{device}:{backend}"
