"""The terminal: a live line while a run goes, and the closing table."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..baselines.file import devices_of, hours, orphans
from ..baselines.schema import Entry, SpeedupEntry
from ..measure.plan import Progress
from ..measure.waits import Waits
from ..results.measurement import VERDICTS, Measurement, Speedup
from ..results.metrics import WORDS
from ..session import MetalSession
from ..worker.clock import RealTime
from . import metrics as gated
from . import replays, rows, speedups, sustained, sweeps, words
from .tables import aligned

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

OLD_DAYS = 90
_COLOURS = {
    "slower": "red", "error": "red", "inconclusive": "yellow", "no baseline": "yellow", "faster": "green",
    "within": "green", "recorded": "cyan", "machine": "yellow",
}  # fmt: skip


class Live:
    """One line that says what is measured now, on a terminal only; erased when there is nothing to say."""

    def __init__(self, reporter: TerminalReporter, capture: Any | None) -> None:
        self._reporter = reporter
        self._capture = capture  # pytest's capture manager: while a test runs, the terminal is not behind stdout
        self._shown = False
        self._since: dict[tuple[str, str, int], float] = {}

    def __call__(self, progress: Progress | None) -> None:
        """Show `progress`; None erases the line."""
        if progress is None:
            if self._shown:
                self._write("\r\x1b[K")
            self._shown = False
            self._since.clear()
            return
        if not self._shown:
            with self._uncaptured():
                self._reporter.ensure_newline()
            self._shown = True
        now = RealTime.monotonic()
        since = self._since.setdefault((progress.title, progress.phase, progress.run), now)
        width = shutil.get_terminal_size().columns - 1
        self._write("\r\x1b[K" + line(progress, now - since)[:width])

    def _write(self, text: str) -> None:
        with self._uncaptured():
            self._reporter.write(text, flush=True)

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        return self._capture.global_and_fixture_disabled() if self._capture is not None else contextlib.nullcontext()


def line(progress: Progress, seconds: float) -> str:
    """`resnet50v2[64px,b8] on cpu: measure, batch 5 of 8, run 1 of 2, 3 s left`."""
    parts = [f"{progress.title} on {progress.device}: {progress.phase}"]
    if progress.n:
        parts.append(f"batch {min(progress.i + 1, progress.n)} of {progress.n}")
    if progress.runs:
        parts.append(f"run {progress.run} of {progress.runs}")
    if progress.n and 0 < progress.i < progress.n:
        parts.append(f"{words.duration(seconds / progress.i * (progress.n - progress.i))} left")
    elif seconds >= 1:
        parts.append(words.duration(seconds))
    return ", ".join(parts)


def table(results: Sequence[Measurement | Speedup]) -> list[tuple[str, str]]:
    """The closing table as (line, colour) pairs; the first line is the head."""
    shown = rows.rows(results)
    cells: list[tuple[str, ...]] = [
        ("workload", "device", "now", rows.other_side(results), "change", "visible", "verdict")
    ]
    cells += [(one.label, one.device, one.now, one.baseline, one.change, one.visible, one.verdict) for one in shown]
    places = "ll" + "r" * 4 + "l"
    # columns of their own only where accepted steps have added up, and where a peak is known; the later one first
    for place, head, texts in (
        (5, "since anchor", [one.total for one in shown]),
        (3, "of peak", [one.of_peak for one in shown]),
    ):
        if any(texts):
            column = [head, *(text or "-" for text in texts)]
            cells = [(*line[:place], one, *line[place:]) for line, one in zip(cells, column, strict=True)]
            places = places[:place] + "r" + places[place:]
    lines = aligned(cells, places)
    return list(zip(lines, ["", *map(_colour, shown)], strict=True))


def _colour(row: rows.Row) -> str:
    return gated.colour(row.metric) if row.metric is not None else _COLOURS.get(row.verdict, "")


def _id(result: Measurement | Speedup) -> str:
    return result.workload.id if isinstance(result, Measurement) else result.id


def closing(session: MetalSession) -> list[tuple[str, str]]:
    """What stands below the table: updates, what was not gated and why, one line that counts. (line, colour) pairs."""
    out: list[tuple[str, str]] = []
    recorded = list(session.updates.recorded.values())
    if recorded:
        out.append((f"stored in {session.store.path.name}:", "cyan"))
        out += [(f"  {update.id}: {_old_and_new(update.old, update.new)}", "cyan") for update in recorded]
        out += [
            (
                f"  {update.id}: runs disagree in {words.listed(update.new.fingerprint.varying)}, which is no fact of the work",
                "yellow",
            )
            for update in recorded
            if isinstance(update.new, Entry) and update.new.fingerprint is not None and update.new.fingerprint.varying
        ]
        if why := session.no_revision:
            out.append((f"  no commit is stored with it, since git refuses: {why}", "yellow"))
        if session.store.without_lock:
            out.append(
                (f"  {session.store.path.parent} has no locks: do not store from two sessions at once", "yellow")
            )
    measured = [result for result in session.results if isinstance(result, Measurement)]
    speedups_compared = list({result.id: result for result in session.results if isinstance(result, Speedup)}.values())
    for speedup in speedups_compared:
        out += [(line, "") for line in (speedups.line(speedup),) if line]
        out += [(f"{speedup.id}: {note}", "yellow") for note in speedup.notes]
    new = [result for result in measured if result.verdict == "no baseline" and not result.error]
    if new:
        names = words.listed(dict.fromkeys(result.workload.id for result in new), 3)
        out.append((f"no baseline for this machine in {session.store.path.name}: {names}", "yellow"))
        out.append((f"  record what is missing by adding  {words.MISSING}", "yellow"))
    out += [(f"not confirmed: {why} ({nodeid})", "yellow") for nodeid, why in session.suspects.waiting.items()]
    reasons = [rows.why(rows.row(result)) for result in session.results if result.verdict == "inconclusive"]
    reasons += [gated.reason(one) for r in measured for one in r.metrics if one.verdict == "inconclusive"]
    out += [(f"inconclusive: {reason}", "yellow") for reason in dict.fromkeys(reasons)]
    changes = {result.workload.id: result.fingerprint_changes for result in measured if result.verdict != "slower"}
    out += [(f"{key}: other work: {'; '.join(found)}", "yellow") for key, found in changes.items() if found]
    out += [(text, "yellow") for text in (*_not_looked_at(measured), *_without_work(measured), *_no_share(measured))]
    fallen = {
        result.workload.id: words.on_cpu(result) for result in measured if result.verdict in ("recorded", "no baseline")
    }
    out += [(f"{key}: {found}", "yellow") for key, found in fallen.items() if found]
    for result in measured:
        if result.sustained is not None and result.verdict != "slower":  # whose failure text has it
            out.append((f"{result.workload.id} over {sustained.span(result.runs[0])}:", ""))
            out += [(text, "") for text in sustained.profile(result.runs[0], result.sustained)]
    out += [(text, "") for text in sweeps.lines(measured)]
    lines = {result.workload.id: replays.line(result) for result in measured}
    out += [(text, "yellow") for text in lines.values() if text]
    out += [(text, "yellow") for text in _conditions(measured)]
    unclear = {result.workload.id: words.remarks(result) for result in measured if result.verdict == "inconclusive"}
    out += [(f"{key}: {'; '.join(found)}", "yellow") for key, found in unclear.items() if found]
    open_ones = {one.id: speedups.conditions(one) for one in speedups_compared if one.verdict == "inconclusive"}
    out += [(f"{key}: {found}", "yellow") for key, found in open_ones.items() if found]
    tails = {result.workload.id: words.freezes(result) for result in measured if result.runs and result.verdict}
    out += [(f"{key}: {tail}", "yellow") for key, tail in tails.items() if tail]
    out += [(text, "yellow") for text in _trust([*measured, *speedups_compared])]
    out += _moved(measured)
    if session.set_elsewhere and any(result.runs and result.device != "live" for result in measured):
        names = words.listed(session.set_elsewhere, 3)
        out.append((f"{names}: in pytest's process, and not where models train;", "yellow"))
        out.append(("  name a function that sets it there by the hook pytest_metalperf_prepare", "yellow"))
    out += [(text, "yellow") for text in (*_renamed(session), *_unused(session))]
    used = rows.measured_with(session.results)
    if used:
        out.append((f"measured on {session.facts.id} with {used}", ""))
    compared: dict[str, list[Mapping[str, str]]] = {}
    for result in measured:
        if result.reference is not None:
            compared.setdefault(result.reference.name, []).extend(run.versions for run in result.reference.runs)
    for name, theirs in compared.items():
        out.append((f"in turn with {name}: {words.versions(theirs) or 'nothing measured'}", ""))
    out += [(text, "yellow") for text in waited(session.waits)]
    out.append((summary(session.results, session.skipped, session.refused), ""))
    return out


def waited(waits: Waits) -> list[str]:
    """How long this session waited, and for whom; nothing of less than a second."""
    found = []
    if waits.lock >= 1:
        whom = f": {words.listed(waits.whom, 3)}" if waits.whom else ""
        found.append(f"waited {words.duration(waits.lock)} for other measurements on this machine{whom}")
    if waits.slow_minutes >= 1:
        found.append(f"waited {words.duration(waits.slow_minutes)} for slow minutes to pass, before a second look")
    return found


def _old_and_new(old: Any, new: Entry | SpeedupEntry) -> str:
    return speedups.old_and_new(old, new) if isinstance(new, SpeedupEntry) else words.old_and_new(old, new)


def summary(
    results: Sequence[Measurement | Speedup],
    skipped: Sequence[tuple[str, str]],
    refused: Sequence[tuple[str, str]] = (),
) -> str:
    """`6 gated: 5 within, 1 slower; 2 metrics gated: 1 within, 1 more; not gated: 1 recorded, 6 skipped (no GPU here)`."""
    verdicts = ["error" if result.error else result.verdict for result in results]
    gate = ("faster", "within", "slower", "machine", "inconclusive")
    gated = [verdict for verdict in verdicts if verdict in gate]
    others = words.counts(verdicts, [word for word in VERDICTS if word not in gate])
    smoke = sum(verdict == "" for verdict in verdicts)
    parts = [others] if others else []
    if smoke:
        parts.append(f"{smoke} trained without a verdict")
    if "error" in verdicts:
        parts.append(words.plural(verdicts.count("error"), "error"))
    reasons = [reason for _, reason in skipped]
    parts += [f"{reasons.count(reason)} skipped ({reason})" for reason in dict.fromkeys(reasons)]
    reasons = [reason for _, reason in refused]
    parts += [f"{reasons.count(reason)} refused ({reason})" for reason in dict.fromkeys(reasons)]
    head = f"{len(gated)} gated" + (f": {words.counts(gated, gate)}" if gated else "")
    beside = [one.verdict for r in results if isinstance(r, Measurement) and not r.error for one in r.metrics]
    if beside := [verdict for verdict in beside if verdict != "recorded"]:
        head += f"; {words.plural(len(beside), 'metric')} gated: {words.counts(beside, WORDS)}"
    return f"{head}; not gated: {', '.join(parts)}" if parts else head


def _not_looked_at(measured: Iterable[Measurement]) -> list[str]:
    """Workloads whose fingerprint could not be taken, and why; what was not checked of steps."""
    why = {result.workload.id: run.no_fingerprint for result in measured for run in result.runs if run.no_fingerprint}
    unknown = {result.workload.id: words.unknown(result) for result in measured}
    return [
        *(f"{key}: its work was not looked at: {reason}" for key, reason in why.items()),
        *(f"{key}: {sentence}" for key, sentence in unknown.items() if sentence),
    ]


def _no_share(measured: Iterable[Measurement]) -> list[str]:
    """Why a share of the peak is not shown, where it was measured and does not fit, or could not be measured."""
    why = {
        result.workload.id: result.no_share_of_peak
        for result in measured
        if result.runs and not result.error and result.flop_per_second is not None
        if result.peak.flop_per_second is not None or result.peak.reason
    }
    return [f"{key}: no share of the peak: {reason}" for key, reason in why.items() if reason]


def _without_work(measured: Iterable[Measurement]) -> list[str]:
    """What --metal-strict-work cannot tell, since the baseline knows nothing of the work."""
    keys = [
        result.workload.id
        for result in measured
        if result.strict_work and result.judgement is not None and result.verdict != "recorded"
        if result.fingerprint is None or result.fingerprint_before is None
    ]
    if not keys:
        return []
    against = any(result.reference is not None for result in measured)
    before = (
        "in the reference"
        if against
        else "was when the baseline was recorded (store it by adding --metal-update-baselines)"
    )
    return [
        f"--metal-strict-work has nothing to compare for {words.listed(dict.fromkeys(keys), 3)}:"
        f" a fingerprint is unknown now, or {before}"
    ]


def _conditions(measured: Iterable[Measurement]) -> list[str]:
    """What spoiled runs, once per kind: how many workloads, and the worst of them."""
    from ..worker.machine import spoils

    ran = {result.workload.id: result for result in measured if result.runs}
    kinds: dict[str, dict[str, str]] = {}
    for key, result in ran.items():
        for spoil in (spoil for run in result.runs for spoil in spoils(run.conditions, result.device)):
            kind = kinds.setdefault(spoil.condition, {})
            kind[key] = max(spoil.clause, kind.get(key, ""), key=_figure)
    return [
        f"conditions: {max(found.values(), key=_figure)}"
        + (f" ({len(found)} of {len(ran)} workloads had such runs)" if len(ran) > 1 else "")
        for found in kinds.values()
    ]


def _figure(clause: str) -> float:
    found = re.search(r"\d+(\.\d+)?", clause)
    return float(found[0]) if found else -1.0


def _trust(measured: Iterable[Measurement | Speedup]) -> list[str]:
    """What to know of the baselines: too old, or of one session only, which knows nothing of tomorrow's slow hour."""
    gated = [r for r in measured if r.judgement is not None and r.verdict != "recorded"]
    compared = {_id(r): r.baseline for r in gated if r.baseline is not None}
    single = [
        key for key, entry in compared.items() if len(set(hours(run.session for run in entry.runs).values())) == 1
    ]
    today = RealTime.now()
    old = [
        key for key, entry in compared.items() if _age_days(max(run.recorded for run in entry.runs), today) > OLD_DAYS
    ]
    out = []
    if single:
        out.append(
            f"recorded within one hour only ({words.listed(single, 2)}), so that noise between hours is a guess;"
            " on another day add --metal-update-baselines --metal-update-mode extend"
        )
    if old:
        out.append(f"baselines older than {OLD_DAYS} days: {words.listed(old)}")
    return out


