"""Facts and conditions of the machine that runs these tests, and the rules on conditions."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.worker import machine
from pytest_metalperf.worker.machine import Watch, conditions, facts, machine_facts, nvidia, remarks, slug, spoils
from pytest_metalperf.worker.machine.reading import CpuTimes, Hardware, run
from pytest_metalperf.worker.machine.trace import INTERVAL, MOST_POINTS, Point, Trace

REPEATABLE = settings(derandomize=True, max_examples=50, deadline=None)
BAD = {
    "power": "battery",
    "low_power": True,
    "thermal": "heavy",
    "speed_limit": 0.8,
    "throttled": "power cap, thermal slowdown",
    "virtual_gpu": True,
    "stolen": 0.41,
    "other_load": 0.23,
    "gpu_processes": 2.0,
    "background": True,
    "gpu_other": 0.31,
}
FINE = {
    "power": "mains",
    "low_power": False,
    "thermal": "moderate",
    "speed_limit": 1.0,
    "throttled": "",
    "virtual_gpu": False,
    "stolen": 0.02,
    "other_load": 0.05,
    "load1": 9.0,
    "gpu_processes": 0.0,
    "background": False,
    "gpu_other": 0.02,
    "high_power": True,
    "memory_free": 0.4,
    "swapped_gb": 0.0,
    "gpu_clock_mhz": 210.0,
    "gpu_temperature": 95.0,
    "gpu_power_w": 700.0,
    "gpu_busy": 0.96,
    "gpu_memory_free": 0.1,
}


def test_facts_of_this_machine():
    found = machine_facts()
    assert found == machine_facts()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", found.id)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_facts_never_raise(monkeypatch, system):
    def fail() -> Hardware:
        raise RuntimeError

    monkeypatch.setattr(facts.platform, "system", lambda: system)
    monkeypatch.setattr(facts.linux, "hardware", fail)
    monkeypatch.setattr(facts.macos, "hardware", fail)
    assert machine_facts().id.endswith("-unknown-chip-unknown-cores-unknown-memory")


def test_other_systems(monkeypatch):
    monkeypatch.setattr(facts.platform, "system", lambda: "Windows")
    monkeypatch.setattr(facts.os, "cpu_count", lambda: 8)
    assert machine_facts().id == "windows-unknown-chip-8cpu-unknown-memory"


def test_several_gpus():
    gpus = ("NVIDIA H200", "NVIDIA A100", "NVIDIA H200")
    found = facts.facts_from("linux", {"chip": "AMD EPYC 9654", "cores": "16", "memory_gb": 128, "gpus": gpus})
    assert found.id == "linux-amd-epyc-9654-16cpu-128gb-nvidia-a100-2x-nvidia-h200"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MacBookPro18,3", "macbookpro18-3"),
        ("  Build Mäc #2 ", "build-mac-2"),
        ("机", "u673a"),
        ("../..", "unknown"),
        ("", "unknown"),
    ],
)
def test_slug(text, expected):
    assert slug(text) == expected


@REPEATABLE
@given(st.text())
def test_slug_is_a_fixed_point(text):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(text))
    assert slug(slug(text)) == slug(text)


def test_watch():
    watch = Watch()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    seen = watch.conditions()
    assert all(value is None or isinstance(value, (float, str, bool)) for value in seen.values())
    assert all(seen.get(key) is None or 0 <= seen[key] <= 1 for key in ("stolen", "other_load", "speed_limit"))
    if sys.platform in ("linux", "darwin"):
        assert {"power", "low_power", "other_load", "load1"} <= set(seen)
    assert "thermal" in seen if sys.platform == "darwin" else "thermal" not in seen


def test_the_state_at_the_launch_counts_and_what_came_later_is_kept_beside_it(monkeypatch):
    ends = iter([{"power": "mains", "thermal": "heavy"}, {"power": "battery", "thermal": "nominal"}])
    monkeypatch.setattr(conditions, "_state", lambda: next(ends))
    seen = Watch().conditions()
    assert {key: seen[key] for key in ("power", "power_later", "thermal")} == {
        "power": "mains",
        "power_later": "battery",
        "thermal": "heavy",
    }
    assert "thermal_later" not in seen
    assert [spoil.condition for spoil in spoils(seen)] == ["thermal"]
    assert remarks(seen) == ["running on battery later in the run"]


@pytest.mark.parametrize(
    ("launch", "now", "found"),
    [
        ({"thermal": "nominal"}, {"thermal": "moderate"}, {"thermal_later": "moderate"}),
        ({"thermal": "heavy"}, {"thermal": "nominal"}, {}),
        ({"thermal": None}, {"thermal": "heavy"}, {"thermal_later": "heavy"}),
        ({"thermal": None}, {"thermal": "nominal"}, {}),
        ({"thermal": "nominal"}, {"thermal": None}, {}),
        ({"speed_limit": 1.0}, {"speed_limit": 0.6}, {"speed_limit_later": 0.6}),
        ({"low_power": False}, {"low_power": True}, {"low_power_later": True}),
        ({"high_power": False}, {"high_power": True}, {}),
        ({"power": "mains"}, {}, {}),
    ],
)
def test_what_got_worse_since_the_launch(launch, now, found):
    assert conditions.later(launch, now) == found


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"thermal_later": "moderate"}, []),
        ({"thermal_later": "heavy"}, ["thermal pressure heavy later in the run"]),
        ({"memory_free": 0.08}, ["8 % of memory free"]),
        ({"memory_free": 0.5, "swapped_gb": 0.05}, []),
        ({"swapped_gb": 1.23}, ["1.2 GB swapped out during the run"]),
        ({"memory_free": None, "swapped_gb": None}, []),
        ({"gpu_busy": 0.29}, ["the GPU computed for 29 % of the time and waited for its host otherwise"]),
        ({"gpu_busy": 0.88}, []),
        ({"gpu_busy": None}, []),
        (FINE, []),
    ],
)
def test_remarks(seen, said):
    assert remarks(seen) == said
    assert remarks(seen, "cpu") == [remark for remark in said if "GPU" not in remark]
    assert spoils({key: value for key, value in seen.items() if key.endswith("_later")}) == []


def test_shares():
    before, after = CpuTimes(busy=100, stolen=5, total=1000), CpuTimes(busy=107, stolen=6, total=1010)
    assert conditions.shares(before, after, own=4.0) == (pytest.approx(0.1), pytest.approx(0.3))
    assert conditions.shares(before, after, own=8.0) == (pytest.approx(0.1), 0.0)
    assert conditions.shares(before, before, own=0.0) == (None, None)
    assert conditions.shares(None, after, own=0.0) == (None, None)


@pytest.mark.parametrize(
    ("key", "before", "after", "kept"),
    [
        ("power", "mains", "battery", "battery"),
        ("power", "mains", "mains", "mains"),
        ("power", "mains", None, None),
        ("power", None, "battery", "battery"),
        ("thermal", "moderate", "nominal", "moderate"),
        ("thermal", "nominal", "melting", None),
        ("low_power", True, None, True),
        ("low_power", False, False, False),
        ("virtual_gpu", None, None, None),
        ("speed_limit", 1.0, 0.4, 0.4),
        ("speed_limit", 1.0, None, None),
        ("speed_limit", None, 0.4, 0.4),
    ],
)
def test_unknown_is_never_fine(key, before, after, kept):
    assert conditions.worse(key, before, after) == kept
    assert conditions.worse(key, after, before) == kept


def test_spoils():
    assert [spoil.clause for spoil in spoils(BAD)] == [
        "running on battery",
        "low-power mode",
        "a background job, which macOS keeps on efficiency cores",
        "thermal pressure heavy",
        "CPU speed limited to 80 %",
        "GPU clocks held back by power cap, thermal slowdown",
        "virtual GPU",
        "41 % of CPU time was stolen by the hypervisor",
        "23 % of CPU time went to other processes",
        "31 % of the GPU's time went to other processes",
        "2 other processes used the GPU",
    ]
    assert [spoil.removable for spoil in spoils(BAD)] == 7 * [True] + 4 * [False]
    assert [spoil.passing for spoil in spoils(BAD)] == 7 * [False] + 4 * [True]


def test_one_other_process_on_the_gpu():
    (found,) = spoils({"gpu_processes": 1.0}, "gpu:1")
    assert found.clause == "1 other process used the GPU"


def test_the_state_of_a_gpu_does_not_spoil_what_trains_on_the_cpu():
    gpus = {"throttled", "virtual_gpu", "gpu_processes", "gpu_other"}
    assert [s.condition for s in spoils(BAD, "cpu")] == [s.condition for s in spoils(BAD) if s.condition not in gpus]


@pytest.mark.parametrize("nothing", [{}, FINE, dict.fromkeys(FINE), {key: [] for key in FINE}])
def test_nothing_spoils(nothing):
    assert spoils(nothing) == []


def test_a_power_cap_spoils_but_nobody_can_remove_it():
    (found,) = spoils({"throttled": "power cap"})
    assert (found.clause, found.removable) == ("GPU clocks held back by power cap", False)


def gpu(
    at: float, reasons: int | None = 0, power_cap: float | None = 0.0, thermal: float | None = 0.0
) -> nvidia.Sample:
    return nvidia.Sample(at, (nvidia.Clocks(0x1, 0.0, 0.0), nvidia.Clocks(reasons, power_cap, thermal)))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (gpu(0), gpu(10, reasons=0x1), ""),
        (gpu(0), gpu(10, power_cap=9.86), "power cap"),
        (gpu(0, reasons=0x4), gpu(10, reasons=0x4, power_cap=0.1), ""),  # left over from the work before
        (gpu(0), gpu(10, thermal=0.6, reasons=0x40), "thermal slowdown, hardware thermal slowdown"),
        (gpu(0, power_cap=None), gpu(10, power_cap=None, reasons=0x4 | 0x8), "power cap, hardware slowdown"),
        (gpu(0), nvidia.Sample(10, ()), None),
        (nvidia.Sample(0, ()), nvidia.Sample(10, ()), None),
        (gpu(0, reasons=None), gpu(10), None),
        (gpu(0), gpu(10, reasons=None), None),
        (gpu(0), gpu(10, reasons=None, power_cap=9.86), "power cap"),
    ],
)
def test_throttled(before, after, found):
    assert nvidia.throttled(before, after) == found


@pytest.mark.parametrize(
    ("during", "counted", "found"),
    [
        (0x8 | 0x80, 0.0, "hardware slowdown, power brake"),
        (0x1 | 0x2, 0.0, ""),  # idle, and clocks set on purpose
        (0x4, 0.0, ""),  # for a moment: the GPU counts how long
        (0x4, None, "power cap"),
    ],
)
def test_reasons_seen_in_between(during, counted, found):
    assert nvidia.throttled(gpu(0, power_cap=counted), gpu(10, power_cap=counted), during) == found


@pytest.mark.parametrize(
    ("counts", "largest"),
    [([], None), ([0, 0], 0), ([0, 2, 1], 2), ([0, None], None), ([None, 1], 1), ([None], None)],
)
def test_the_largest_count_of_which_some_are_unknown(counts, largest):
    assert conditions.most(counts) == largest


class Clock:
    """Seconds by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ticks_are_half_a_second_apart():
    clock = Clock()
    watch = Watch("cpu", clock)
    for _ in range(41):
        watch.tick()
        clock.now += 0.0625
    assert watch.trace() == [[seconds, None, None, None, None] for seconds in (0.5, 1.0, 1.5, 2.0, 2.5)]


