"""What a fixture returns: all runs of one workload, or two variants in turn, with what the gate says of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..baselines.schema import Entry, Fingerprint, SpeedupEntry, StoredPair, rounded
from ..workloads.workload import Workload
from .conditions import of_pair
from .fingerprint import common, fingerprint_changes
from .metrics import MetricResult
from .peak import Peak, Share, share
from .run import Run, storable

if TYPE_CHECKING:
    from ..gate import Judgement, Ratio, Sustained

VERDICTS = ("faster", "within", "slower", "machine", "inconclusive", "no baseline", "recorded")


@dataclass(frozen=True)
class ReferenceRuns:
    """What a measurement was interleaved with: under --metal-against, or its own baseline, replayed.

    Attributes:
        name: as a person wrote it, a revision with its commit.
        runs: one per fresh pair.
        apart: why whole runs took turns, in a sentence; empty where blocks did.
    """

    name: str
    runs: Sequence[Run] = ()
    apart: str = ""


@dataclass(frozen=True)
class Replayed:
    """What a replay of the baseline adds to its reference.

    Attributes:
        stored: the gate's judgement by the stored figures, which the replay confirms or corrects; None where they are another
            machine's.
        differs: what differs of code, packages and variables between the baseline and today, a clause each.
        not_replayed: what of that is today's on both sides, a clause each.
        moved: how much slower the baseline's own code is than its stored figures, with a 95 % interval; None where that
            cannot be told.
        accepted_on: another machine, where what it has accepted since takes the place of this one's baseline.
    """

    stored: Judgement | None
    differs: Sequence[str] = ()
    not_replayed: Sequence[str] = ()
    moved: tuple[float, float, float] | None = None
    accepted_on: str = ""


@dataclass
class Measurement:
    """All runs of one workload in one session, and what the gate says of them: what `metal_bench(...)` returns.

    Attributes:
        workload: what was trained.
        runs: fresh runs, in order.
        verdict: `faster`, `within`, `slower`, `machine`, `inconclusive`, `no baseline` or `recorded`; empty in a smoke run.
        judgement: the gate's figures behind the verdict; None where there was no baseline to compare with.
        baseline: the stored entry that it was compared with; None if there was none.
        reference: what it was interleaved with: under --metal-against, instead of a baseline, or the baseline, replayed.
        replayed: what a replay adds to that; None where there was none.
        no_replay: why there was none, in one sentence, where it was wanted; empty otherwise.
        error: what broke, in one sentence, instead of a verdict.
        tolerance: slowdown that was accepted.
        beyond_total: whether it is the total since the anchor that is not accepted.
        metrics: what the gate says of the metrics that were asked for beside seconds per batch.
        strict_work: whether a change of the work fails, whatever the clock says.
        peak: the rate of products that its steps could reach at most, or why that is unknown.
        sustained: how much slower a long run was at its end than at its start; None for any other measurement.
        nodeid: the test that asked.
        failed: whether its test failed for it.
    """

    workload: Workload
    runs: list[Run] = field(default_factory=list)
    verdict: str = ""
    judgement: Judgement | None = None
    baseline: Entry | None = None
    reference: ReferenceRuns | None = None
    replayed: Replayed | None = None
    no_replay: str = ""
    error: str = ""
    tolerance: float = 0.05
    beyond_total: bool = False
    metrics: Sequence[MetricResult] = ()
    strict_work: bool = False
    sustained: Sustained | None = None
    peak: Peak = field(default_factory=Peak)
    nodeid: str = ""
    failed: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> float | None:
        """Now / anchor - 1: the change since the first figure ever accepted; None without a baseline."""
        if self.judgement is None or self.baseline is None:
            return None
        if (
            self.replayed is not None and self.replayed.stored is not None
        ):  # today's machine may be another: the pairs tell what the code has added
            now = self.replayed.stored.baseline_seconds * (1 + self.judgement.change)
            return now / self.baseline.anchor.seconds_per_batch - 1
        return self.judgement.now_seconds / self.baseline.anchor.seconds_per_batch - 1

    @property
    def samples(self) -> tuple[float, ...]:
        """Seconds per batch of every block of every run."""
        return tuple(sample for run in self.runs for sample in run.samples)

    @property
    def seconds_per_batch(self) -> float:
        """What the gate compares and the table shows: the geometric mean of the runs' figures, in seconds."""
        if self.judgement is not None and self.verdict != "recorded":
            return self.judgement.now_seconds  # of the runs that were judged: loaded ones may be left out
        return statistics.geometric_mean(run.estimate.seconds for run in self.runs)

    @property
    def examples_per_second(self) -> float | None:
        """Throughput; None where nobody knows how many examples a batch has."""
        examples = self.runs[0].examples
        return None if examples is None else examples / self.seconds_per_batch

    @property
    def first_batch_seconds(self) -> float:
        """The median over runs of the time from the built model to its first trained batch, in seconds."""
        return statistics.median(run.first_batch_seconds for run in self.runs)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest peak of all runs; None is unknown."""
        return max((run.peak_memory_bytes for run in self.runs if run.peak_memory_bytes is not None), default=None)

    @property
    def joules_per_batch(self) -> float | None:
        """The median over the runs that know it; None is unknown."""
        known = [run.joules_per_batch for run in self.runs if run.joules_per_batch is not None]
        return statistics.median(known) if known else None

    @property
    def flop_per_second(self) -> float | None:
        """The achieved rate: FLOP of the fingerprint over seconds per batch; None is unknown."""
        known = self.fingerprint
        return None if known is None or known.flop is None else known.flop / self.seconds_per_batch

    @property
    def peak_flop_per_second(self) -> float | None:
        """The rate of a large product on the device that trained, in the arithmetic that trained; None is unknown."""
        return self.peak.flop_per_second

    @property
    def share_of_peak(self) -> float | None:
        """`flop_per_second` / `peak_flop_per_second`, so 0.61 for 61 %; None is unknown, and `no_share_of_peak` says why."""
        return self._share.share

    @property
    def no_share_of_peak(self) -> str:
        """Why `share_of_peak` is None, in one sentence; empty where it is known."""
        return self._share.reason

    @property
    def _share(self) -> Share:
        return share(self.flop_per_second, self.peak, again=bool(self.workload.whole_axes.get("remat")))

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint that all runs share; None where there was nothing to look at."""
        return _common_fingerprint(self.runs)

    @property
    def fingerprint_before(self) -> Fingerprint | None:
        """The fingerprint of the other side of the comparison; None where there is none."""
        if self.reference is not None:
            return _common_fingerprint(self.reference.runs)
        return self.baseline.fingerprint if self.baseline is not None else None

    @property
    def fingerprint_changes(self) -> list[str]:
        """What changed in the work itself, a clause per fact: `operations on the CPU 0 -> 37 (ResizeBilinearGrad 37)`."""
        return fingerprint_changes(self.fingerprint_before, self.fingerprint)

    @property
    def change(self) -> float | None:
        """Now / baseline - 1, so 0.142 for 14.2 % slower; None where nothing was compared."""
        return None if self.judgement is None else self.judgement.change

    @property
    def versions_before(self) -> Mapping[str, str]:
        """With what the other side of the comparison was measured; empty where there is none."""
        other = self.reference.runs if self.reference is not None else self.baseline.runs if self.baseline else ()
        return other[-1].versions if other else {}

    @property
    def device(self) -> str:
        """`cpu`, `gpu`, …, or `live`."""
        return self.workload.device

    def __repr__(self) -> str:
        seconds = f"{self.seconds_per_batch:.4g} s/batch" if self.runs else "no runs"
        return f"<Measurement {self.workload.id} {seconds} {(self.error and 'error') or self.verdict}>"


