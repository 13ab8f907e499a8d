"""The gate on a finished session, with another one in the place of the stored baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..baselines.file import Entries
from ..judge.evidence import others_today
from ..judge.look import Figures, beside_others, unanswered_rule
from ..judge.metrics import gate_metrics
from ..judge.speedup import judge_of, look_at, most_pairs
from ..report import document, words
from ..results.measurement import Measurement, Speedup
from ..results.run import Run
from ..settings import Settings
from .sessions import id_of, measurement_of, run_of, settings_of, speedup_of

if TYPE_CHECKING:
    from ..gate import Judgement  # numpy and scipy: only when a verdict is due


@dataclass
class Comparison:
    """What there is to say of two sessions.

    Attributes:
        results: with the gate's verdict, in the order of the later session.
        not_judged: why something has no verdict, by the id of its workload.
        new: ids that only the later session has measured.
        gone: ids that only the earlier ones have.
    """

    results: list[Measurement | Speedup] = field(default_factory=list)
    not_judged: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @property
    def is_slower(self) -> bool:
        """Whether anything became worse beyond what is allowed."""
        return any(
            result.verdict == "slower"
            or (
                isinstance(result, Measurement)
                and (
                    any(one.worse for one in result.metrics)
                    or (result.strict_work and bool(result.fingerprint_changes))
                )
            )
            for result in self.results
        )

    @property
    def is_open(self) -> bool:
        """Whether anything has no clear answer."""
        unsure = any(
            result.verdict == "inconclusive"
            or (isinstance(result, Measurement) and any(one.verdict == "inconclusive" for one in result.metrics))
            for result in self.results
        )
        return unsure or bool(self.not_judged or self.new or self.gone)


def compared(before: Entries, after: document.Document, tolerance: float | None = None) -> Comparison:
    """Judge each result of `after` by the runs of `before`, by the rule that its own session asked for.

    Args:
        before: what earlier sessions measured.
        after: the later session.
        tolerance: a share that takes the place of the tolerance of seconds.
    """
    found = Comparison()
    others: dict[str, list[Run]] = {}
    for one in after.other_runs:
        if not one.reference:
            others.setdefault(one.id, []).extend(run_of(run) for run in one.runs)
    looks: dict[str, Judgement] = {}
    asked_of: dict[str, Settings] = {}
    for row in after.results:
        key, why = id_of(row), document.why_not(row, after)
        known = key in (before.workloads if isinstance(row, document.Measurement) else before.speedups)
        if why:
            found.not_judged[key] = why
        elif not known:
            found.new.append(key)
        elif isinstance(row, document.Measurement):
            settings = settings_of(row.asked, tolerance)
            measurement, look = _measurement(before, row, settings, others.get(key, []))
            found.results.append(measurement)
            asked_of[key] = settings
            if look is not None and not measurement.fingerprint_changes:
                looks[key] = look
        else:
            found.results.append(_speedup(before, row, tolerance))
    for result in found.results:
        if isinstance(result, Measurement) and result.verdict == "slower":
            beside_others(result, others_today(looks, result.workload.id), asked_of[result.workload.id])
    asked = {id_of(row) for row in after.results}
    found.gone = [key for key in (*before.workloads, *before.speedups) if key not in asked]
    return found


def _measurement(
    before: Entries, row: document.Measurement, settings: Settings, others: Sequence[Run]
) -> tuple[Measurement, Judgement | None]:
    """With what its quiet runs alone say."""
    measurement = measurement_of(row, settings)
    stored = measurement.baseline = before.workloads[row.workload.id]
    runs, rule = measurement.runs, unanswered_rule(settings)
    figures = Figures(row.workload.id, measurement.device, stored, before)
    judgement = figures.judged(runs, rule)
    if judgement.verdict == "inconclusive" and not judgement.decided:
        judgement = replace(judgement, reason=f"{judgement.reason}; {few(len(runs), rule.max_runs)}")
    measurement.judgement, measurement.verdict = judgement, judgement.verdict
    gate_metrics(before, measurement, stored, settings, lambda count: [*runs, *others])
    return measurement, figures.of_the_quiet(runs, rule)


def few(runs: int, most: int) -> str:
    """Why an answer is open that more runs might have given."""
    return (
        f"{words.plural(runs, 'run')} of the {most} that a verdict may take, and a session that has ended takes no more"
    )


def _speedup(before: Entries, row: document.Speedup, tolerance: float | None) -> Speedup:
    settings = settings_of(row.asked, tolerance)
    speedup = speedup_of(row, settings)
    stored = speedup.baseline = before.speedups[row.id]
    look_at(speedup, most_pairs(settings), judge_of(before, speedup, stored, settings))
    return speedup
