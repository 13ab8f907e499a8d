"""NVIDIA GPUs through a fake NVML: which one trains, who else uses it, what each call says or fails to say."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from pytest_metalperf.worker.machine import Watch, linux, nvidia, nvml

UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932aaaa-0000-0000-0000-000000000000", "GPU-1234")
PCI = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
OWN, PARENT, SIBLING, CHILD, STRANGER, GONE = 100, 10, 101, 200, 300, 999
KNOWN_OF_A_GPU = (
    "throttled",
    "gpu_clock_mhz",
    "gpu_power_w",
    "gpu_busy",
    "gpu_temperature",
    "gpu_memory_free",
    "gpu_processes",
)
PARENTS = {OWN: PARENT, PARENT: 1, SIBLING: PARENT, CHILD: OWN, STRANGER: 1}


class FakeNvml:
    """NVML as ctypes sees it, with some GPUs; `lacks` and `fails` name calls."""

    def __init__(self, gpus: int = 1, lacks: tuple[str, ...] = (), fails: tuple[str, ...] = ()) -> None:
        self.gpus = gpus
        self.lacks = lacks
        self.fails = fails
        self.clock = 1980
        self.temperature = 61
        self.milliwatts = 642_500
        self.percent = 97
        self.memory = 80_000_000_000, 60_000_000_000
        self.millijoules = 5_000_000
        self.reasons = 0x1
        self.pids = [os.getpid()]
        self.mig = 0
        self.held_ns = [0, 0]
        self.asked: list[tuple[str, int]] = []

    def __getattribute__(self, name: str):
        if not name.startswith("nvml"):
            return object.__getattribute__(self, name)
        if name in self.lacks:
            raise AttributeError(name)
        call = object.__getattribute__(self, name)

        def called(handle, *arguments):
            self.asked.append((name, getattr(handle, "value", None)))
            return 999 if name in self.fails else call(handle, *arguments) or 0

        return called

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = self.gpus

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = 0xF000 + index.value

    def nvmlDeviceGetUUID(self, handle, text, length):
        text.value = UUIDS[handle.value - 0xF000].encode()

    def nvmlDeviceGetMigMode(self, handle, now, later):
        now._obj.value = later._obj.value = self.mig

    def nvmlDeviceGetClockInfo(self, handle, kind, clock):
        clock._obj.value = self.clock if kind.value == 1 else 0

    def nvmlDeviceGetTemperature(self, handle, sensor, degrees):
        degrees._obj.value = self.temperature

    def nvmlDeviceGetPowerUsage(self, handle, power):
        power._obj.value = self.milliwatts

    def nvmlDeviceGetMemoryInfo(self, handle, memory):
        assert ctypes.sizeof(memory._obj) == 24
        memory._obj.total, memory._obj.free = self.memory

    def nvmlDeviceGetUtilizationRates(self, handle, rates):
        assert ctypes.sizeof(rates._obj) == 8
        rates._obj.gpu, rates._obj.memory = self.percent, 12

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, energy):
        energy._obj.value = self.millijoules

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle, reasons):
        reasons._obj.value = self.reasons

    nvmlDeviceGetCurrentClocksThrottleReasons = nvmlDeviceGetCurrentClocksEventReasons

    def nvmlDeviceGetViolationStatus(self, handle, policy, violation):
        violation._obj.violation_ns = self.held_ns[policy.value]

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle, count, found):
        return self._processes(count, found, 24)

    nvmlDeviceGetComputeRunningProcesses_v2 = nvmlDeviceGetComputeRunningProcesses_v3

    def nvmlDeviceGetComputeRunningProcesses(self, handle, count, found):
        return self._processes(count, found, 16)

    def _processes(self, count, found, size):
        assert ctypes.sizeof(found) == size * count._obj.value  # a structure of another size would be read askew
        if len(self.pids) > count._obj.value:
            return 7  # NVML_ERROR_INSUFFICIENT_SIZE
        count._obj.value = len(self.pids)
        for index, pid in enumerate(self.pids):
            found[index].pid = pid
        return 0


@pytest.fixture
def fake(monkeypatch):
    """An NVML with one GPU that this process alone uses."""
    made = FakeNvml()
    monkeypatch.setattr(nvidia, "present", lambda: True)
    monkeypatch.setattr(nvml, "opened", lambda: made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def only(library: FakeNvml) -> nvml.Device:
    (device,) = nvml.devices(library)
    return device


READS = [  # a figure, its value, and the calls that can tell it
    (nvml.Device.clock_mhz, 1980, ("nvmlDeviceGetClockInfo",)),
    (nvml.Device.temperature, 61, ("nvmlDeviceGetTemperature",)),
    (nvml.Device.power_w, 642.5, ("nvmlDeviceGetPowerUsage",)),
    (nvml.Device.busy, 0.97, ("nvmlDeviceGetUtilizationRates",)),
    (nvml.Device.memory_free, 0.75, ("nvmlDeviceGetMemoryInfo",)),
    (nvml.Device.joules, 5000.0, ("nvmlDeviceGetTotalEnergyConsumption",)),
    (nvml.Device.reasons, 1, ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")),
]


@pytest.mark.parametrize(("read", "value", "names"), READS)
def test_each_figure_stands_alone(read, value, names):
    assert read(only(FakeNvml())) == value
    for wrong in ("lacks", "fails"):
        assert read(only(FakeNvml(**{wrong: names[:-1]}))) == value
        assert read(only(FakeNvml(**{wrong: names}))) is None
        for other in (other for other, _, _ in READS if other is not read):
            assert other(only(FakeNvml(**{wrong: names}))) is not None


def test_seconds_that_were_held_back():
    library = FakeNvml()
    library.held_ns = [2_500_000_000, 10_000_000]
    assert only(library).held_back() == (2.5, 0.01)
    assert only(FakeNvml(lacks=("nvmlDeviceGetViolationStatus",))).held_back() == (None, None)


PROCESS_CALLS = [f"nvmlDeviceGetComputeRunningProcesses{version}" for version in ("_v3", "_v2", "")]


@pytest.mark.parametrize("newest", range(3))
def test_processes_by_the_newest_call_that_the_driver_has(newest):
    library = FakeNvml(lacks=tuple(PROCESS_CALLS[:newest]))
    library.pids = [7, 8]
    assert only(library).pids() == [7, 8]
    assert library.asked[-1][0] == PROCESS_CALLS[newest]


@pytest.mark.parametrize(
    "library",
    [FakeNvml(lacks=tuple(PROCESS_CALLS)), FakeNvml(fails=tuple(PROCESS_CALLS))],
    ids=["lacks them", "fails"],
)
def test_processes_that_nobody_tells(library):
    assert only(library).pids() is None


def test_more_processes_than_there_is_room_for():
    library = FakeNvml()
    library.pids = list(range(1, 1000))
    assert only(library).pids() is None


@pytest.mark.parametrize(
    "library",
    [
        FakeNvml(lacks=("nvmlDeviceGetCount_v2",)),
        FakeNvml(fails=("nvmlDeviceGetCount_v2",)),
        FakeNvml(gpus=2, fails=("nvmlDeviceGetHandleByIndex_v2",)),
        FakeNvml(gpus=0),
    ],
)
def test_an_nvml_without_devices(library):
    assert nvml.devices(library) == []


@pytest.mark.parametrize("status", [None, 9], ids=["not there", "does not start"])
def test_no_nvml(monkeypatch, status):
    class Library:
        def nvmlInit_v2(self):
            return status

    def load(name: str) -> Library:
        if status is None:
            raise OSError(name)
        return Library()

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(nvidia, "present", lambda: True)
    nvml.opened.cache_clear()
    try:
        assert nvml.opened() is None
        assert nvidia.watched("gpu") == []
        watch = Watch("gpu")
        seen = watch.conditions()
        assert watch.joules() is None
    finally:
        nvml.opened.cache_clear()
    names = KNOWN_OF_A_GPU
    assert {name: seen[name] for name in names} == dict.fromkeys(names)


def test_nvml_is_opened_once(monkeypatch):
    opened = []

    class Library:
        def nvmlInit_v2(self):
            return 0

        def nvmlDeviceGetCount_v2(self, count):
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: opened.append(name) or Library())
    monkeypatch.setattr(nvidia, "present", lambda: True)
    nvml.opened.cache_clear()
    try:
        for _ in range(3):
            nvidia.watched("gpu")
    finally:
        nvml.opened.cache_clear()
    assert opened == ["libnvidia-ml.so.1"]


# which GPU trains


@pytest.mark.parametrize(
    ("device", "environment", "index"),
    [
        ("gpu", PCI, 0),
        ("gpu:1", PCI, 1),
        ("gpu:3", PCI, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "2,1"}, 2),
        ("gpu:1", {**PCI, "CUDA_VISIBLE_DEVICES": " 2 , 1 "}, 1),
        ("gpu:2", {**PCI, "CUDA_VISIBLE_DEVICES": "2,1"}, None),
        ("gpu:1", {**PCI, "CUDA_VISIBLE_DEVICES": "0,-1,1"}, None),  # what is behind an entry that names none is hidden
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": ""}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "-1"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "7"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": UUIDS[1]}, 1),
        ("gpu", {"CUDA_VISIBLE_DEVICES": f"{UUIDS[2]},0"}, 2),  # a UUID needs no order
        ("gpu:1", {"CUDA_VISIBLE_DEVICES": f"{UUIDS[2]},0"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "GPU-8932f"}, 0),  # as many digits as tell it from others
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "GPU-8932"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "GPU-ffff"}, None),
        ("gpu", {**PCI, "CUDA_VISIBLE_DEVICES": "MIG-8932f937-d72c-4106-c12f-20bd9faed9f6"}, None),
        ("gpu", {}, None),  # the fastest first: any of the three
        ("gpu", {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "CUDA_VISIBLE_DEVICES": "1"}, None),
    ],
)
def test_which_gpu_trains(device, environment, index):
    assert nvidia.training(device, UUIDS, environment) == index


def test_one_gpu_needs_no_order():
    assert nvidia.training("gpu", ["GPU-1"], {}) == 0
    assert nvidia.training("gpu", [""], {"CUDA_VISIBLE_DEVICES": "0"}) == 0
    assert nvidia.training("gpu", [], {}) is None


def test_only_the_gpu_that_trains_is_read(fake, monkeypatch):
    fake.gpus = 3
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert len(nvidia.watched("gpu:1")) == 1
    fake.asked.clear()
    watch = Watch("gpu:1")
    watch.conditions()
    assert watch.joules() == 0.0
    assert {handle for name, handle in fake.asked if name not in ("nvmlDeviceGetUUID", "nvmlDeviceGetCount_v2")} >= {
        0xF002
    }
    read = {
        handle for name, handle in fake.asked if name in ("nvmlDeviceGetTemperature", "nvmlDeviceGetViolationStatus")
    }
    assert read == {0xF002}


def test_a_gpu_in_slices_says_nothing_of_one_process(fake):
    fake.mig = 1
    assert nvidia.watched("gpu") == []
    fake.mig, fake.lacks = 0, ("nvmlDeviceGetMigMode",)
    assert len(nvidia.watched("gpu")) == 1


def test_a_run_on_the_cpu_asks_for_nothing(monkeypatch):
    def fail() -> None:
        raise AssertionError

    monkeypatch.setattr(nvidia, "present", lambda: True)
    monkeypatch.setattr(nvml, "opened", fail)
    watch = Watch("cpu")
    watch.tick()
    assert not {"throttled", "gpu_clock_mhz", "gpu_processes"} & set(watch.conditions())


def test_objects_of_the_user_may_be_on_any_gpu(fake):
    fake.gpus = 2
    watch = Watch("live")
    fake.held_ns = [10**12, 0]
    seen = watch.conditions()
    assert seen["throttled"] == "power cap"
    assert "gpu_processes" not in seen
    assert watch.joules() is None


# who else uses it


@pytest.mark.parametrize(
    ("pids", "count"),
    [
        ([OWN], 0),
        ([OWN, SIBLING, CHILD, PARENT], 0),  # the partner of a pair, stopped; a loader of data; pytest, which waits
        ([OWN, STRANGER], 1),
        ([OWN, STRANGER, STRANGER, 1], None),  # nobody knows the parent of 1
        ([OWN, SIBLING, STRANGER], 1),
        ([STRANGER], None),  # where are we?
        ([], None),
        (None, None),
        ([OWN, GONE], None),  # of another namespace, or it has just ended
    ],
)
def test_other_processes(pids, count):
    assert nvidia.others(pids, OWN, PARENTS.get) == count


def test_own_process_without_a_parent():
    assert nvidia.others([OWN], OWN, lambda pid: None) is None


@pytest.mark.parametrize(
    ("stat", "parent"),
    [
        ("100 (python) S 10 100 100 0 -1\n", 10),
        ("100 (a ) b (c) S 10 100 100 0 -1\n", 10),
        ("100 (python) S\n", None),
        ("100 (python) S 1", None),  # cut off: it may have been 10
        ("", None),
    ],
)
def test_parent(stat, parent):
    assert linux.parse_parent(stat) == parent


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_own_parent():
    assert linux.parent(os.getpid()) == os.getppid()
    assert linux.parent(2**22 + 1) is None


# a run


class Clock:
    """Seconds by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_what_a_run_sees(fake, monkeypatch):
    monkeypatch.setattr(linux, "parent", {os.getpid(): PARENT, STRANGER: 1, STRANGER + 1: 1}.get)
    clock = Clock()
    fake.clock, fake.temperature = 210, 30  # still at rest
    watch = Watch("gpu", clock)
    for fake.clock, fake.temperature, fake.milliwatts, fake.percent in (
        (1980, 60, 600_000, 40),
        (1500, 71, 500_000, 100),
        (1965, 65, 700_000, 70),
    ):
        clock.now += 0.5
        watch.tick()
    fake.pids, fake.reasons = [os.getpid(), STRANGER, STRANGER + 1], 0x40
    clock.now += 0.5
    watch.tick()
    fake.pids, fake.reasons, fake.clock, fake.temperature = [os.getpid()], 0x1, 210, 50
    fake.millijoules += 1_234_000
    seen = watch.conditions()
    assert seen["gpu_clock_mhz"] == 1965.0
    assert seen["gpu_power_w"] == 650.0
    assert seen["gpu_busy"] == 0.7
    assert seen["gpu_memory_free"] == 0.75
    assert seen["gpu_temperature"] == 71.0
    assert seen["gpu_processes"] == 2.0
    assert seen["throttled"] == "hardware thermal slowdown"
    assert watch.joules() == pytest.approx(1234.0)
    assert watch.trace()[1] == [1.0, 1500, 500.0, 71, 1.0]
    assert not [key for key, value in seen.items() if type(value) is int]


