"""Energy: of an NVIDIA GPU by its counter, of a Mac's chip by windows, unknown where nothing counts; and per batch."""

from __future__ import annotations

import gc
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pytest_metalperf.measure.in_turn import _per_batch
from pytest_metalperf.worker.backends import Backend
from pytest_metalperf.worker.loop import Trainable
from pytest_metalperf.worker.machine import Watch, energy
from pytest_metalperf.worker.problems import Problem
from pytest_metalperf.worker.serve import Job


class Monitor:
    """AppleEnergyMonitor of zeus-apple-silicon, as its README describes it; each window has `parts` in mJ."""

    def __init__(self, **parts: int | None) -> None:
        self.parts = parts
        self.open: set[str] = set()

    def begin_window(self, label: str) -> None:
        if label in self.open:
            raise RuntimeError("Measurement with specified key already exists.")
        self.open.add(label)

    def end_window(self, label: str) -> SimpleNamespace:
        if label not in self.open:
            raise RuntimeError("No measurement with provided key had been started.")
        self.open.remove(label)
        return SimpleNamespace(**self.parts)


FULL = {"cpu_total_mj": 4000, "gpu_mj": 20000, "gpu_sram_mj": 100, "dram_mj": 2500, "ane_mj": 0}


def readings(*values: float | None):
    """A counter that says these, one after the other."""
    left = iter(values)
    return lambda: next(left)


def test_a_counter_counts_from_now():
    joules = energy.since(readings(100.0, 130.0, 150.5))
    assert (joules(), joules()) == (30.0, 50.5)


@pytest.mark.parametrize("values", [(None, 130.0), (100.0, None), (100.0, 3.0)])
def test_a_counter_that_is_unknown_or_went_back(values):
    assert energy.since(readings(*values))() is None


def test_the_chip_s_sum():
    monitor = Monitor(**FULL)
    windows = energy.AppleWindows(monitor)
    assert windows.joules() == pytest.approx(26.6)
    assert windows.joules() == pytest.approx(53.2)  # since the start, not since the last reading


@pytest.mark.parametrize("part", ["gpu_sram_mj", "dram_mj", "ane_mj"])
@pytest.mark.parametrize("how", ["None", "no such field"])
def test_a_part_that_this_chip_does_not_tell_is_left_out(part, how):
    parts = {key: value for key, value in FULL.items() if key != part} | ({part: None} if how == "None" else {})
    assert energy.AppleWindows(Monitor(**parts)).joules() == pytest.approx((26600 - FULL[part]) / 1000)


@pytest.mark.parametrize(
    "parts", [{**FULL, "cpu_total_mj": None}, {**FULL, "gpu_mj": None}, {**FULL, "cpu_total_mj": 0}]
)
def test_without_cpu_or_gpu_it_is_unknown(parts):
    assert energy.AppleWindows(Monitor(**parts)).joules() is None


def test_a_monitor_that_fails_is_unknown_from_then_on():
    monitor = Monitor(**FULL)
    windows = energy.AppleWindows(monitor)
    monitor.open.clear()
    assert windows.joules() is None
    assert windows.joules() is None
    other = Monitor(**FULL)
    other.begin_window("pytest-metalperf")  # so that ours cannot begin
    assert energy.AppleWindows(other).joules() is None


@pytest.mark.parametrize("device", ["cpu", "gpu", "live"])
def test_on_a_mac_any_device_has_the_chip_s_energy(monkeypatch, device):
    module = ModuleType("zeus_apple_silicon")
    module.AppleEnergyMonitor = lambda: Monitor(**FULL)
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", module)
    watch = Watch(device)
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    watch._energy = energy.counting(None)
    assert watch.joules() == pytest.approx(26.6)


def test_a_mac_without_zeus_or_without_counters(monkeypatch):
    monkeypatch.setattr(energy.sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)  # import raises ImportError
    assert energy.counting(None)() is None
    module = ModuleType("zeus_apple_silicon")
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", module)  # as on an Intel Mac: there, but of no use
    assert energy.counting(None)() is None


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may know")
def test_elsewhere_the_cpu_s_energy_is_unknown():
    assert Watch("cpu").joules() is None


# per batch


class Seen:
    """A watch by hand."""

    def __init__(self, meter: list[float] | None, conditions: dict[str, object], device: str) -> None:
        self.meter, self.said, self.device = meter, conditions, device
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1

    def joules(self) -> float | None:
        return None if self.meter is None else self.meter[0]

    def trace(self) -> list[list[float | None]]:
        return [[0.5, 1980, 600.0, 55], [1.0, 1965, None, None]]

    def conditions(self) -> dict[str, object]:
        return dict(self.said)


class Device(Backend):
    """A step takes 0.025 s of a clock of its own, and so many joules of a meter; None is a device without one."""

    versions = devices = set_up = trainable = None  # nobody asks

    def __init__(self, joules: float | None, conditions: dict[str, object]) -> None:
        self.now, self.cost, self.said = 0.0, joules, conditions
        self.meter = None if joules is None else [0.0]
        self.watches: list[Seen] = []

    def clock(self) -> float:
        return self.now

    def watch(self, device: str) -> Seen:
        self.watches.append(Seen(self.meter, self.said, device))
        return self.watches[-1]

    def use(self, joules: float, seconds: float = 0.0) -> None:
        self.now += seconds
        if self.meter is not None:
            self.meter[0] += joules

    def step(self) -> float:
        self.use(self.cost or 0.0, 0.025)
        return 1.0


