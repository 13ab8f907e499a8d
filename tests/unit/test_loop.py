"""The timing loop: how long a block is, when a run has enough, what it leaves behind."""

from __future__ import annotations

import gc
import math
import weakref
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.worker.loop import (
    BLOCK_SECONDS,
    NEARLY,
    OVERHEAD_SHARE,
    Trainable,
    block_length,
    fence_seconds,
    measure,
    run_block,
    undisturbed,
)
from pytest_metalperf.worker.problems import Problem
from pytest_metalperf.worker.values import Reported, checked

QUICK = settings(max_examples=100, deadline=None, database=None, derandomize=True)


class Machine:
    """A clock that only steps and fences move."""

    def __init__(self, step: float = 0.1, fence: float = 0.0, value: float = 1.0, per_step: int = 1) -> None:
        self.now = 0.0
        self.steps = self.fences = 0
        self.step_seconds, self.fence_cost, self.value = step, fence, value
        self.trainable = Trainable(self.step, self.fence, batches_per_step=per_step)

    def clock(self) -> float:
        return self.now

    def step(self) -> float:
        self.steps += 1
        self.now += self.step_seconds
        return self.value

    def fence(self, outputs: float) -> float:
        self.fences += 1
        self.now += self.fence_cost
        return outputs


def run(machine: Machine, **how: object) -> list[float]:
    wanted = {"batches": 10, "steps_per_block": 1, "least_blocks": 1, "least_seconds": 0.0, **how}
    return measure(machine.trainable, clock=machine.clock, **wanted)


# blocks


@QUICK
@given(step=st.floats(1e-7, 1e6), overhead=st.floats(0, 0.1))
def test_a_block_is_long_enough_and_a_fence_costs_under_its_share_of_it(step, overhead):
    steps = block_length(step, overhead)

    def long_enough(steps: int) -> bool:
        return steps * step * (1 + 1e-9) >= max(NEARLY * BLOCK_SECONDS, overhead / OVERHEAD_SHARE)

    assert long_enough(steps)
    assert steps == 1 or not long_enough(steps - 2)  # and no block is longer than it must be, but for rounding


def test_a_long_step_is_its_own_block():
    assert block_length(BLOCK_SECONDS, 0.001) == 1
    assert block_length(3.0, 0.01) == 1


@pytest.mark.parametrize("step", [0.0, 1e-300])
def test_step_that_takes_no_time_has_a_block_all_the_same(step):
    assert block_length(step, 1e-6) >= 1


def test_block_is_timed_over_steps_and_one_fence():
    machine = Machine(step=0.01, fence=0.5)
    seconds, (_, value) = run_block(machine.trainable, 50, machine.clock)
    assert (machine.steps, machine.fences, value) == (50, 1, 1.0)
    assert seconds == pytest.approx((50 * 0.01 + 0.5) / 50)


def test_seconds_are_per_batch_where_a_step_trains_several():
    machine = Machine(step=0.8, per_step=8)
    assert run(machine, batches=16) == pytest.approx([0.1, 0.1])


def test_fence_is_timed_alone_and_its_least_counts():
    machine = Machine(fence=0.25)
    assert fence_seconds(machine.trainable, 1.0, machine.clock) == 0.25
    assert machine.steps == 0


# enough


@QUICK
@given(
    batches=st.integers(0, 30),
    steps=st.integers(1, 7),
    per_step=st.integers(1, 4),
    least_blocks=st.integers(1, 20),
    least_seconds=st.floats(0, 2),
    seconds=st.floats(0.05, 1),
)
def test_run_has_all_that_was_asked_and_not_a_block_more(
    batches, steps, per_step, least_blocks, least_seconds, seconds
):
    machine = Machine(step=seconds, per_step=per_step)
    with mock.patch.object(gc, "collect"):  # over the heap of a whole test session it takes a second, every time
        samples = run(
            machine, batches=batches, steps_per_block=steps, least_blocks=least_blocks, least_seconds=least_seconds
        )

    def enough(blocks: int) -> bool:
        trained, spent = blocks * steps * per_step, blocks * steps * seconds
        # sums of floats: a hair more or less is the same
        return trained >= batches and blocks >= least_blocks and spent >= least_seconds * (1 - 1e-9)

    assert enough(len(samples))
    fewer = len(samples) - 1
    assert not enough(fewer) or fewer * steps * seconds <= least_seconds * (1 + 1e-9)
    assert machine.steps == (len(samples) + bool(least_seconds)) * steps  # and an untimed block before them
    assert samples == pytest.approx([seconds / per_step] * len(samples))


def test_progress_counts_up_to_what_is_expected():
    progress: list[tuple[int, int]] = []
    run(Machine(), steps_per_block=4, progress=lambda done, of: progress.append((done, of)))
    assert [done for done, _ in progress] == [4, 8, 12]
    assert all(of >= 10 for _, of in progress)


# what may not be


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_no_number_ends_the_run(value):
    with pytest.raises(Problem, match=r"the loss became (nan|inf|-inf) in batch 3") as caught:
        run(Machine(value=value), steps_per_block=3)
    assert caught.value.kind == "training"


@pytest.mark.parametrize("value", [0.0, -1.0, 1e300])
def test_any_finite_loss_will_do(value):
    assert checked(Reported(value, value), "anywhere") == value


# what it leaves


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_garbage_collection_is_off_meanwhile_and_then_as_it_was(enabled, ends):
    before = gc.isenabled()
    seen = []
    machine = Machine(value=1.0 if ends == "well" else math.nan)
    original = machine.trainable.step
    machine.trainable.step = lambda: seen.append(gc.isenabled()) or original()
    try:
        gc.enable() if enabled else gc.disable()
        try:
            run(machine)
        except Problem:
            assert ends == "badly"
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if before else gc.disable()
    assert seen
    assert not any(seen)


def test_garbage_from_before_is_collected_first():
    class Node:
        pass

    alive = []
    node = Node()
    node.itself = node
    weak = weakref.ref(node, alive.append)
    del node
    with undisturbed():
        assert weak() is None


@pytest.mark.parametrize(("step", "fence"), [(0.002, 0.0002), (0.0005, 0.0005), (0.0002, 0.001)])
def test_the_fence_of_warm_up_does_not_make_blocks_too_short(monkeypatch, tmp_path, step, fence):
    from pytest_metalperf.worker.serve import Job

    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))
    machine = Machine(step, fence)
    job = Job(lambda message: None)
    job.trainable, job.backend = machine.trainable, mock.Mock(clock=machine.clock)
    job.warm_up(3)
    assert job.step_seconds == pytest.approx(step)
    assert fence <= OVERHEAD_SHARE * job.steps_per_block * step * (1 + 1e-6)
