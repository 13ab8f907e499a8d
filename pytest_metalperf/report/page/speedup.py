"""The row of a speedup."""

from __future__ import annotations

import math

from .. import document, words
from ..markdown import one_line
from ..speedups import shrunk
from . import charts
from .row import Chart, Row, commands_of, counters_of, figures_of, key_of, weight_of, whole_text, with_interval


def of_speedup(result: document.Speedup, session: document.Document, name: str, at: str) -> Row:
    """The row of a speedup, which lies at `at` in the page's sessions."""
    verdict, ratio, judged = "error" if result.error else result.verdict or "smoke", result.ratio, result.judgement
    figures: dict[str, float] = {}
    baseline = change = visible = "-"
    if judged is not None and not result.error:
        baseline = f"{_ratio(judged):.3g}x"
        change = with_interval(*map(shrunk, (judged.change, judged.change_high, judged.change_low)))
        visible = "-" if judged.visible is None else words.percent(-shrunk(judged.visible))
        figures = figures_of(result.asked.tolerance, judged)
    return Row(
        key=key_of(result.nodeid, result.id, session.machine.id),
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
        facts=_facts(result),
        charts=_charts(result, at),
        commands=commands_of(result.commands),
        weight=weight_of(figures),
    )


def _ratio(judged: document.Judgement) -> float:
    """The stored ratio, which the gate judged as seconds."""
    return 1 / judged.baseline if judged.baseline > 0 else math.nan


def _why(result: document.Speedup, verdict: str) -> str:
    if verdict != "inconclusive":
        return ""
    return (result.judgement and result.judgement.reason) or "noise"


PROMISES = {"within": "kept", "slower": "not kept", "inconclusive": "cannot be told"}


def _facts(result: document.Speedup) -> list[tuple[str, str]]:
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
    return [(term, whole_text(text)) for term, text in found if text]


def _charts(result: document.Speedup, at: str) -> list[Chart]:
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
        kind = charts.steps(counters_of(runs), warm_up=any(run.warm_up for run in runs))
        found.append(
            Chart(kind, f"Step times of {one_line(getattr(result, side).id)}", at={"runs": f"{at}/pairs/*/{side}"})
        )
    return found
