"""Two sides in turn, in fresh pairs, until the gate has a verdict: --metal-against, and the replay of a baseline."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..measure.in_turn import pairs_in_turn, runs_in_turn
from ..measure.plan import Plan, Progress, Request
from ..measure.worker import WorkerError
from ..references.project import NoBuild
from ..references.reference import Reference
from ..report import words
from ..results.run import Run, run_of
from ..session import MetalSession
from ..settings import Settings
from ..workloads.workload import Workload
from .evidence import beside_means, rule_of

Answers = Mapping[str, Mapping[str, Any]]

if TYPE_CHECKING:
    from ..gate import Judgement
    from ..measure.in_turn import Turns
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
) -> str:
    """Measure pairs until there are enough; pairs of an earlier test of this session count.

    Where both sides do not fit the memory at once, a fresh run of each takes the place of a pair.

    Args:
        session: of pytest.
        sides: of each pair.
        settings: of this call.
        plan: of one run.
        enough: looks at the runs so far, ours and theirs, at least one of each.
        purpose: tells these pairs from others of the same workload.

    Returns:
        How that went otherwise than in pairs, in a sentence; empty for in pairs.

    Raises:
        WorkerError: when one breaks.
    """
    reference, workload = sides.reference, sides.ours
    pairs = session.kept_pairs(f"{workload.id} {purpose}".strip(), plan, workload, sides.theirs)
    backend = session.backend_source(workload.backend)
    requests = Request(workload, backend), Request(sides.theirs, reference.moved(backend), reference.interpreter)

    def progress(phase: str, i: int, n: int, _which: int) -> None:
        session.on_progress(Progress(workload.label, workload.device, phase, i, n, len(pairs) + 1, settings.max_pairs))

    def look(side: int, worker: Worker) -> None:
        if side and reference.packages is not None and not pairs:
            worker.ask("stack")
        if reference.interpreter.moved is not None:
            worker.ask("imports")
        session.fleet.wait([worker])

    def refuse(ours: Answers, theirs: Answers) -> None:
        if "stack" in theirs and (wrong := reference.wrong_packages(theirs["stack"])):
            raise WorkerError("reference", wrong)
        if "imports" in theirs and (wrong := reference.wrong_imports(ours["imports"], theirs["imports"])):
            raise _WrongImports("reference", wrong)

    def check(workers: Sequence[Worker]) -> None:
        for side, worker in enumerate(workers):
            look(side, worker)
        refuse(*(worker.results for worker in workers))

    def seen(side: int) -> list[Run]:
        return [run_of(pair[side].answers, session.id) for pair in pairs]

    def taken() -> Generator[tuple[Turns, Turns]]:
        """The next pairs: the first alone, which tells what two sides need of the memory."""
        if apart:
            pair = runs_in_turn(session.fleet, requests, plan, progress, len(pairs), look)
            refuse(*(side.answers for side in pair))
            yield pair
            return
        fits = 1 if alone or not pairs else session.fleet.pairs_together(workload, [seen(0)[0], seen(1)[0]])
        together = min(fits, max(1, settings.max_pairs - len(pairs)))
        yield from pairs_in_turn(session.fleet, requests, plan, progress, len(pairs), together, check)

    alone, apart = plan.alone, ""
    done = bool(pairs) and enough(seen(0), seen(1))
    try:
        while not done:
            try:
                with contextlib.closing(taken()) as fresh:
                    for pair in fresh:
                        pairs.append(pair)
                        if done := enough(seen(0), seen(1)):
                            break
            except WorkerError as error:
                if error.kind == "memory" and pairs and not alone:
                    alone = True
                elif error.kind == "memory" and not pairs and not apart:
                    apart = words.runs_in_turn(error.message)
                elif reference.built is None and (isinstance(error, _WrongImports) or _lacks(error)):
                    reference = _built(session, reference, error)
                    requests = requests[0], requests[1]._replace(interpreter=reference.interpreter)
                else:
                    raise
    finally:
        session.on_progress(None)
    return apart


class _WrongImports(WorkerError):
    """A side imports other code than it should: the project is installed."""


def _lacks(error: WorkerError) -> str:
    """The top-level module that a side does not find; empty for what broke otherwise."""
    found = re.search(r"No module named '(\w+)", error.message)
    return "" if found is None else found[1]


def _built(session: MetalSession, reference: Reference, error: WorkerError) -> Reference:
    """The same, with the project built from the revision's code.

    Raises:
        WorkerError: what made it necessary, where nothing can be built; with the reason where the project is installed.
    """
    try:
        return session.built(reference, _lacks(error))
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
