"""Counting in what MLX tells of a graph: products and convolutions by their shapes, and nothing where one hides."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from pytest_metalperf.worker.backends.mlx import Mlx
from pytest_metalperf.worker.backends.mlx_flop import products_of


def node(name, out, *inputs, arguments=()):
    """As `mlx.core.export_function` (0.32) gives it to its callback."""
    arrays = [(str(index), shape, "mlx.core.float32") for index, shape in enumerate(inputs)]
    return {"type": "primitive", "name": name, "arguments": [*arguments], "inputs": arrays, "outputs": [("z", out, "")]}


def convolution(out, images, kernel, strides=1, zeros=1, groups=1):
    arguments = [[strides] * 2, [1, 1], [1, 1], [1, 1], [zeros] * 2, groups, False]
    return node("Convolution", out, images, kernel, arguments=arguments)


OTHERS = [
    {"type": "inputs", "inputs": []},
    {"type": "constants", "constants": []},
    node("Add", (8, 12), (8, 12), (12,)),
]


@pytest.mark.parametrize(
    ("told", "flop"),
    [
        ([], 0),
        ([node("Matmul", (8, 12), (8, 16), (16, 12))], 2 * 8 * 12 * 16),
        ([node("Matmul", (3, 8, 12), (3, 8, 16), (3, 16, 12))], 2 * 3 * 8 * 12 * 16),
        ([node("AddMM", (8, 1), (8, 12), (12, 1), (8, 1), arguments=(1.0, 1.0))], 2 * 8 * 12),
        ([convolution((4, 14, 14, 8), (4, 14, 14, 3), (8, 3, 3, 3))], 2 * 4 * 14 * 14 * 8 * 27),
        ([convolution((4, 7, 7, 8), (4, 14, 14, 3), (8, 3, 3, 3), strides=2)], 2 * 4 * 7 * 7 * 8 * 27),
        # its gradient for the images multiplies as often, and meets zeros else
        ([convolution((4, 14, 14, 3), (4, 7, 7, 8), (3, 3, 3, 8), zeros=2)], 2 * 4 * 7 * 7 * 8 * 27),
        ([convolution((4, 14, 14, 8), (4, 14, 14, 8), (8, 3, 3, 1), groups=8)], 2 * 4 * 14 * 14 * 8 * 9),
        ([node("QuantizedMatmul", (8, 12), (8, 16), (16, 12))], None),
        ([node("Matmul", (8, 12), (8, 16), (16, 12)), node("CustomKernel", (8,), (8,))], None),
        ([node("ScaledDotProductAttention", (8, 12), (8, 16), (16, 12))], None),
    ],
)
def test_products_and_convolutions_are_counted(told, flop):
    found = products_of([*OTHERS, *told])
    assert found.flop == flop
    assert found.arithmetic == ({"float32"} if flop else set())


class OnAGpu:
    """MLX 0.32.4 on an NVIDIA H200, as far as counting asks it: it does not export a kernel of its GPU."""

    cpu = "cpu"

    def __init__(self):
        self.device, self.compiles = "gpu", True

    @contextmanager
    def stream(self, device):
        self.device, before = device, self.device
        yield
        self.device = before

    def disable_compile(self):
        self.compiles = False

    def enable_compile(self):
        self.compiles = True

    def export_function(self, tell, function):
        function()
        if self.device == "gpu":
            raise ValueError("[export_function] Unable to get state for primitive CrossEntropy")
        tell(node("Matmul", (8, 12), (8, 16), (16, 12)))


def test_what_the_kernels_of_a_gpu_hide_is_counted_as_the_cpu_would_compute_it():
    backend = object.__new__(Mlx)
    backend.mx = mx = OnAGpu()
    backend.leaves = list
    assert backend.products_of(list).flop == 2 * 8 * 12 * 16
    assert (mx.device, mx.compiles) == ("gpu", True)
