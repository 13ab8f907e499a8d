"""One verdict's material, and what a gate makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from pytest_metalperf.gate import Judgement, Rule, RunFigure, judge
from pytest_metalperf.results.conditions import under_conditions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Samples = NDArray

OURS = "metalperf"
RULE = Rule()
SIDE_BY_SIDE = 2  # runs that the plugin asks for at once after an open first look, on a machine with two cores


@dataclass(frozen=True)
class TrialRun:
    """A run: its samples in seconds per batch, what our estimate says of them, and its session."""

    samples: Samples
    figure: RunFigure
    batches: int
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def slower(self, ratio: float) -> TrialRun:
        """The same run of a step that takes ``ratio`` times as long; every estimate of a run scales with its samples."""
        figure = RunFigure(self.figure.seconds * ratio, self.figure.session)
        return replace(self, samples=self.samples * ratio, figure=figure)


@dataclass(frozen=True)
class Trial:
    """Stored runs of the judged workload and of its peers, and fresh runs on unchanged code, as many as a gate may ask for.

    ``later`` are fresh runs whose first is followed by ones of another minute, as the plugin confirms a suspicion at the
    end of its session; where that is not known they are ``fresh``.
    """

    stored: Sequence[TrialRun]
    peers: Sequence[Sequence[RunFigure]]
    fresh: Sequence[TrialRun]
    later: Sequence[TrialRun] = ()
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """A verdict and the fresh runs and batches that it took."""

    verdict: str
    runs: int
    batches: int


class Gate(Protocol):
    """Anything that can judge a trial whose fresh runs take ``ratio`` times as long."""

    @property
    def name(self) -> str: ...

    def judge(self, trial: Trial, ratio: float) -> Outcome: ...


@dataclass(frozen=True)
class Metalperf:
    """Our gate: the whole sequential procedure, in the steps in which the plugin asks for runs, conditions heeded."""

    name: str = OURS
    rule: Rule = RULE

    def judge(self, trial: Trial, ratio: float) -> Outcome:
        stored = [run.figure for run in trial.stored]
        before = [run.conditions for run in trial.stored]
        rule, runs = replace(self.rule, max_runs=min(self.rule.max_runs, len(trial.fresh))), 1

        def judged_by(some: Sequence[TrialRun]) -> Judgement:
            return judge([run.slower(ratio).figure for run in some], stored, trial.peers, rule)

        fresh = trial.fresh
        judgement = under_conditions(fresh[:runs], before, trial.device, judged_by, rule.max_runs)
        if judgement.spread_next and trial.later:
            fresh = trial.later
        while not judgement.decided:
            runs = min(rule.max_runs, runs + SIDE_BY_SIDE)
            judgement = under_conditions(fresh[:runs], before, trial.device, judged_by, rule.max_runs)
        return Outcome(judgement.verdict, runs, sum(run.batches for run in fresh[:runs]))
