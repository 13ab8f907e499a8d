"""Which device an MLX run computes on, by a stand-in for MLX: it shows no number of a device, and no GPU is here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_metalperf.worker.backends.mlx import Mlx


class Device:
    def __init__(self, kind, index):
        self.type = kind
        self._number = index

    def __eq__(self, other):
        return (self.type, self._number) == (other.type, other._number)

    __hash__ = None


class Array:
    pass


@pytest.fixture
def backend():
    names = ["NVIDIA H100", "NVIDIA H200"]
    made = object.__new__(Mlx)  # without MLX, which need not be installed
    made.mx = SimpleNamespace(
        cpu="cpu",
        gpu="gpu",
        array=Array,
        Device=Device,
        device_count=lambda kind: len(names),
        device_info=lambda device: {"device_name": names[device._number]},
    )
    made.mx.set_default_device = lambda device: setattr(made.mx, "default_device", lambda: device)
    return made


def test_every_gpu_has_a_name(backend):
    assert backend.devices() == {"cpu": "", "gpu": "NVIDIA H100", "gpu:1": "NVIDIA H200"}


@pytest.mark.parametrize("device", ["cpu", "gpu", "gpu:1"])
def test_an_array_is_where_operations_are(backend, device):
    backend.device = device
    backend.make_default(int(device.partition(":")[2] or 0))
    assert backend.device_object(device) == backend.mx.default_device()
    assert backend.where_is(Array()) == device
    assert backend.where_is(object()) == ""