def test_one_unknown_count_of_processes_is_no_zero(fake):
    clock = Clock()
    watch = Watch("gpu", clock)
    assert watch.conditions()["gpu_processes"] == 0.0
    fake.pids = [1_000_000_007]
    clock.now += 0.5
    watch.tick()
    fake.pids = [os.getpid()]
    assert watch.conditions()["gpu_processes"] is None


def test_a_driver_that_tells_nothing(fake):
    fake.fails = tuple(
        name for name in dir(FakeNvml) if name.startswith("nvmlDeviceGet") and name[13:15] not in ("Ha", "UU")
    )
    fake.fails = tuple(name for name in fake.fails if name != "nvmlDeviceGetCount_v2")
    clock = Clock()
    watch = Watch("gpu", clock)
    clock.now += 0.5
    watch.tick()
    seen = watch.conditions()
    assert {seen[name] for name in KNOWN_OF_A_GPU} == {None}
    assert watch.joules() is None
    assert watch.trace() == [[0.5, None, None, None, None]]


# slices

CUT = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: A100-SXM4-40GB (UUID: GPU-84711b82-7bc0-4e2e-a5c2-2b1a5b3b5ba4)
"""


def test_slices_are_other_gpus_than_the_whole():
    assert nvidia.from_smi(CUT) == (
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA A100-SXM4-40GB",
    )


@pytest.mark.parametrize("instances", [[], ["gi3"]])
def test_a_gpu_that_is_cut_is_named_by_its_slices(monkeypatch, instances):
    folders = {
        "/proc/driver/nvidia/gpus": ["0000:00:04.0"],
        "/proc/driver/nvidia/capabilities": ["gpu0", "mig"],
        "/proc/driver/nvidia/capabilities/gpu0/mig": instances,
    }
    monkeypatch.setattr(nvidia, "present", lambda: True)
    monkeypatch.setattr(nvidia, "listing", lambda path: folders.get(path, []))
    monkeypatch.setattr(nvidia, "read", lambda path: "Model: \t\t NVIDIA A100-SXM4-40GB\n")
    monkeypatch.setattr(nvidia, "run", lambda *command, timeout: CUT)
    assert (nvidia.names() == ("NVIDIA A100-SXM4-40GB",)) == (not instances)
    assert ("NVIDIA A100-SXM4-40GB MIG 1g.5gb" in nvidia.names()) == bool(instances)
