"""Facts and conditions of the machine that runs these tests, and the rules on conditions."""

from __future__ import annotations

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
from pytest_metalperf.worker.machine import Watch, conditions, facts, machine_facts, nvidia, slug, spoils
from pytest_metalperf.worker.machine.reading import CpuTimes, Hardware, run

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


def test_watch_keeps_the_worse_end(monkeypatch):
    ends = iter([{"power": "mains", "thermal": "heavy"}, {"power": "battery", "thermal": "nominal"}])
    monkeypatch.setattr(conditions, "_state", lambda: next(ends))
    seen = Watch().conditions()
    assert (seen["power"], seen["thermal"]) == ("battery", "heavy")


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
        "thermal pressure heavy",
        "CPU speed limited to 80 %",
        "GPU clocks held back by power cap, thermal slowdown",
        "virtual GPU",
        "41 % of CPU time was stolen by the hypervisor",
        "23 % of CPU time went to other processes",
    ]
    assert [spoil.removable for spoil in spoils(BAD)] == 6 * [True] + 2 * [False]
    assert [spoil.passing for spoil in spoils(BAD)] == 6 * [False] + 2 * [True]


def test_the_state_of_a_gpu_does_not_spoil_what_trains_on_the_cpu():
    gpus = {"throttled", "virtual_gpu"}
    assert [s.condition for s in spoils(BAD, "cpu")] == [s.condition for s in spoils(BAD) if s.condition not in gpus]


@pytest.mark.parametrize("nothing", [{}, FINE, dict.fromkeys(FINE), {key: [] for key in FINE}])
def test_nothing_spoils(nothing):
    assert spoils(nothing) == []


def test_a_power_cap_spoils_but_nobody_can_remove_it():
    (found,) = spoils({"throttled": "power cap"})
    assert (found.clause, found.removable) == ("GPU clocks held back by power cap", False)


def gpu(at: float, reasons: int = 0, power_cap: float | None = 0.0, thermal: float | None = 0.0) -> nvidia.Sample:
    return nvidia.Sample(at, (nvidia.Clocks(0x1, 0.0, 0.0), nvidia.Clocks(reasons, power_cap, thermal)))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (gpu(0), gpu(10, reasons=0x1), ""),
        (gpu(0), gpu(10, power_cap=9.86), "power cap"),
        (gpu(0, reasons=0x4), gpu(10, reasons=0x4, power_cap=0.1), ""),  # left over from the work before
        (gpu(0), gpu(10, thermal=0.6, reasons=0x40), "thermal slowdown, hardware thermal slowdown"),
        (gpu(0, power_cap=None), gpu(10, power_cap=None, reasons=0x4 | 0x8), "power cap, hardware slowdown"),
        (gpu(0), None, None),
        (gpu(0), nvidia.Sample(10, ()), None),
    ],
)
def test_throttled(before, after, found):
    assert nvidia.throttled(before, after) == found


def test_no_nvml(monkeypatch):
    import ctypes

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert nvidia.sample() is None


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
