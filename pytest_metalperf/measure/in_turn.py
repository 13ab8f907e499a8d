"""Two workers that take turns: a block each, in the order A B B A, so that slow minutes fall on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..worker.lock import machine_lock, waiting_for
from ..worker.problems import Problem
from .fleet import Fleet
from .plan import OnProgress, Plan, Request
from .worker import WorkerError, kill

if TYPE_CHECKING:
    from .worker import Worker

TURNS = (
    10  # per variant and pair, at least; a turn is one block. More pairs tell more than longer ones: processes differ
)
TURN_SECONDS = 0.25  # at least, so that what follows a switch weighs little, and a slow minute still has many turns


@dataclass(frozen=True)
class Turns:
    """What one worker of a pair measured.

    Attributes:
        samples: seconds per batch of each block, in order; block i of both sides were neighbours.
        answers: its answers, as `run_of` takes them.
    """

    samples: tuple[float, ...]
    answers: Mapping[str, Mapping[str, Any]]


def take_turns(
    fleet: Fleet,
    requests: tuple[Request, Request],
    plan: Plan,
    progress: OnProgress,
    number: int,
    built: Callable[[Sequence[Worker]], None] | None = None,
) -> tuple[Turns, Turns]:
    """Measure one fresh pair of workers.

    Args:
        fleet: that starts them.
        requests: of the two.
        number: of the pair; in every other one the second variant comes first, in starting and in turns. On a two-core
            machine the process that started first was 2 % slower than its twin (16 pairs, standard error 0.6 %).
        plan: at least so many batches on each variant.
        progress: called with what is going on.
        built: looks at both before they train anything; raises what it finds.

    Raises:
        WorkerError: when one breaks; both are ended.
    """
    order = _order(number)
    workers = fleet.prepared(
        requests[::order], plan, progress, None if built is None else lambda workers: built(workers[::order])
    )
    try:
        return _in_order(_turns(fleet, workers, plan, progress), order)
    finally:
        kill(workers)


def pairs_in_turn(
    fleet: Fleet,
    requests: tuple[Request, Request],
    plan: Plan,
    progress: OnProgress,
    number: int,
    together: int,
    check: Callable[[Sequence[Worker]], None],
) -> Iterator[tuple[Turns, Turns]]:
    """Measure fresh pairs one after the other, all prepared side by side.

    Args:
        fleet: that starts the workers.
        requests: of the two sides.
        plan: at least so many batches on each side.
        progress: called with what is going on.
        number: of the first pair, see `take_turns`.
        together: pairs. Workers that are ready stand still, and cost those that measure nothing.
        check: looks at both sides of each pair before it is timed; raises what it finds.

    Raises:
        WorkerError: when one breaks; all are ended.
    """
    orders = [_order(number + later) for later in range(together)]
    workers = fleet.prepared([request for order in orders for request in requests[::order]], plan, progress)
    try:
        for worker in workers:
            worker.pause()
        for order, *two in zip(orders, workers[::2], workers[1::2], strict=True):
            for worker in two:
                worker.resume()
            check(two[::order])
            yield _in_order(_turns(fleet, two, plan, progress), order)
            kill(two)
    finally:
        kill(workers)


def runs_in_turn(
    fleet: Fleet,
    requests: tuple[Request, Request],
    plan: Plan,
    progress: OnProgress,
    number: int,
    look: Callable[[int, Worker], None],
) -> tuple[Turns, Turns]:
    """Measure one fresh run of each side after the other, where no memory holds both.

    What a slow minute adds to one of them is noise between the pairs, which the gate learns from them.

    Args:
        fleet: that starts the workers.
        requests: of the two sides.
        plan: at least so many batches on each side.
        progress: called with what is going on.
        number: of the pair, see `take_turns`.
        look: asks a worker, of side 0 or 1, for more before it is timed.

    Raises:
        WorkerError: when one breaks.
    """
    order = _order(number)
    sides: list[Turns] = []
    for side in (0, 1)[::order]:
        (worker,) = fleet.prepared([requests[side]], plan, progress)
        try:
            look(side, worker)
            sides += _turns(fleet, [worker], plan, progress)
        finally:
            kill([worker])
    return _in_order(sides, order)


def _order(number: int) -> int:
    return 1 if number % 2 == 0 else -1


def _in_order(sides: Sequence[Turns], order: int) -> tuple[Turns, Turns]:
    first, second = sides[::order]
    return first, second


def _turns(fleet: Fleet, workers: Sequence[Worker], plan: Plan, progress: OnProgress) -> list[Turns]:
    """What prepared workers measure in turn, in their order; one worker takes all turns.

    Raises:
        WorkerError: when one breaks.
    """
    samples: list[list[float]] = [[] for _ in workers]
    joules: list[list[float | None]] = [[] for _ in workers]
    batches = [0 for _ in workers]
    for worker in workers:
        worker.pause()
    rounds = 0
    smoke = plan.least_blocks == 1
    least, seconds = (1, 0.0) if smoke else (TURNS, TURN_SECONDS)
    with _alone(fleet, progress):
        while rounds < least or min(batches) < plan.batches:
            one_round = list(enumerate(workers))
            for variant, worker in one_round if rounds % 2 == 0 else reversed(one_round):
                worker.resume()
                worker.ask("interleave", least_seconds=seconds, locked=fleet.local)
                fleet.wait([worker], progress, plan.timeout)
                worker.pause()
                answer = worker.results["interleave"]
                samples[variant].extend(answer["samples"])
                joules[variant].append(answer.get("joules"))
                batches[variant] += answer["batches_per_block"] * len(answer["samples"])
            rounds += 1
            progress("interleaved", min(batches), plan.batches, 0)
    for worker in workers:
        worker.resume()
        worker.ask("finish")
    fleet.wait(workers, progress, plan.timeout)
    return [
        Turns(
            tuple(taken),
            {
                **worker.results,
                "measure": {
                    **worker.results["interleave"],
                    "samples": taken,
                    "conditions": worker.results["finish"].get("conditions", {}),
                    "joules_per_batch": _per_batch(used, trained),
                },
            },
        )
        for worker, taken, used, trained in zip(workers, samples, joules, batches, strict=True)
    ]


def _per_batch(joules: Sequence[float | None], batches: int) -> float | None:
    """Energy of one batch; None where a turn does not know, or the counter stood still. Single turns may well be 0."""
    known = [used for used in joules if used is not None]
    return (sum(known) / batches or None) if len(known) == len(joules) else None


@contextmanager
def _alone(fleet: Fleet, progress: OnProgress) -> Iterator[None]:
    """The machine's lock for the whole pair: another session's runs between its blocks would part neighbours.

    Raises:
        WorkerError: when it is held for longer than the session waits.
    """
    if not fleet.local:
        yield
        return
    try:
        with machine_lock(
            exclusive=True,
            waiting=lambda seconds: progress(waiting_for(), int(seconds), 0, 0),
            limit=fleet.wait_seconds,
        ):
            yield
    except Problem as problem:
        raise WorkerError(problem.kind, problem.message, problem.traceback) from None
