"""From files of --metal-json to the rows of the page: values, each with its facts and with what its charts are drawn from."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...baselines.schema import Entry, SpeedupEntry
from ...results.quantities import amounts
from .. import document, words
from ..markdown import ORDER, one_line
from ..speedups import shrunk
from . import charts

UNJUDGED = ("put off", "refused", "skipped")
"""What stands after all verdicts: tests that have no result."""
WORDS = (*ORDER, *UNJUDGED)


@dataclass(frozen=True)
class Chart:
    """A picture that is drawn when its row opens.

    Attributes:
        kind: the name of its specification.
        title: what it shows, in a line above it.
        said: how to read it.
        at: where in the page's sessions each of its data lies, by name: `/0/results/3/runs`.
        data: data of its own, by name, where a session has none of that form.
    """

    kind: str
    title: str
    said: str = ""
    at: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the page's table.

    Attributes:
        key: of its link, the same in the page of every session: of a test, a workload and a machine.
        verdict: the word of the gate, `error`, `smoke`, or how a test has no result.
        worse: whether it is slower, worse by its metric, or broke.
        name: of the workload, its whole id.
        label: the same for eyes: without its device.
        device: with the backend where that is not TensorFlow.
        session: what tells its session from the page's others; empty where there is one.
        now: today's figure with its unit; `-` is unknown, here and below.
        baseline: that of the other side.
        change: the change with its 95 % interval.
        visible: the smallest change for the worse that is seen 9 times in 10.
        reason: why there is no clear verdict, in a line; empty where there is one.
        figures: `change`, `low`, `high`, `tolerance` and `visible` as shares where they are known: what the opening picture
            draws. Those of a speedup have their sign turned, so that the worse is always to the right.
        facts: terms with what there is to say of each.
        charts: its pictures.
        commands: what each command line does, and that line.
        weight: the change for the worse over what is visible; nan is unknown.
    """

    key: str
    verdict: str
    name: str
    label: str
    device: str
    session: str
    worse: bool = False
    now: str = "-"
    baseline: str = "-"
    change: str = "-"
    visible: str = "-"
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    charts: Sequence[Chart] = ()
    commands: Sequence[tuple[str, str]] = ()
    weight: float = math.nan

    @property
    def rank(self) -> int:
        """Its place among verdicts, what somebody has to act on first."""
        word = "slower" if self.worse and self.verdict != "error" else self.verdict
        return WORDS.index(word) if word in WORDS else len(WORDS)

    @property
    def tone(self) -> str:
        """How it is coloured: the verdict's own word, `worse` for whatever somebody has to act on, or `other`."""
        return "worse" if self.worse else self.verdict if self.verdict in charts.TONES else "other"


def rows(sessions: Sequence[document.Document], today: datetime.date) -> list[Row]:
    """A row for each result, gated metric and test without a result, what somebody has to act on first."""
    found: list[Row] = []
    names = session_names(sessions)
    for number, session in enumerate(sessions):
        for place, result in enumerate(session.results):
            at = f"/{number}/results/{place}"
            if isinstance(result, document.Measurement):
                found += _of_measurement(result, session, names[number], at, today)
            else:
                found.append(_of_speedup(result, session, names[number], at))
        found += [_without_result(one, session, names[number]) for one in session.not_measured]
    return sorted(
        _told_apart(found), key=lambda one: (one.rank, -one.weight if math.isfinite(one.weight) else math.inf)
    )


def session_names(sessions: Sequence[document.Document]) -> list[str]:
    """What tells each from the others: its chip, else its machine, else its number and commit; empty for one alone."""
    if len(sessions) < 2:
        return [""] * len(sessions)
    for names in ([one.machine.chip for one in sessions], [one.machine.id for one in sessions]):
        if len(set(names)) == len(names) and all(names):
            return [one_line(name) for name in names]
    return [
        one_line(f"session {number}" + (f" at {one.session.commit[:10]}" if one.session.commit else ""))
        for number, one in enumerate(sessions, 1)
    ]


