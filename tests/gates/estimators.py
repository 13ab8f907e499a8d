"""Which single figure of a run is best, and whether conditions can correct it: what recorded runs say.

    python tests/gates/estimators.py [--quick] [--runs FOLDER]

For each file and estimate: the standard deviation of runs within sessions and of sessions, per workload, and what our gate
reaches with it; under ``simulated``, how much of the samples' own sd is left in the figure of 20 simulated ones. Then the
covariates, learned on all sessions but the one that they correct.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from covariates import COVARIATES, Correction, cross_validate
from recordings import BadRecording, Recording, our_estimate, read_runs, stores
from scipy.stats import trim_mean
from simulated import BATCHES, LEAST_SAMPLE_SD, scatter
from trial import Metalperf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trial import Samples

RUNS = Path(__file__).parent / "runs"
RATIOS = (1.00, 1.10, 1.20)


def lower_half_mean(samples: Samples) -> float:
    return float(np.sort(samples)[: (samples.size + 1) // 2].mean())


def lower_quarter_mean(samples: Samples) -> float:
    return float(np.sort(samples)[: (samples.size + 3) // 4].mean())


ESTIMATES: dict[str, Callable[[Samples], float]] = {
    "shared by quarters": our_estimate,
    "mean of the lower half": lower_half_mean,
    "mean of the lower quarter": lower_quarter_mean,
    "median": lambda samples: float(np.median(samples)),
    "lower quartile": lambda samples: float(np.quantile(samples, 0.25)),
    "lower decile": lambda samples: float(np.quantile(samples, 0.10)),
    "minimum": lambda samples: float(samples.min()),
    "mean": lambda samples: float(samples.mean()),
    "mean trimmed by 10 %": lambda samples: float(trim_mean(samples, 0.10)),
    "mean trimmed by 25 %": lambda samples: float(trim_mean(samples, 0.25)),
}


def components(sessions: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Standard deviations within and between sessions, from logarithms of times, by analysis of variance.

    What session means differ by beyond run noise is the session's (Searle, Casella and McCulloch 1992, Variance Components,
    chapter 3); negative estimates count as none.
    """
    freedom = sum(len(values) - 1 for values in sessions)
    within = sum(np.var(values) * len(values) for values in sessions) / freedom
    share = sum(1 / len(values) for values in sessions) / len(sessions)
    between = np.var([np.mean(values) for values in sessions], ddof=1) - share * within
    return math.sqrt(within), math.sqrt(max(0.0, between))


def spread(recording: Recording, estimate: Callable[[Samples], float]) -> Iterator[tuple[float, float]]:
    """Both standard deviations of every workload, relative."""
    for sessions in recording.values():
        yield components([[math.log(estimate(np.array(run.samples))) for run in runs] for runs in sessions.values()])


def sampling_share(estimate: Callable[[Samples], float], runs: int) -> float:
    """What a figure of 20 simulated samples keeps of their own standard deviation: the price on a quiet machine."""
    samples = scatter(np.random.default_rng(20), (runs, BATCHES), LEAST_SAMPLE_SD)
    return float(np.std([math.log(estimate(run)) for run in samples])) / LEAST_SAMPLE_SD


def gate_rates(file: str, recording: Recording, estimate: Callable[[Samples], float], trials: int) -> list[float]:
    """Shares of our gate's verdicts over all stores: ``slower`` at every ratio, then ``inconclusive`` on unchanged code."""
    gate = Metalperf()
    every = stores(file, recording, estimate).values()
    material = [trial for store in every for trial in store.trials("estimators", trials)]
    verdicts = {ratio: [gate.judge(trial, ratio).verdict for trial in material] for ratio in RATIOS}
    shares = [verdicts[ratio].count("slower") / len(material) for ratio in RATIOS]
    return [*shares, verdicts[1.00].count("inconclusive") / len(material)]


def print_estimates(file: str, recording: Recording, trials: int) -> None:
    columns = "".join(f"{name.split('@')[0].split('[')[0]:>18}" for name in recording)
    print(f"\n{file}: sd of runs within sessions, sd of sessions, %; then our gate with it, % of verdicts")
    print(f"{'estimate':26}{columns}   alarms   1.10   1.20  inconcl.  simulated")
    for name, estimate in ESTIMATES.items():
        sds = "".join(f"{100 * within:11.2f}{100 * between:7.2f}" for within, between in spread(recording, estimate))
        alarms, *power, inconclusive = (100 * share for share in gate_rates(file, recording, estimate, trials))
        shares = "".join(f" {share:6.1f}" for share in power)
        print(
            f"{name:26}{sds}   {alarms:6.2f}{shares}    {inconclusive:6.1f}{sampling_share(estimate, trials):11.2f}",
            flush=True,
        )


def print_covariates(file: str, recording: Recording) -> None:
    print(f"\n{file}: control variates, learned on the other sessions: what runs differ by, %")
    print(f"{'corrected by':26}{'within sessions':>16}{'from others':>14}{'shrunk to':>12}   slopes")
    for names in ((), *((name,) for name in COVARIATES), COVARIATES):
        label = " + ".join(names) or "nothing"
        correction = cross_validate(recording, names)
        print(f"{label:26}{_words(correction)}")


def _words(correction: Correction | None) -> str:
    if correction is None:
        return "   not recorded"
    slopes = ", ".join(f"{slope:+.3f}" for slope in correction.slopes)
    return f"{100 * correction.within:16.2f}{100 * correction.total:14.2f}{correction.shrinkage:12.2f}   {slopes}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a handful of trials: whether it runs, not what it says")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of recorded runs")
    known = parser.parse_args(arguments)
    try:
        files = sorted(known.runs.glob("*.jsonl"))
        if not files:
            raise BadRecording(f"{known.runs}: no recorded runs (*.jsonl)")
        for path in files:
            recording = read_runs(path)
            print_estimates(path.stem, recording, 20 if known.quick else 2000)
            print_covariates(path.stem, recording)
    except BadRecording as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