@pytest.fixture
def job(monkeypatch, tmp_path):
    """A function that makes a job on a device, and the device."""
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))

    def make(name: str = "cpu", joules: float | None = None, **conditions: object) -> tuple[Job, Device]:
        job, device = Job(lambda message: None), Device(joules, conditions)
        job.name, job.device, job.backend = "own", name, device
        job.trainable = Trainable(device.step, float)
        return job, device

    return make


ONE = {"least_blocks": 1, "least_seconds": 0.0}


def test_a_run_tells_joules_per_batch_and_its_trace(job):
    made, device = job("gpu:1", 7.5, gpu_processes=1.0)
    answer = made.measure(12, **ONE)
    assert answer["joules_per_batch"] == pytest.approx(7.5)
    assert answer["trace"] == [[0.5, 1980, 600.0, 55], [1.0, 1965, None, None]]
    assert answer["conditions"] == {"gpu_processes": 1.0}
    (watch,) = device.watches
    assert (watch.device, watch.ticks) == ("gpu:1", 12)


def test_energy_before_the_first_block_s_end_does_not_count(job):
    made, device = job("gpu", 7.5)
    costs = iter([1000.0])

    def dear_first_step() -> float:
        device.use(next(costs, 0.0))
        return device.step()

    made.trainable.step = dear_first_step
    assert made.measure(12, **ONE)["joules_per_batch"] == pytest.approx(7.5)


def test_blocks_of_several_steps_of_several_batches(job):
    made, _ = job("gpu", 7.5)
    made.steps_per_block, made.trainable.batches_per_step = 4, 3
    assert made.measure(60, **ONE)["joules_per_batch"] == pytest.approx(2.5)


@pytest.mark.parametrize("joules", [None, 0.0], ids=["nothing counts", "a counter that stands still"])
def test_unknown_energy_is_no_zero(job, joules):
    assert job("gpu", joules)[0].measure(12, **ONE)["joules_per_batch"] is None


def test_one_block_alone_says_nothing_of_energy(job):
    assert job("gpu", 7.5)[0].measure(1, **ONE)["joules_per_batch"] is None


def test_turns_share_one_watch_and_tell_the_energy_of_their_block_alone(job):
    made, device = job("gpu", 7.5, other_load=0.5, gpu_clock_mhz=1980.0)
    made.step_seconds = 0.025
    turns = []
    for _ in range(3):
        turns.append(made.interleave(least_seconds=0.25, locked=True))
        device.use(100.0, 1.0)  # the partner's turn
    assert [turn["joules"] for turn in turns] == 3 * [pytest.approx(75.0)]
    assert {turn["batches_per_block"] for turn in turns} == {10}
    assert [turn["samples"] for turn in turns] == 3 * [[pytest.approx(0.025)]]
    (watch,) = device.watches
    assert (watch.device, watch.ticks) == ("gpu", 3)
    # what the partner did on the CPU is no load of others
    assert made.finish()["conditions"] == {"other_load": None, "gpu_clock_mhz": 1980.0}


def test_garbage_is_collected_before_the_steps_that_bring_clocks_up(job):
    made, _ = job()
    made.step_seconds = 0.025
    order = []
    step = made.trainable.step
    made.trainable.step = lambda: order.append("step") or step()
    gc.callbacks.append(collected := lambda phase, info: order.append(phase))
    try:
        made.interleave(least_seconds=0.05, locked=True)
    finally:
        gc.callbacks.remove(collected)
    assert order[order.index("step") :] == 4 * ["step"]
    assert "stop" in order


def test_a_turn_that_goes_to_nan_is_told(job):
    made, _ = job()
    made.step_seconds, made.trainable.fence = 0.025, lambda value: math.nan
    with pytest.raises(Problem, match="nan in batch 10"):
        made.interleave(least_seconds=0.25, locked=True)


def test_a_run_of_its_own_has_its_conditions_in_its_measurement(job):
    made, _ = job(other_load=0.5)
    assert made.measure(1, **ONE)["conditions"] == {"other_load": 0.5}
    assert made.finish()["conditions"] == {}


@pytest.mark.parametrize(
    ("joules", "per_batch"),
    [([30.0, 0.0, 60.0], 9.0), ([0.0, 0.0], None), ([30.0, None], None), ([None], None)],
)
def test_energy_of_turns(joules, per_batch):
    assert _per_batch(joules, 10) == per_batch


def test_it_reaches_the_baseline(suite):
    suite.set(joules=7.5)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert {run["joules_per_batch"] for run in entry["runs"]} == {7.5}


def test_it_reaches_runs_that_are_interleaved(suite):
    suite.set(joules=7.5, conditions={"power": "mains"})
    suite.write("""
        def test_it(metal_bench):
            result = metal_bench('fake-model')
            for run in (*result.runs, *result.reference.runs):
                assert run.joules_per_batch == 7.5
                assert run.conditions['power'] == 'mains'
    """)
    suite.run(f"--metal-against={sys.executable}").assert_outcomes(passed=1)


def test_a_live_run_is_watched_as_one(suite, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pytest_metalperf.worker.backends.Watch",
        lambda device, clock: seen.append(device) or Seen(None, {"power": "mains"}, device),
    )
    suite.write("""
        import time

        def test_it(metal_live):
            run = metal_live(lambda: time.sleep(0.01) or 1.0, name='step').runs[0]
            assert run.conditions == {'power': 'mains'}
    """)
    assert suite.run("--metal-batches=1").ret == 0
    assert seen == ["live"]