def _common_fingerprint(runs: Sequence[Run]) -> Fingerprint | None:
    return common(run.work for run in runs)


@dataclass(frozen=True)
class Pair:
    """One fresh pair of interleaved workers: what each of them measured."""

    over: Run
    of: Run

    @property
    def per_example(self) -> bool:
        """Whether their batches differ in size, so that seconds per example are compared."""
        return None not in (self.over.examples, self.of.examples) and self.over.examples != self.of.examples

    @property
    def samples(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Seconds per batch (per example where batches differ) of each block, over and of, whose blocks were neighbours."""
        over, of = (
            tuple(sample / ((run.examples or 1) if self.per_example else 1) for sample in run.samples)
            for run in (self.over, self.of)
        )
        return over, of

    @cached_property
    def ratio(self) -> float:
        """How many times faster `of` was in this pair."""
        from ..gate import ratio_of_pairs  # numpy and scipy: only when a verdict is due

        over, of = self.samples
        return ratio_of_pairs([over], [of]).value


@dataclass(frozen=True)
class PairFigure:
    """What a gate and a baseline want of a pair: its ratio, and where that comes from, for both sides together.

    Attributes:
        ratio: how many times faster the one side was.
        session: that measured it.
        recorded: its date, in UTC.
        versions: of all that either side ran with.
        conditions: the worse of both sides.
    """

    ratio: float
    session: str
    recorded: str
    versions: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def stored(self, commit: str | None = None, clean: bool | None = None) -> StoredPair:
        """The pair as a baseline keeps it; `clean` is whether the working tree was that commit."""
        from ..gate import PAIR_ESTIMATOR  # numpy and scipy: only when a verdict is due

        return StoredPair(
            ratio=rounded(self.ratio),
            estimator=PAIR_ESTIMATOR,
            session=self.session,
            recorded=self.recorded,
            commit=commit,
            clean=clean,
            versions=dict(self.versions),
            conditions=storable(self.conditions),
        )


@dataclass
class Speedup:
    """Two variants of a workload, interleaved: what `metal_speedup(...)` returns.

    Attributes:
        of: the variant that should be faster.
        over: the variant it is compared with.
        ratio: how many times faster `of` is, with its 95 % interval.
        at_least: the promised ratio; None if none was promised.
        runs: one Pair per fresh pair of workers.
        parity: `checked`: from the same weights both have the same loss and gradient; else why that was not checked.
        promise: what is known of `at_least`: `within` (kept), `slower` (not kept), `inconclusive`; empty without one.
        baseline: the stored ratio; None where there is none.
        judgement: what the gate says of the stored ratio. Its seconds are those of `of`, counted in those of `over`.
        verdict: `slower` where the promise is not kept or the speedup shrank, else `inconclusive` where either is, else
            `faster`, `within`, `recorded`; empty when there is neither.
        error: what broke, in one sentence, instead of a verdict.
        tolerance: growth of the judgement's seconds that was accepted.
        beyond_total: whether it is the total since the anchor that is not accepted.
        nodeid: the test that asked.
        failed: whether its test failed for it.
        notes: what else there is to know of it, one sentence each.
    """

    of: Workload
    over: Workload
    ratio: Ratio | None = None
    at_least: float | None = None
    runs: Sequence[Pair] = ()
    parity: str = ""
    promise: str = ""
    baseline: SpeedupEntry | None = None
    judgement: Judgement | None = None
    verdict: str = ""
    error: str = ""
    tolerance: float = 0.05
    beyond_total: bool = False
    nodeid: str = ""
    failed: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """`resnet50v2[64px,b8]@gpu:tensorflow over resnet50v2[64px,b8]@cpu:tensorflow`."""
        return f"{self.of.id} over {self.over.id}"

    @property
    def same_builder(self) -> bool:
        """Whether one function builds both, so that weights of one fit the other as they lie."""
        return self.of.source == self.over.source

    @property
    def device(self) -> str:
        """The one that is no CPU, where there is one: whose conditions count."""
        return self.of.device if self.of.device != "cpu" else self.over.device

    @property
    def pairs(self) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
        """Seconds per batch (per example where batches differ) of each block, one (over, of) tuple per fresh pair."""
        return [pair.samples for pair in self.runs]

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds per batch (per example where batches differ) of over and of: geometric means of the figures of their runs."""
        from ..gate import estimate_run  # numpy and scipy: only when a verdict is due

        over, of = (
            statistics.geometric_mean(estimate_run(pair[side]).seconds for pair in self.pairs) for side in (0, 1)
        )
        return over, of

    @property
    def pair_results(self) -> list[PairFigure]:
        """The fresh pairs, as a gate and a baseline want them."""
        return [
            PairFigure(
                pair.ratio,
                pair.of.session,
                pair.of.recorded,
                {**pair.over.versions, **pair.of.versions},
                of_pair((self.over.device, pair.over.conditions), (self.of.device, pair.of.conditions)),
            )
            for pair in self.runs
        ]

    @property
    def versions(self) -> Mapping[str, str]:
        """With what the last pair was measured."""
        return self.pair_results[-1].versions if self.runs else {}

    @property
    def versions_before(self) -> Mapping[str, str]:
        """With what the last stored pair was measured; those of today where nothing was compared."""
        return self.versions if self.baseline is None else self.baseline.pairs[-1].versions

    @property
    def per_example(self) -> bool:
        """Whether seconds per example were compared (different batch sizes)."""
        return any(pair.per_example for pair in self.runs)

    @property
    def of_peak_memory_bytes(self) -> float | None:
        """The median over pairs of the peak memory of `of`; None is unknown."""
        return _median(pair.of.peak_memory_bytes for pair in self.runs)

    @property
    def over_peak_memory_bytes(self) -> float | None:
        """The median over pairs of the peak memory of `over`; None is unknown."""
        return _median(pair.over.peak_memory_bytes for pair in self.runs)

    @property
    def of_joules(self) -> float | None:
        """The median over pairs of the energy of `of` per batch, or per example where batches differ; None is unknown."""
        return _median(self._joules(pair.of) for pair in self.runs)

    @property
    def over_joules(self) -> float | None:
        """The median over pairs of the energy of `over` per batch, or per example where batches differ; None is unknown."""
        return _median(self._joules(pair.over) for pair in self.runs)

    def _joules(self, run: Run) -> float | None:
        joules = run.joules_per_batch
        return None if joules is None else joules / ((run.examples or 1) if self.per_example else 1)

    @property
    def value(self) -> float:
        """The speedup: 6.2 means that `of` is 6.2 times as fast as `over`."""
        return self.ratio.value if self.ratio is not None else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.ratio.low if self.ratio is not None else float("nan")

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.ratio.high if self.ratio is not None else float("nan")

    def __repr__(self) -> str:
        return f"<Speedup of {self.of.id} over {self.over.id}: {self.value:.3g} ({self.low:.3g} to {self.high:.3g})>"


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
