"""Stored runs and pairs as the gate wants them, and the rule that settings ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..baselines.file import Entries
from ..baselines.schema import Entry, SpeedupEntry, StoredPair, StoredRun
from ..report import words
from ..results.metrics import SECONDS, Metric
from ..results.run import Run
from ..settings import Settings

if TYPE_CHECKING:
    from ..gate import Judgement, Peer, Rule, RunFigure  # numpy and scipy: only when a verdict is due


def rule_of(settings: Settings) -> Rule:
    """What these settings ask of the gate."""
    from ..gate import Rule

    return Rule(tolerance=settings.tolerance, max_runs=settings.max_runs)


def is_comparable(entry: Entry | SpeedupEntry | None) -> bool:
    """Whether there is an entry with figures of today's estimator: those of another are never compared."""
    return entry is not None and any(_of_today(run) for run in entry.runs)


def other_estimator(runs: Sequence[StoredRun | StoredPair]) -> str:
    """What to do about a baseline whose figures cannot be compared."""
    found = words.listed(sorted({repr(run.estimator) for run in runs}))
    return (
        f"its stored figures are of another estimator ({found}) and are not compared with today's:"
        " measure or record again, with --metal-update-baselines"
    )


def _of_today(run: StoredRun | StoredPair) -> bool:
    from ..gate import ESTIMATOR, PAIR_ESTIMATOR

    return run.estimator == (ESTIMATOR if isinstance(run, StoredRun) else PAIR_ESTIMATOR)


def runs_for_the_gate(store: Entries, entry: Entry, metric: Metric = SECONDS) -> list[RunFigure]:
    """The runs of an entry that know `metric`: sessions of one hour count as one."""
    from ..gate import RunFigure

    hour = store.hour_of_runs
    costs = [(metric.of_stored(run, entry), run.session) for run in entry.runs if _of_today(run)]
    return [RunFigure(cost, hour.get(session, session)) for cost, session in costs if cost is not None]


def peers(store: Entries, id: str, metric: Metric = SECONDS) -> list[Peer]:  # noqa: A002
    """Runs of the machine's other workloads on the same device, from which noise is learned too."""
    device = _device_of(id)
    return [found for key, found in _all_of(store, metric, device).items() if key != id]


def _all_of(store: Entries, metric: Metric, device: str) -> dict[str, Peer]:
    """The runs of all workloads of a device, made once for what the store holds: every test asks for them."""
    from ..gate import Peer

    made: dict[str, Peer] | None = store.derived.get((metric.name, device))
    if made is None:
        workloads = store.workloads.items()
        made = {
            key: Peer(runs_for_the_gate(store, entry, metric)) for key, entry in workloads if _device_of(key) == device
        }
        store.derived[metric.name, device] = made
    return made


def others_today(looks: Mapping[str, Judgement], id: str) -> list[Judgement]:  # noqa: A002
    """What a session has seen of its other workloads on the same device, of all that it has seen, by id."""
    device = _device_of(id)
    return [look for key, look in looks.items() if key != id and _device_of(key) == device]


def ratios_for_the_gate(store: Entries, entry: SpeedupEntry) -> list[RunFigure]:
    """The pairs of an entry: the seconds of one variant, counted in the other's, so that slower is more."""
    from ..gate import RunFigure

    hour = store.hour_of_pairs
    pairs = [pair for pair in entry.pairs if _of_today(pair)]
    return [RunFigure(1 / pair.ratio, hour.get(pair.session, pair.session)) for pair in pairs]


def speedup_peers(store: Entries, id: str) -> list[list[RunFigure]]:  # noqa: A002
    """Pairs of the machine's other speedups."""
    return [ratios_for_the_gate(store, entry) for key, entry in store.speedups.items() if key != id]


def _device_of(id: str) -> str:  # noqa: A002
    """`gpu` of `x[64px]@gpu:tensorflow`."""
    where = id.rpartition("@")[2]
    return where.rpartition(":")[0] or where


def beside_means(
    judgement: Judgement, runs: Sequence[Run], before: Sequence[tuple[float, float]], tolerance: float, *, spent: bool
) -> Judgement:
    """The judgement, with `within` taken back where the mean of all batches grew beside the runs' figure.

    Args:
        judgement: of those runs by their figures.
        runs: the fresh ones.
        before: figure and mean of each run that they are compared with.
        tolerance: what is allowed, as a share.
        spent: whether no more runs may be asked for.
    """
    from ..gate import hidden_slowdown  # numpy and scipy: only when a verdict is due

    if judgement.verdict != "within":
        return judgement
    more = hidden_slowdown([(run.estimate.seconds, run.mean_but_one) for run in runs], before, tolerance)
    if more is None:
        return judgement
    return replace(judgement, verdict="inconclusive", decided=spent, spread_next=not spent, reason=words.hidden(more))
