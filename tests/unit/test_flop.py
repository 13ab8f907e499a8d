"""FLOP that TensorFlow's own registry gets wrong, counted from the shapes of an operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_metalperf.worker.backends.keras_tensorflow import _gradient_flop, _product_flop


class Shape(tuple):
    def as_list(self) -> list[int]:
        return list(self)

    def num_elements(self) -> int:
        return math.prod(self)


@dataclass
class Tensor:
    shape: Shape


class Operation:
    """A node of a graph, as far as counting looks at it."""

    def __init__(self, kind: str, inputs: list[tuple[int, ...]], out: tuple[int, ...], **attributes: Any) -> None:
        self.type = kind
        self.inputs = [Tensor(Shape(shape)) for shape in inputs]
        self.outputs = [Tensor(Shape(out))]
        self.get_attr = attributes.__getitem__


@pytest.mark.parametrize(
    ("shapes", "out", "transposed"),
    [
        ([(4, 32, 4096), (4, 4096, 32)], (4, 32, 32), False),  # a Gram matrix
        ([(4, 4096, 32), (4, 4096, 32)], (4, 32, 32), True),
    ],
)
def test_a_product_multiplies_over_the_dimension_that_disappears(shapes, out, transposed):
    product = Operation("BatchMatMulV2", shapes, out, adj_x=transposed, adj_y=False)
    assert _product_flop(product) == 2 * 4 * 32 * 32 * 4096


def test_the_gradients_of_a_strided_convolution_cost_what_it_does():
    images, kernel, out = (8, 224, 224, 3), (7, 7, 3, 64), (8, 112, 112, 64)
    forward = 2 * math.prod(out) * 7 * 7 * 3
    assert _gradient_flop(Operation("Conv2DBackpropInput", [(4,), kernel, out], images)) == forward
    assert _gradient_flop(Operation("Conv2DBackpropFilter", [images, (4,), out], kernel)) == forward


def test_others_are_the_registrys():
    assert _product_flop(Operation("MatMul", [(8, 4), (4, 2)], (8, 2))) == 0
    assert _gradient_flop(Operation("Conv2D", [(8, 9, 9, 3), (3, 3, 3, 4)], (8, 9, 9, 4))) == 0
