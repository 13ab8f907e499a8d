"""Stored runs and pairs as the gate wants them, and the rule that settings ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..baselines.file import Entry, SpeedupEntry, Store, hours
from ..results.metrics import SECONDS, Metric
from ..settings import Settings

if TYPE_CHECKING:
    from ..gate import Rule, RunFigure  # numpy and scipy: only when a verdict is due


def rule_of(settings: Settings) -> Rule:
    """What these settings ask of the gate."""
    from ..gate import Rule

    return Rule(tolerance=settings.tolerance, max_runs=settings.max_runs)


def figures(store: Store, entry: Entry, metric: Metric = SECONDS) -> list[RunFigure]:
    """The runs of an entry that know `metric`: sessions of one hour count as one."""
    from ..gate import RunFigure

    hour = hours(run.session for entry in store.workloads.values() for run in entry.runs)
    costs = [(metric.of_stored(run, entry), run.session) for run in entry.runs]
    return [RunFigure(cost, hour.get(session, session)) for cost, session in costs if cost is not None]


def peers(store: Store, id: str, metric: Metric = SECONDS) -> list[list[RunFigure]]:  # noqa: A002
    """Runs of the machine's other workloads on the same device, from which noise is learned too."""
    place = _device_of(id)
    entries = store.workloads.items()
    return [figures(store, entry, metric) for key, entry in entries if key != id and _device_of(key) == place]


def speedup_figures(store: Store, entry: SpeedupEntry) -> list[RunFigure]:
    """The pairs of an entry: the seconds of one side, counted in the other's, so that slower is more."""
    from ..gate import RunFigure

    hour = hours(pair.session for entry in store.speedups.values() for pair in entry.pairs)
    return [RunFigure(1 / pair.ratio, hour.get(pair.session, pair.session)) for pair in entry.pairs]


def speedup_peers(store: Store, id: str) -> list[list[RunFigure]]:  # noqa: A002
    """Pairs of the machine's other speedups."""
    return [speedup_figures(store, entry) for key, entry in store.speedups.items() if key != id]


def _device_of(id: str) -> str:  # noqa: A002
    """`gpu` of `x[64px]@gpu:tensorflow`."""
    place = id.rpartition("@")[2]
    return place.rpartition(":")[0] or place