def age_of(entry: Entry | SpeedupEntry, today: datetime.date) -> int | None:
    """Days since a baseline was last recorded; None where a person has edited the date."""
    try:
        last = max(datetime.date.fromisoformat(run.recorded[:10]) for run in entry.runs)
    except ValueError:
        return None
    return max(0, (today - last).days)


def _told_apart(found: Iterable[Row]) -> list[Row]:
    """Two rows of one test and workload have two links."""
    seen: dict[str, int] = {}
    told = []
    for one in found:
        seen[one.key] = count = seen.get(one.key, 0) + 1
        told.append(replace(one, key=f"{one.key}-{count}") if count > 1 else one)
    return told


def _key(*parts: str) -> str:
    return "row-" + hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:10]


def _device(workload: document.Workload) -> str:
    return workload.device if workload.backend in ("", "tensorflow") else f"{workload.device}:{workload.backend}"


def _change(change: float | None, low: float | None = None, high: float | None = None) -> str:
    """`+8.3 % (+6.1 % to +10.4 %)`, as far as it is known."""
    if change is None:
        return "-"
    interval = (
        "" if low is None or high is None else f" ({words.percent(low, sign=True)} to {words.percent(high, sign=True)})"
    )
    return words.percent(change, sign=True) + interval


def _judged(judgement: document.Judgement) -> str:
    return _change(judgement.change, judgement.change_low, judgement.change_high)


def _figures(tolerance: float, judgement: document.Judgement | None) -> dict[str, float]:
    if judgement is None:
        return {}
    return _known(
        change=judgement.change,
        low=judgement.change_low,
        high=judgement.change_high,
        tolerance=tolerance,
        visible=judgement.visible,
    )


def _known(**figures: float | None) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def _weight(figures: Mapping[str, float]) -> float:
    visible = figures.get("visible", 0.0)
    return figures["change"] / visible if "change" in figures and visible > 0 else math.nan


# a measurement


def _of_measurement(
    result: document.Measurement, session: document.Document, name: str, at: str, today: datetime.date
) -> list[Row]:
    workload, judgement = result.workload, result.judgement
    verdict = "error" if result.error else result.verdict or "smoke"
    compared = judgement is not None and not result.error and verdict != "recorded"
    judged = judgement if compared else None
    now, then, change, visible = _seconds(result.seconds_per_batch), "-", "-", "-"
    figures = _figures(result.asked.tolerance, judged)
    if judged is not None:
        now, then = f"{words.seconds(judged.now, judged.baseline)} s", f"{words.seconds(judged.baseline, judged.now)} s"
        change, visible = _judged(judged), "-" if judged.visible is None else words.percent(judged.visible)
    label = workload.label
    if result.sustained is not None:
        long = result.sustained
        label += f" sustained {words.duration(long.stretch)} at its start and end"
        now, then = f"{words.seconds(long.last, long.first)} s", f"{words.seconds(long.first, long.last)} s"
        figures = _known(
            change=long.ratio - 1,
            low=long.low - 1,
            high=long.high - 1,
            tolerance=result.asked.sustained_tolerance,
        )
        change = _change(long.ratio - 1, long.low - 1, long.high - 1)
        visible = "-"
    whole = Row(
        key=_key(result.nodeid, workload.id, session.machine.id),
        verdict=verdict,
        worse=verdict in ("slower", "error"),
        name=one_line(workload.id),
        label=one_line(label),
        device=one_line(_device(workload)),
        session=name,
        now=now,
        baseline=then,
        change=change,
        visible=visible,
        reason=_reason(result, verdict),
        figures=figures,
        facts=_facts(result, judged, today),
        charts=_charts(result, at),
        commands=_commands(result.commands),
        weight=_weight(figures),
    )
    if result.error:
        return [whole]
    return [whole, *(_of_metric(result, one, whole) for one in result.metrics)]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{words.seconds(value)} s"


