"""Our NVML calls against nvidia-ml-py, NVIDIA's own binding: the same structures, the same numbers, without a GPU."""

from __future__ import annotations

import ctypes

import pytest

from pytest_metalperf.worker.machine import nvml

pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py, of the extra `test`")


def test_constants_are_nvidia_s():
    assert nvml._SM_CLOCK == pynvml.NVML_CLOCK_SM
    assert nvml._GPU_SENSOR == pynvml.NVML_TEMPERATURE_GPU
    assert (nvml._POWER, nvml._THERMAL) == (pynvml.NVML_PERF_POLICY_POWER, pynvml.NVML_PERF_POLICY_THERMAL)
    assert nvml._UUID_LENGTH == pynvml.NVML_DEVICE_UUID_V2_BUFFER_SIZE


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nvml._Violation, "c_nvmlViolationTime_t"),
        (nvml._Memory, "c_nvmlMemory_t"),
        (nvml._Process, "c_nvmlProcessInfo_v2_t"),
        (nvml._Utilization, "c_nvmlUtilization_t"),
    ],
)
def test_structures_are_laid_out_as_nvidia_s(ours, theirs):
    struct = getattr(pynvml, theirs)

    def layout(one):
        return [(getattr(one, name).offset, getattr(one, name).size) for name, *_ in one._fields_]

    assert ctypes.sizeof(ours) == ctypes.sizeof(struct)
    assert layout(ours) == layout(struct)


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetUUID", "nvmlDeviceGetMigMode", "nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature",
        "nvmlDeviceGetPowerUsage", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetViolationStatus",
    ],
)  # fmt: skip
def test_calls_bear_nvidia_s_names(call):
    assert callable(getattr(pynvml, call))
