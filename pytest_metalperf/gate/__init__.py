"""The gate: numbers in, verdict out.

``estimate`` says what one run says, ``noise`` what runs differ by when nothing changes, ``verdict`` whether something
changed; ``ratio`` how many times faster one of two interleaved workers is, and ``paired`` whether that is a change;
``sustained`` how much slower one long run becomes, ``hidden`` what a run's figure leaves out, and ``common`` what all
workloads of a session became slower by.
Nothing here reads a file, a clock or a device, so that every claim can be checked with lists of numbers.
"""

from .common import Shared, is_slower_beyond, machine_moved, shared_slowdown
from .estimate import ESTIMATOR, RunEstimate, estimate_run
from .hidden import hidden_slowdown
from .noise import Noise, Peer, RunFigure, learn_noise
from .paired import LEAST_PAIRS, judge_pairs
from .ratio import PAIR_ESTIMATOR, Ratio, ratio_of_pairs
from .sustained import Sustained, judge_sustained, last_over_first
from .verdict import Judgement, Rule, judge, spent

__all__ = [
    "ESTIMATOR",
    "LEAST_PAIRS",
    "PAIR_ESTIMATOR",
    "Judgement",
    "Noise",
    "Peer",
    "Ratio",
    "Rule",
    "RunEstimate",
    "RunFigure",
    "Shared",
    "Sustained",
    "estimate_run",
    "hidden_slowdown",
    "is_slower_beyond",
    "judge",
    "judge_pairs",
    "judge_sustained",
    "last_over_first",
    "learn_noise",
    "machine_moved",
    "ratio_of_pairs",
    "shared_slowdown",
    "spent",
]