def _reason(result: document.Measurement, verdict: str) -> str:
    if result.error:
        return one_line(result.error.splitlines()[0])
    if verdict == "inconclusive":
        return one_line((result.judgement and result.judgement.reason) or "noise")
    if verdict == "no baseline":
        return f"nothing of this machine is stored; to record it add {words.MISSING}"
    return one_line(result.no_replay) if verdict == "slower" and result.no_replay else ""


def _facts(
    result: document.Measurement, judged: document.Judgement | None, today: datetime.date
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = [("test", result.nodeid)]
    if result.error:
        found.append(("error", result.error))
    if judged is not None:
        found += _compared(result, judged)
    elif result.seconds_per_batch is not None:
        found.append(("now", f"{words.seconds(result.seconds_per_batch)} s/batch, {_runs(result.runs)}"))
    age = None if result.baseline is None else age_of(result.baseline, today)
    if age is not None:
        found.append(("age of the baseline", words.plural(age, "day")))
    if result.replay is not None:
        found += _replayed(result.replay)
    if result.no_replay:
        found.append(("not replayed", result.no_replay))
    changes = result.changes
    both = result.work is not None and result.work_before is not None
    found += [
        ("packages", changes.packages),
        ("work", "; ".join(changes.work) or ("unchanged" if both else "")),
        ("machine", changes.machine),
        ("counters", changes.counters),
        ("tail", changes.tail),
        ("costs", _costs(result)),
        ("first batch", _first(result)),
        ("operations on the CPU", _on_cpu(result)),
        ("notes", "; ".join(result.notes)),
    ]
    return [(term, _lines(text)) for term, text in found if text]


def _lines(text: str) -> str:
    """A text of several lines without what could change how others are read."""
    return "\n".join(one_line(line) for line in text.splitlines()[:50])


def _runs(runs: Sequence[document.Run]) -> str:
    if not runs:
        return "no runs"
    batches = sorted({len(run.samples) * run.batches_per_block for run in runs})
    span = f"{batches[0]}" if len(batches) == 1 else f"{batches[0]} to {batches[-1]}"
    return f"{words.plural(len(runs), 'run')} of {span} batches"


def _compared(result: document.Measurement, judged: document.Judgement) -> list[tuple[str, str]]:
    now, then = words.seconds(judged.now, judged.baseline), words.seconds(judged.baseline, judged.now)
    reference, entry = result.reference, result.baseline
    what = "pairs" if reference is not None else "runs"
    found = []
    if reference is not None:
        pairs = words.plural(len(reference.runs), "fresh pair")
        found += [
            ("now", f"{now} s/batch, {pairs} in turn"),
            ("reference", f"{then} s/batch, {reference.name}"),
            ("change", f"{_judged(judged)}, of blocks that were neighbours"),
        ]
        if reference.apart:
            found.append(("pairs", reference.apart))
    else:
        interval = f"95 % interval {words.seconds(judged.now_low)} to {words.seconds(judged.now_high)}"
        found.append(("now", f"{now} s/batch, {_runs(result.runs)}, {interval}"))
        if entry is not None:
            found.append(("baseline", f"{then} s/batch, {words.provenance(entry.runs)}"))
        found.append(("change", _judged(judged)))
    seen = "" if judged.visible is None else f"; slowdowns from {words.percent(judged.visible)} are seen 9 times in 10"
    found.append(
        (
            "allowed",
            f"{words.percent(result.asked.tolerance, sign=True)}; {what} differ by {words.percent(judged.run_sd)} when"
            f" nothing changes{seen}",
        )
    )
    if judged.reason:
        found.append(("why", judged.reason))
    if entry is not None and result.total is not None:
        anchor = entry.anchor
        at = f" at {anchor.revision}" if anchor.commit else ""
        beyond = ", more than --metal-total-tolerance allows" if result.beyond_total else ""
        found.append(
            (
                "anchor",
                f"{words.seconds(anchor.seconds_per_batch)} s/batch, first accepted {anchor.recorded}{at};"
                f" {words.percent(result.total, sign=True)} since{beyond}",
            )
        )
    return found


def _replayed(replay: document.Replay) -> list[tuple[str, str]]:
    found = [
        ("differs", "; ".join(replay.differs)),
        ("the same on both sides", "; ".join(replay.not_replayed)),
        ("accepted on", replay.accepted_on),
    ]
    if replay.stored is not None:
        found.append(("by stored figures", f"{replay.stored.verdict or 'inconclusive'}, {_judged(replay.stored)}"))
    if replay.moved is not None:
        moved, low, high = (words.percent(one, sign=True) for one in replay.moved)
        found.append(("the machine", f"the baseline's own code takes {moved} here today ({low} to {high})"))
    return found


def _costs(result: document.Measurement) -> str:
    found = []
    if result.examples_per_second is not None:
        found.append(f"{result.examples_per_second:.4g} examples/s")
    if result.flop_per_second is not None:
        found.append(f"{result.flop_per_second / 1e9:.4g} GFLOP/s")
    if result.peak_memory_bytes is not None:
        found.append(f"{words.size(result.peak_memory_bytes)} at its peak")
    if result.joules_per_batch is not None:
        found.append(f"{result.joules_per_batch:.3g} J/batch")
    return ", ".join(found)


def _first(result: document.Measurement) -> str:
    if result.first_batch_seconds is None:
        return ""
    prepared = sorted(run.prepare_seconds for run in result.runs)
    ready = f", after {prepared[len(prepared) // 2]:.3g} s of preparation" if prepared and prepared[-1] else ""
    return f"{result.first_batch_seconds:.3g} s{ready}"


def _on_cpu(result: document.Measurement) -> str:
    found = result.work.operations_on_cpu if result.work is not None else {}
    if not found or result.workload.device == "cpu":
        return ""
    return words.listed([f"{name} {count:,}" for name, count in sorted(found.items(), key=lambda one: -one[1])], 5)


def _commands(commands: document.Commands) -> list[tuple[str, str]]:
    lines = (
        ("repeat it", commands.repeat),
        ("accept it", commands.accept),
        ("compare it with the code of its baseline", commands.compare),
    )
    return [(what, one_line(line)) for what, line in lines if line]


def _charts(result: document.Measurement, at: str) -> list[Chart]:
    found = []
    if result.runs or result.baseline is not None:
        found.append(_runs_chart(result))
    if result.reference is not None and result.reference.runs and result.judgement is not None:
        found.append(_pairs_chart(result))
    if result.runs:
        places = {"runs": f"{at}/runs"}
        found.append(
            Chart(
                charts.steps(_counters(result.runs), warm_up=any(run.warm_up for run in result.runs)),
                "Step times of each run",
                "First batch and warm-up stand apart: they are not timed by the gate.",
                at=places,
            )
        )
        reference = result.reference
        if reference is not None and reference.runs:
            found.append(
                Chart(
                    charts.steps(_counters(reference.runs), warm_up=any(run.warm_up for run in reference.runs)),
                    f"The same of {one_line(reference.name)}",
                    at={"runs": f"{at}/reference/runs"},
                )
            )
    return found


def _counters(runs: Iterable[document.Run]) -> tuple[str, ...]:
    """What the traces know."""
    known = {place for run in runs for row in run.trace for place, value in enumerate(row) if value is not None}
    return tuple(name for place, name in enumerate(charts.COUNTERS, 1) if place in known)


def _runs_chart(result: document.Measurement) -> Chart:
    entry, reference = result.baseline, result.reference
    stored = entry.runs if entry is not None else []
    numbers = {session: number for number, session in enumerate(dict.fromkeys(run.session for run in stored), 1)}
    dots = [
        {
            "session": f"{numbers[run.session]}: {one_line(run.recorded)} {run.revision}".strip(),
            "side": "stored",
            "seconds": run.seconds_per_batch,
        }
        for run in stored
    ]
    sides = [("reference", reference.runs)] if reference is not None else []
    for side, runs in [*sides, ("now", result.runs)]:
        dots += [{"session": "this session", "side": side, "seconds": run.seconds_per_batch} for run in runs]
    anchor = [] if entry is None else [{"seconds": entry.anchor.seconds_per_batch}]
    said = "A dot is a run." + (" The dashed line is the anchor." if anchor else "")
    kind = "runs+reference" if sides else "runs"
    return Chart(kind, "Runs in their sessions", said, data={"dots": dots, "anchor": anchor})


def _pairs_chart(result: document.Measurement) -> Chart:
    reference, judged = result.reference, result.judgement
    if reference is None or judged is None:
        raise ValueError("a measurement without pairs has no chart of them")
    pairs = []
    for number, (now, then) in enumerate(zip(result.runs, reference.runs, strict=False), 1):
        change = now.seconds_per_batch / then.seconds_per_batch - 1 if reference.apart else _of_blocks(now, then)
        pairs.append({"pair": number, "change": change})
    return _in_pairs(pairs, judged, result.asked.tolerance, "Pairs: today's code beside the other side's")


def _of_blocks(now: document.Run, then: document.Run) -> float:
    """The change of one pair, of blocks that were neighbours, as the gate sees it."""
    from ...gate import ratio_of_pairs  # numpy and scipy: only where a page is made

    return ratio_of_pairs([now.samples], [then.samples]).value - 1


def _in_pairs(pairs: Sequence[Mapping[str, Any]], judged: document.Judgement, tolerance: float, title: str) -> Chart:
    band = {"low": judged.change_low, "high": judged.change_high, "change": judged.change, "tolerance": tolerance}
    return Chart(
        "pairs",
        title,
        "A dot is a pair. The band is the 95 % interval of the change, the dashed line what is allowed.",
        data={"pairs": list(pairs), "change": [band]},
    )


# a metric


def _of_metric(result: document.Measurement, one: document.Metric, whole: Row) -> Row:
    figures = _known(
        change=one.change, low=one.change_low, high=one.change_high, tolerance=one.tolerance, visible=one.visible
    )
    now, then = (_amount(value, one.unit) for value in (one.now, one.baseline))
    if one.now is not None and one.baseline is not None:
        now, then = amounts((one.now, one.baseline), one.unit)
    change = _change(one.change, one.change_low, one.change_high)
    return Row(
        key=_key(whole.key, one.name),
        verdict=one.verdict,
        worse=one.worse,
        name=f"{whole.name}: {one_line(one.name)}",
        label=f"{whole.label}: {one_line(one.name)}",
        device=whole.device,
        session=whole.session,
        now=now,
        baseline=then,
        change=change,
        visible="-" if one.visible is None else words.percent(one.visible),
        reason=one_line(one.reason) if one.verdict == "inconclusive" else "",
        figures=figures,
        facts=[
            ("test", one_line(result.nodeid)),
            ("now", now),
            ("baseline", then),
            ("change", change),
            ("allowed", words.percent(one.tolerance, sign=True)),
            *([("why", _lines(one.reason))] if one.reason else []),
        ],
        commands=whole.commands,
        weight=_weight(figures),
    )


def _amount(value: float | None, unit: str) -> str:
    return "-" if value is None else amounts((value,), unit)[0]


# a speedup


def _of_speedup(result: document.Speedup, session: document.Document, name: str, at: str) -> Row:
    verdict, ratio, judged = "error" if result.error else result.verdict or "smoke", result.ratio, result.judgement
    figures: dict[str, float] = {}
    baseline = change = visible = "-"
    if judged is not None and not result.error:
        baseline = f"{_ratio(judged):.3g}x"
        change = _change(*map(shrunk, (judged.change, judged.change_high, judged.change_low)))
        visible = "-" if judged.visible is None else words.percent(-shrunk(judged.visible))
        figures = _figures(result.asked.tolerance, judged)
    return Row(
        key=_key(result.nodeid, result.id, session.machine.id),
        verdict="-" if verdict == "smoke" and ratio else verdict,
        worse=verdict in ("slower", "error"),
        name=one_line(result.id),
        label=one_line(f"{result.of.id} over {result.over.id}"),
        device=one_line(result.of.device),
        session=name,
        now="-" if ratio is None else f"{ratio.value:.3g}x ({ratio.low:.3g} to {ratio.high:.3g})",
        baseline=baseline,
        change=change,
        visible=visible,
        reason=one_line(result.error.splitlines()[0] if result.error else _why(result, verdict)),
        figures=figures,
        facts=_facts_of_speedup(result),
        charts=_charts_of_speedup(result, at),
        commands=_commands(result.commands),
        weight=_weight(figures),
    )


def _ratio(judged: document.Judgement) -> float:
    """The stored ratio, which the gate judged as seconds."""
    return 1 / judged.baseline if judged.baseline > 0 else math.nan


def _why(result: document.Speedup, verdict: str) -> str:
    if verdict != "inconclusive":
        return ""
    return (result.judgement and result.judgement.reason) or "noise"


PROMISES = {"within": "kept", "slower": "not kept", "inconclusive": "cannot be told"}


def _facts_of_speedup(result: document.Speedup) -> list[tuple[str, str]]:
    unit, ratio, judged = "s/example" if result.per_example else "s/batch", result.ratio, result.judgement
    found = [("test", result.nodeid), ("error", result.error)]
    if ratio is not None:
        interval = f"{words.percent(ratio.confidence)} interval {ratio.low:.3g} to {ratio.high:.3g}"
        found.append(
            ("now", f"{ratio.value:.3g} times as fast, {interval}, {words.plural(len(result.pairs), 'fresh pair')}")
        )
    if result.at_least is not None:
        found.append(("promised", f"{result.at_least:g}; {PROMISES.get(result.promise, 'not judged')}"))
    if judged is not None and result.baseline is not None:
        found.append(("stored", f"{_ratio(judged):.3g}; {words.provenance(result.baseline.pairs, 'pair')}"))
    for word, side, seconds, memory, joules in (
        ("of", result.of, result.of_seconds, result.of_peak_memory_bytes, result.of_joules),
        ("over", result.over, result.over_seconds, result.over_peak_memory_bytes, result.over_joules),
    ):
        more = [f"{words.size(memory)} at its peak"] if memory is not None else []
        more += [f"{joules:.3g} J"] if joules is not None else []
        taken = "not measured" if seconds is None else f"{words.seconds(seconds)} {unit}"
        found.append((word, ", ".join([f"{side.id}: {taken}", *more])))
    found += [("parity", result.parity), ("notes", "; ".join(result.notes))]
    return [(term, _lines(text)) for term, text in found if text]


def _charts_of_speedup(result: document.Speedup, at: str) -> list[Chart]:
    if not result.pairs or result.ratio is None:
        return []
    ratio = result.ratio
    band = {"low": ratio.low, "high": ratio.high, "ratio": ratio.value}
    promise = [] if result.at_least is None else [{"at_least": result.at_least}]
    pairs = [{"pair": number, "ratio": pair.ratio} for number, pair in enumerate(result.pairs, 1)]
    data = {"pairs": pairs, "ratio": [band], "promise": promise}
    said = "A dot is a pair, times as fast. The band is the interval of the ratio" + (
        ", the dashed line the promise." if promise else "."
    )
    found = [Chart("ratios", "Pairs", said, data=data)]
    for side in ("of", "over"):
        runs = [getattr(pair, side) for pair in result.pairs]
        kind = charts.steps(_counters(runs), warm_up=any(run.warm_up for run in runs))
        found.append(
            Chart(kind, f"Step times of {one_line(getattr(result, side).id)}", at={"runs": f"{at}/pairs/*/{side}"})
        )
    return found


# no result


def _without_result(one: document.NotMeasured, session: document.Document, name: str) -> Row:
    return Row(
        key=_key(one.nodeid, one.how, session.machine.id),
        verdict=one.how,
        worse=one.how == "refused",
        name=one_line(one.nodeid),
        label=one_line(one.nodeid),
        device="",
        session=name,
        reason=one_line(one.reason),
        facts=[("test", one_line(one.nodeid)), ("why", _lines(one.reason))],
    )
