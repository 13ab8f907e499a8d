"""The row of a measurement, and those of the metrics that were gated beside it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from ...history.trend import History
from ...results.quantities import amounts
from .. import document, words
from ..markdown import one_line
from . import charts
from .past import chart_of, facts_of
from .row import (
    Chart,
    Row,
    age_of,
    change_of,
    commands_of,
    counters_of,
    figures_of,
    key_of,
    known,
    weight_of,
    whole_text,
    with_interval,
)


def of_measurement(
    result: document.Measurement,
    session: document.Document,
    name: str,
    at: str,
    today: datetime.date,
    past: History | None = None,
) -> list[Row]:
    """The row of a measurement, which lies at `at` in the page's sessions, and those of its metrics."""
    workload, judgement = result.workload, result.judgement
    verdict = "error" if result.error else result.verdict or "smoke"
    compared = judgement is not None and not result.error and verdict != "recorded"
    judged = judgement if compared else None
    now, then, change, visible = _seconds(result.seconds_per_batch), "-", "-", "-"
    figures = figures_of(result.asked.tolerance, judged)
    if judged is not None:
        now, then = f"{words.seconds(judged.now, judged.baseline)} s", f"{words.seconds(judged.baseline, judged.now)} s"
        change, visible = change_of(judged), "-" if judged.visible is None else words.percent(judged.visible)
    label = workload.label
    if result.sustained is not None:
        long = result.sustained
        label += f" sustained {words.duration(long.stretch)} at its start and end"
        now, then = f"{words.seconds(long.last, long.first)} s", f"{words.seconds(long.first, long.last)} s"
        figures = known(
            change=long.ratio - 1,
            low=long.low - 1,
            high=long.high - 1,
            tolerance=result.asked.sustained_tolerance,
        )
        change = with_interval(long.ratio - 1, long.low - 1, long.high - 1)
        visible = "-"
    whole = Row(
        key=key_of(result.nodeid, workload.id, session.machine.id),
        verdict=verdict,
        worse=verdict in ("slower", "error"),
        name=one_line(workload.id),
        label=one_line(label),
        device=one_line(words.place(workload.device, workload.backend)),
        session=name,
        now=now,
        baseline=then,
        change=change,
        visible=visible,
        reason=_reason(result, verdict),
        figures=figures,
        facts=_facts(result, judged, today) + ([] if past is None else facts_of(past)),
        charts=_charts(result, at) + ([chart] if past is not None and (chart := chart_of(past)) else []),
        commands=commands_of(result.commands) + _bisect(result, session.session),
        weight=weight_of(figures),
        share=None if result.error else result.share_of_peak,
    )
    if result.error:
        return [whole]
    return [whole, *(_of_metric(result, one, whole) for one in result.metrics)]


def _bisect(result: document.Measurement, session: document.Session) -> list[tuple[str, str]]:
    """The command that finds which commit did it, where both ends are commits, and code that they hold."""
    last = result.baseline.runs[-1] if result.baseline is not None else None
    if result.verdict != "slower" or not result.commands.compare or last is None or not session.clean:
        return []
    good, bad, arguments = last.commit, session.commit, result.commands.repeat.removeprefix("pytest ")
    if good is None or bad is None or good == bad:
        return []
    command = f"python -m pytest_metalperf bisect {good[:10]} {bad[:10]} -- {arguments}"
    return [("find the commit that did it", one_line(command))]


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
        found.append(("now", f"{words.seconds(result.seconds_per_batch)} s/batch, {_runs(result)}"))
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
        ("share of the peak", _of_peak(result)),
        ("first batch", _first(result)),
        ("operations on the CPU", _on_cpu(result)),
        ("notes", "; ".join(result.notes)),
    ]
    return [(term, whole_text(text)) for term, text in found if text]


def _runs(result: document.Measurement) -> str:
    return words.runs([len(run.samples) * run.batches_per_block for run in result.runs])


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
            ("change", f"{change_of(judged)}, of blocks that were neighbours"),
        ]
        if reference.apart:
            found.append(("pairs", reference.apart))
    else:
        interval = f"95 % interval {words.seconds(judged.now_low)} to {words.seconds(judged.now_high)}"
        found.append(("now", f"{now} s/batch, {_runs(result)}, {interval}"))
        if entry is not None:
            found.append(("baseline", f"{then} s/batch, {words.provenance(entry.runs)}"))
        found.append(("change", change_of(judged)))
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
        found.append(("by stored figures", f"{replay.stored.verdict or 'inconclusive'}, {change_of(replay.stored)}"))
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


def _of_peak(result: document.Measurement) -> str:
    """`16.0 % of 381.0 TFLOP/s, …`; why there is none; empty of what an older version has written."""
    if result.share_of_peak is None or result.peak_flop_per_second is None:
        return result.no_share_of_peak
    (rate,) = amounts([result.peak_flop_per_second], "FLOP/s")
    return (
        f"{words.of_peak(result.share_of_peak)} of {rate}, the rate of a large product in {result.peak_arithmetic} here"
    )


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
                charts.steps(counters_of(result.runs), warm_up=any(run.warm_up for run in result.runs)),
                "Step times of each run",
                "First batch and warm-up stand apart: they are not timed by the gate.",
                at=places,
            )
        )
        reference = result.reference
        if reference is not None and reference.runs:
            found.append(
                Chart(
                    charts.steps(counters_of(reference.runs), warm_up=any(run.warm_up for run in reference.runs)),
                    f"The same of {one_line(reference.name)}",
                    at={"runs": f"{at}/reference/runs"},
                )
            )
    return found


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


def _of_metric(result: document.Measurement, one: document.Metric, whole: Row) -> Row:
    figures = known(
        change=one.change, low=one.change_low, high=one.change_high, tolerance=one.tolerance, visible=one.visible
    )
    now, then = (_amount(value, one.unit) for value in (one.now, one.baseline))
    if one.now is not None and one.baseline is not None:
        now, then = amounts((one.now, one.baseline), one.unit)
    change = with_interval(one.change, one.change_low, one.change_high)
    return Row(
        key=key_of(whole.key, one.name),
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
            *([("why", whole_text(one.reason))] if one.reason else []),
        ],
        commands=whole.commands,
        weight=weight_of(figures),
    )


def _amount(value: float | None, unit: str) -> str:
    return "-" if value is None else amounts((value,), unit)[0]
