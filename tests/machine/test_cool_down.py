"""A hot machine cools down before a run, two minutes at most."""

from __future__ import annotations

import pytest

from pytest_metalperf.worker.backends import Backend
from pytest_metalperf.worker.loop import Trainable
from pytest_metalperf.worker.machine import cooling, heat, macos, nvidia
from pytest_metalperf.worker.machine.cooling import cool_down
from pytest_metalperf.worker.serve import Job


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def waited(looks: list[str]) -> tuple[Time, float, list[tuple[str, float]]]:
    time, said = Time(), []
    seconds = cool_down(
        lambda: looks.pop(0) if looks else "",
        lambda found, after: said.append((found, after)),
        clock=time.clock,
        sleep=time.sleep,
    )
    return time, seconds, said


def test_a_cool_machine_waits_for_nothing():
    time, seconds, said = waited([""])
    assert (time.slept, seconds, said) == ([], 0.0, [])


def test_it_looks_every_five_seconds_until_it_is_cool():
    time, seconds, said = waited(["hot", "hot", "hot"])
    assert (time.slept, seconds) == ([5, 5, 5], 15)
    assert said == [("hot", 0), ("hot", 5), ("hot", 10)]


def test_two_minutes_at_most():
    time, seconds, _ = waited(["hot"] * 1000)
    assert seconds == sum(time.slept) == 120


@pytest.mark.parametrize(
    ("pressure", "found"),
    [
        ("nominal", ""),
        ("moderate", ""),
        ("heavy", "thermal pressure heavy"),
        ("sleeping", "thermal pressure sleeping"),
        (None, ""),
    ],
)
def test_the_pressure_of_a_mac(monkeypatch, pressure, found):
    monkeypatch.setattr(cooling.sys, "platform", "darwin")
    monkeypatch.setattr(macos, "pressure", lambda: pressure)
    assert heat("gpu") == found


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        ([], ""),
        ([0x1, 0x4 | 0x80], ""),
        ([0x1, 0x20], "GPU in thermal slowdown"),
        ([0x40 | 0x8], "GPU in hardware thermal slowdown"),
    ],
)
def test_the_slowdown_of_a_gpu(reasons, found):
    assert nvidia.heat(reasons) == found


class Warm(Backend):
    """Hot at its first two looks. (The fake backend must not be imported beside a suite's.)"""

    def __init__(self) -> None:
        self.looks = ["GPU in thermal slowdown"] * 2

    def versions(self):
        return {}

    def devices(self):
        return {"gpu": ""}

    def set_up(self, device, precision, seed):
        pass

    def trainable(self, built, name, axes):
        return Trainable(lambda: 1.0, float)

    def heat(self, device):
        assert device == "gpu"
        return self.looks.pop() if self.looks else ""


def test_a_worker_waits_and_says_so_before_it_measures(monkeypatch):
    time, said = Time(), []
    monkeypatch.setattr(cool_down, "__kwdefaults__", {"clock": time.clock, "sleep": time.sleep})
    job = Job(said.append)
    job.name, job.device, job.backend = "warm", "gpu", Warm()
    job.trainable = job.backend.trainable(None, "warm", {})
    job.measure(1, 1, 0.0)
    told = [(one["progress"], one["i"]) for one in said]
    hot = "cool down (GPU in thermal slowdown)"
    assert told[:3] == [(hot, 0), (hot, 5), ("measure", 0)]
