"""From the document of a session, which is the file of --metal-json, to the rows of the store.

What no row is made of, since its seconds would stand for something else: smoke runs, sustained runs, tests that broke, the
other side of a comparison or a replay, and runs that belong to no result (a session that ended early; who asked for them, and
for how long, nobody knows any more) other than the first look at a workload that was then trained in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ..report import document


@dataclass(frozen=True)
class SessionRow:
    """A session on a machine; `estimator` is how its figures came of samples, times are UTC."""

    machine: str
    id: str
    started: str
    written: str
    state: str
    plugin: str
    estimator: str
    os: str
    commit: str | None
    clean: bool | None


@dataclass(frozen=True)
class RunRow:
    """One run of the working tree. `in_turn` is whether another worker took turns with it, block by block.

    Seconds are per batch, but for `first_batch_seconds`; `versions` and `conditions` are JSON.
    """

    workload: str
    device: str
    in_turn: bool
    seconds_per_batch: float
    lower_quartile: float
    upper_quartile: float
    first_batch_seconds: float
    batches: int
    examples: int | None
    parameters: int | None
    flop: float | None
    peak_memory_bytes: int | None
    joules_per_batch: float | None
    versions: str
    conditions: str


def rows_of(found: document.Document) -> tuple[SessionRow, list[RunRow]]:
    """What is stored of a session; two tests that ask for one workload share its runs."""
    head, machine = found.session, found.machine
    session = SessionRow(
        machine=machine.id,
        id=head.id,
        started=head.started,
        written=head.written,
        state=head.state,
        plugin=head.plugin,
        estimator=found.gate.estimator if found.gate is not None else "",
        os=machine.os,
        commit=head.commit,
        clean=head.clean,
    )
    once = {
        (workload.id, in_turn, *run.samples): (workload, run, in_turn, flop)
        for workload, run, in_turn, flop in _runs(found)
    }
    return session, [_row(*one) for one in once.values()]


def _runs(found: document.Document) -> Iterator[tuple[document.Workload, document.Run, bool, float | None]]:
    if found.gate is None:  # nothing was measured
        return
    usable = [row for row in found.results if not document.why_not(row, found)]
    for row in usable:
        if isinstance(row, document.Speedup):
            for pair in row.pairs:
                yield row.of, pair.of, True, _flop(pair.of)
                yield row.over, pair.over, True, _flop(pair.over)
        else:
            for run in row.runs:
                in_turn = row.reference is not None and not row.reference.apart
                yield row.workload, run, in_turn, _flop(run, row)
    looked = {row.workload.id: row for row in usable if isinstance(row, document.Measurement)}
    for other in found.other_runs:
        if other.id in looked and not other.reference:
            for run in other.runs:
                yield looked[other.id].workload, run, False, _flop(run)


def _flop(run: document.Run, row: document.Measurement | None = None) -> float | None:
    work = run.work or (row.work if row is not None else None)
    return None if work is None else work.flop


def _row(workload: document.Workload, run: document.Run, in_turn: bool, flop: float | None) -> RunRow:
    return RunRow(
        workload=workload.id,
        device=workload.device,
        in_turn=in_turn,
        seconds_per_batch=run.seconds_per_batch,
        lower_quartile=run.lower_quartile,
        upper_quartile=run.upper_quartile,
        first_batch_seconds=run.first_batch_seconds,
        batches=len(run.samples) * run.batches_per_block,
        examples=run.examples,
        parameters=run.parameters,
        flop=flop,
        peak_memory_bytes=run.peak_memory_bytes,
        joules_per_batch=run.joules_per_batch,
        versions=msgspec.json.encode(dict(sorted(run.versions.items()))).decode(),
        conditions=msgspec.json.encode(run.conditions).decode(),
    )