def test_a_block_longer_than_the_distance_of_ticks_has_one():
    clock = Clock()
    watch = Watch("cpu", clock)
    for _ in range(3):
        clock.now += 8.0
        watch.tick()
    assert [point[0] for point in watch.trace()] == [8.0, 16.0, 24.0]


@pytest.mark.parametrize(("minutes", "apart"), [(2, 0.5), (10, 4.0), (60, 16.0)])
def test_the_trace_of_a_long_run_stays_small_and_even(minutes, apart):
    trace, step = Trace(), 0.0625
    for count in range(int(minutes * 60 / step) + 1):
        if count * step >= trace.due:
            trace.add(Point(count * step))
    times = [point.seconds for point in trace.points]
    assert MOST_POINTS / 2 - 1 <= len(times) < MOST_POINTS
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {apart}
    assert times[0] <= apart
    assert minutes * 60 - times[-1] < apart + INTERVAL


def test_medians_are_of_the_points_that_know():
    trace = Trace()
    for point in (Point(1.0, 1000, None), Point(2.0), Point(3.0, 2000, 300.0), Point(4.0, 1800, 500.0)):
        trace.add(point)
    assert (trace.median_clock(), trace.median_power()) == (1800.0, 400.0)
    assert Trace().median_clock() is None


def test_a_mac_is_asked_for_its_thermal_pressure_every_ten_seconds(monkeypatch):
    asked = []
    clock = Clock()
    monkeypatch.setattr(conditions, "_state", lambda: {"thermal": "nominal"})
    watch = Watch("cpu", clock)
    with monkeypatch.context() as mac:
        mac.setattr(conditions.sys, "platform", "darwin")
        mac.setattr(conditions.macos, "pressure", lambda: asked.append(clock.now) or "heavy")
        for _ in range(100):
            clock.now += 0.25
            watch.tick()
    assert asked == [1010.0, 1020.0]
    seen = watch.conditions()
    assert (seen["thermal"], seen["thermal_later"]) == ("nominal", "heavy")


def test_commands_have_a_time_limit():
    started = time.monotonic()
    assert run(sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)", timeout=0.3) == ""
    assert time.monotonic() - started < 10
    assert run("/no/such/command") == ""


def test_the_room_stands_alone_and_is_light():
    room = Path(machine.__file__).parent
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import machine;"
        "heavy = {'numpy', 'ctypes', 'subprocess', 'psutil', 'pytest_metalperf'} & (set(sys.modules) - before);"
        "machine.machine_facts(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-S", "-c", code, str(room.parent)], check=True)