def _live(stored: Iterable[str]) -> set[str]:
    """The devices of stored objects of the test's process (`live`, `live-gpu:torch`), which is always there."""
    return {one for key in stored for one in devices_of(key) if re.match(r"live\b", one)}


def _age_days(date: str, now: float) -> float:
    try:
        return (now - time.mktime(time.strptime(date, "%Y-%m-%d"))) / 86400
    except ValueError:
        return 0.0


def _moved(measured: Iterable[Measurement]) -> list[tuple[str, str]]:
    stored = [r for r in measured if r.judgement is not None and r.reference is None]
    judgements = list({r.workload.id: r.judgement for r in stored if r.judgement is not None}.values())
    # work that changed, or that nobody looked at, or another version of a package explains it as well
    if len(judgements) < 3 or any(not _same_work(result) or _other_packages(result) for result in stored):
        return []
    from ..gate import machine_moved

    moved = machine_moved(judgements)
    if moved is None:
        return []
    return [
        (
            f"most workloads changed alike, by {words.percent(moved, sign=True)}:"
            " this may be the machine, not the code; --metal-against REV trains both in turn",
            "yellow",
        )
    ]


def _same_work(result: Measurement) -> bool:
    """Whether fingerprints of both sides that count operations were taken, and nothing in them changed."""
    taken = (result.fingerprint, result.fingerprint_before)
    return all(one is not None and one.operations for one in taken) and not result.fingerprint_changes


