"""Two sides in turn, in fresh pairs, until the gate has a verdict: --metal-against, and the replay of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..measure.in_turn import take_turns
from ..measure.plan import Plan, Progress, Request
from ..measure.worker import WorkerError
from ..references.project import NoBuild
from ..references.reference import Reference
from ..results.run import Run, run_of
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .evidence import beside_means, rule_of

if TYPE_CHECKING:
    from ..gate import Judgement
    from ..measure.worker import Worker


@dataclass(frozen=True)
class Sides:
    """Whom a workload is compared with.

    Attributes:
        reference: where their code comes from.
        ours: the workload as it is asked for here.
        theirs: as the reference builds it.
    """

    reference: Reference
    ours: Workload
    theirs: Workload


def in_pairs(
    session: MetalSession,
    sides: Sides,
    settings: Settings,
    plan: Plan,
    enough: Callable[[list[Run], list[Run]], bool],
    *,
    purpose: str = "",
) -> None:
    """Measure pairs until there are enough; pairs of an earlier test of this session count.

    Args:
        session: of pytest.
        sides: of each pair.
        settings: of this call.
        plan: of one run.
        enough: looks at the runs so far, ours and theirs, at least one of each.
        purpose: tells these pairs from others of the same workload.

    Raises:
        WorkerError: when one breaks.
    """
    reference, workload = sides.reference, sides.ours
    pairs = session.kept_pairs(f"{workload.id} {purpose}".strip(), plan, workload, sides.theirs)
    backend = session.backend_source(workload.backend)
    requests = Request(workload, backend), Request(sides.theirs, reference.moved(backend), reference.interpreter)

    def progress(phase: str, i: int, n: int, _which: int) -> None:
        session.on_progress(Progress(workload.label, workload.device, phase, i, n, len(pairs) + 1, settings.max_pairs))

    def check(workers: Sequence[Worker]) -> None:
        if reference.packages is not None and not pairs:
            workers[1].ask("stack")
            session.fleet.wait(workers)
            if wrong := reference.wrong_packages(workers[1].results["stack"]):
                raise WorkerError("reference", wrong)
        if reference.interpreter.moved is None:
            return
        for worker in workers:
            worker.ask("imports")
        session.fleet.wait(workers)
        here, there = (worker.results["imports"] for worker in workers)
        if wrong := reference.wrong_imports(here, there):
            raise _WrongImports("reference", wrong)

    def seen(side: int) -> list[Run]:
        return [run_of(pair[side].answers, session.id) for pair in pairs]

    try:
        while not pairs or not enough(seen(0), seen(1)):
            try:
                pairs.append(take_turns(session.fleet, requests, plan, progress, len(pairs), check))
            except WorkerError as error:
                if reference.built is not None or not (isinstance(error, _WrongImports) or _lacks_a_module(error)):
                    raise
                reference = _built(session, reference, error)
                requests = requests[0], requests[1]._replace(interpreter=reference.interpreter)
    finally:
        session.on_progress(None)


class _WrongImports(WorkerError):
    """A side imports other code than it should: the project is installed."""


def _lacks_a_module(error: WorkerError) -> bool:
    return "No module named " in error.message


def _built(session: MetalSession, reference: Reference, error: WorkerError) -> Reference:
    """The same, with the project built from the revision's code.

    Raises:
        WorkerError: what made it necessary, where nothing can be built; with the reason where the project is installed.
    """
    try:
        return session.built(reference)
    except NoBuild as why:
        if not isinstance(error, _WrongImports):
            raise error from None
        raise WorkerError(
            error.kind, f"{error.message}; it was not built for a comparison: {why}", error.details
        ) from None


def judged_pairs(ours: Sequence[Run], theirs: Sequence[Run], settings: Settings) -> Judgement:
    """What the gate says of the pairs so far."""
    from ..gate import judge_pairs  # numpy and scipy: only when a verdict is due

    rule = replace(rule_of(settings), max_runs=settings.max_pairs)
    judgement = judge_pairs([run.samples for run in ours], [run.samples for run in theirs], rule)
    means = [(run.estimate.seconds, run.mean_seconds) for run in theirs]
    return beside_means(judgement, ours, means, settings.tolerance, spent=len(ours) >= settings.max_pairs)
