"""From documents back to results: what a file says of runs and pairs, as the gate wants it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ..baselines.errors import printable
from ..baselines.file import Entries
from ..baselines.schema import Anchor, Entry, Fingerprint, Machine, RatioAnchor, SpeedupEntry, rounded
from ..report import document
from ..results.fingerprint import common
from ..results.measurement import Measurement, Pair, Speedup
from ..results.metrics import METRICS
from ..results.run import Run
from ..settings import Settings
from ..workloads.workload import Axis, Workload


def workload_of(row: document.Workload) -> Workload:
    """What was trained; its builder is not known any more. A name that a person edited is shown on one line."""
    name, device, backend, where = map(printable, (row.name, row.device, row.backend, row.where))
    return Workload(name, device, backend, axes=_printable(row.axes), defaults=_printable(row.defaults), where=where)


def _printable(axes: Mapping[str, Axis]) -> dict[str, Axis]:
    return {printable(key): printable(value) if isinstance(value, str) else value for key, value in axes.items()}


def run_of(row: document.Run, shared: Fingerprint | None = None) -> Run:
    """One run; `shared` is the work that it has in common with those beside it."""
    work = row.work or shared
    return Run(
        samples=tuple(row.samples),
        batches_per_block=row.batches_per_block,
        first_batch_seconds=row.first_batch_seconds,
        session=row.session,
        recorded=row.recorded,
        prepare_seconds=row.prepare_seconds,
        warm_up=tuple(row.warm_up),
        examples=row.examples,
        parameters=row.parameters,
        peak_memory_bytes=row.peak_memory_bytes,
        first_loss=row.first_loss,
        last_loss=row.last_loss,
        changed_variables=row.changed_variables,
        trainable_variables=row.trainable_variables,
        versions=row.versions,
        conditions=row.conditions,
        joules_per_batch=row.joules_per_batch,
        fingerprint=None if work is None else msgspec.to_builtins(work),
        no_fingerprint=row.no_work,
        trace=row.trace,
    )


def settings_of(asked: document.Asked, tolerance: float | None = None) -> Settings:
    """The settings that a verdict depends on, with another tolerance where one is named.

    The total since an anchor is no matter of two sessions.
    """
    return Settings(
        max_runs=asked.max_runs,
        tolerance=asked.tolerance if tolerance is None else tolerance,
        confirm=asked.confirm,
        metrics=tuple((name, share) for name, share in asked.metrics.items() if name in METRICS),
        strict_work=asked.strict_work,
    )


def measurement_of(row: document.Measurement, settings: Settings) -> Measurement:
    """A measurement without a verdict."""
    return Measurement(
        workload_of(row.workload),
        [run_of(one, row.work) for one in row.runs],
        tolerance=settings.tolerance,
        strict_work=settings.strict_work,
        nodeid=row.nodeid,
        notes=list(row.notes),
    )


def speedup_of(row: document.Speedup, settings: Settings) -> Speedup:
    """A speedup without a verdict."""
    return Speedup(
        of=workload_of(row.of),
        over=workload_of(row.over),
        at_least=row.at_least,
        runs=[Pair(over=run_of(pair.over), of=run_of(pair.of)) for pair in row.pairs],
        parity=row.parity,
        tolerance=settings.tolerance,
        nodeid=row.nodeid,
        notes=list(row.notes),
    )


def id_of(row: document.Measurement | document.Speedup) -> str:
    """Of a workload, or of two."""
    return row.workload.id if isinstance(row, document.Measurement) else row.id


def entries_of(sessions: Iterable[document.Document]) -> Entries:
    """What these sessions measured, as the baselines of one machine."""
    runs: dict[str, dict[tuple[str, tuple[float, ...]], tuple[Run, document.Session]]] = {}
    pairs: dict[str, dict[tuple[str, tuple[float, ...]], tuple[Speedup, document.Session]]] = {}
    for found in sessions:
        for row in found.results:
            if document.why_not(row, found):
                continue
            settings = settings_of(row.asked)
            if isinstance(row, document.Measurement):
                for run in measurement_of(row, settings).runs:  # two tests that ask for one workload share its runs
                    runs.setdefault(row.workload.id, {})[run.session, run.samples] = run, found.session
            else:
                whole = speedup_of(row, settings)
                for pair in whole.runs:
                    one = _alone(whole, pair)
                    pairs.setdefault(row.id, {})[pair.of.session, pair.of.samples] = one, found.session
    return Entries(
        Machine(
            machine={},
            workloads={key: _entry(list(found.values())) for key, found in runs.items()},
            speedups={key: _speedup_entry(list(found.values())) for key, found in pairs.items()},
        )
    )


def _alone(whole: Speedup, pair: Pair) -> Speedup:
    """One pair of a speedup."""
    return Speedup(of=whole.of, over=whole.over, runs=[pair])


def _entry(found: Sequence[tuple[Run, document.Session]]) -> Entry:
    from ..gate import ESTIMATOR  # numpy and scipy: only once files were read

    runs = [run for run, _ in found]
    first, examples = found[0][1], {run.examples for run in runs}
    return Entry(
        anchor=Anchor(
            recorded=runs[0].recorded,
            commit=first.commit,
            clean=first.clean,
            seconds_per_batch=rounded(statistics.geometric_mean(run.estimate.seconds for run in runs)),
            estimator=ESTIMATOR,
        ),
        runs=[run.stored(session.commit, session.clean) for run, session in found],
        fingerprint=common(run.work for run in runs),
        examples=examples.pop() if len(examples) == 1 else None,
    )


def _speedup_entry(found: Sequence[tuple[Speedup, document.Session]]) -> SpeedupEntry:
    from ..gate import PAIR_ESTIMATOR  # numpy and scipy: only once files were read

    first = found[0][1]
    pairs = [figure.stored(session.commit, session.clean) for one, session in found for figure in one.pair_results]
    return SpeedupEntry(
        anchor=RatioAnchor(
            recorded=pairs[0].recorded,
            commit=first.commit,
            clean=first.clean,
            ratio=rounded(statistics.median(pair.ratio for pair in pairs)),
            estimator=PAIR_ESTIMATOR,
        ),
        pairs=pairs,
    )