def _other_packages(result: Measurement) -> bool:
    return result.versions_before != result.runs[-1].versions


def _renamed(session: MetalSession) -> list[str]:
    """Baselines under the name that an older version gave to what was measured: neither lost nor compared with."""
    if session.settings.against:  # which reads no baselines
        return []
    found: dict[str, str] = {}
    for result in session.results:
        if result.error:  # the baselines may be what broke
            continue
        if isinstance(result, Measurement):
            key, older, stored = result.workload.id, result.workload.older_id, session.store.workloads
            if result.verdict in ("no baseline", "recorded") and older != key and older in stored:
                found[older] = key
        else:
            older = f"{result.of.older_id} over {result.over.older_id}"
            if result.baseline is None and older != result.id and older in session.store.speedups:
                found[older] = result.id
    return [f"{old} is called {new} now: record it again with --metal-update-baselines" for old, new in found.items()]


def _unused(session: MetalSession) -> list[str]:
    if (
        not session.whole_suite
        or session.settings.against
        or session.suspects.waiting
        or any(result.error for result in session.results)
    ):
        return []
    settings = session.settings
    asked = [_id(result) for result in session.results]
    tried = {f"{device}:{backend}" for device in settings.devices for backend in settings.backends}
    # a speedup names its devices itself
    named = {
        device
        for key in session.store.speedups
        for device in devices_of(key)
        if device.rpartition(":")[2] in settings.backends
    }
    away = set(session.unavailable)
    lost = [
        *orphans(session.store.workloads, asked, {*_live(session.store.workloads), *tried} - away),
        *orphans(session.store.speedups, asked, named - away),
    ]
    if not asked or not lost:
        return []
    return [f"no test asked for {words.plural(len(lost), 'stored baseline')}: {words.listed(lost, 3)}"]
