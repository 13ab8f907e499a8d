"""All gates of the benchmark: ours and its peers, each with the runs that its users naturally give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peer_libraries import asv_compare, google_benchmark, pyperf_compare, pytest_benchmark
from peer_rules import bencher, criterion, nvbench_legacy, nvbench_robust
from trial import Gate, Metalperf, Outcome, Trial

if TYPE_CHECKING:
    from peer_libraries import Rule


@dataclass(frozen=True)
class Peer:
    """Another tool's rule, on so many of the newest stored runs and so many fresh runs."""

    name: str
    rule: Rule
    stored: int = 1
    fresh: int = 1

    def judge(self, trial: Trial, ratio: float) -> Outcome:
        fresh = [run.slower(ratio) for run in trial.fresh[: self.fresh]]
        verdict = self.rule([run.samples for run in trial.stored[-self.stored :]], [run.samples for run in fresh])
        return Outcome(verdict, len(fresh), sum(run.batches for run in fresh))


OUR_GATE = Metalperf()
PEERS = (
    Peer("pytest-benchmark mean:5%", pytest_benchmark("mean", 5)),
    Peer("pytest-benchmark min:5%", pytest_benchmark("min", 5)),
    Peer("asv compare", asv_compare, stored=5, fresh=2),
    Peer("Google Benchmark U test", google_benchmark),
    Peer("pyperf compare_to", pyperf_compare, stored=5, fresh=5),
    Peer("criterion", criterion),
    Peer("nvbench legacy", nvbench_legacy),
    Peer("nvbench robust", nvbench_robust),
    Peer("bencher t test", bencher, stored=5),
)
GATES: tuple[Gate, ...] = (OUR_GATE, *PEERS)
