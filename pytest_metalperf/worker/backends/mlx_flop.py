"""Products and convolutions of a graph of MLX', from the shapes and types that its export tells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .stablehlo import multiplications

_HIDES = re.compile(
    r"Quantized|Gather\w*MM|Segmented|Masked|Attention|Custom|Kernel|Compiled|FFT|Cholesky|SVD|QR|LU|Inverse|Eig"
)
"""Primitives that may multiply matrices, by names of which one says not how much."""


class Products(NamedTuple):
    """The products and convolutions of a graph.

    Attributes:
        flop: two for every multiplication with its addition; None where a primitive may hide some.
        arithmetic: the types that they are computed in, such as `float32`; none where `flop` is None.
    """

    flop: float | None = None
    arithmetic: frozenset[str] = frozenset()


def products_of(told: Iterable[Mapping[str, Any]]) -> Products:
    """All of them, counted.

    Args:
        told: what `mx.export_function` gives its callback: of a primitive its `name`, its `arguments`, and its `inputs` and
            `outputs`, each as (id, shape, type).
    """
    found, types = 0.0, set()
    for one in told:
        if one["type"] != "primitive":
            continue
        name = one["name"]
        if name in ("Matmul", "AddMM"):
            found += 2.0 * math.prod(_shape(one["outputs"][0])) * _shape(one["inputs"][0])[-1]
        elif name == "Convolution":
            images, kernel = map(_shape, one["inputs"][:2])  # images' features, kernels' filters: last, first
            zeros = math.prod(one["arguments"][4])
            out = _shape(one["outputs"][0])
            found += 2.0 * multiplications(images, kernel, out, images[-1], kernel[0], zeros)
        elif _HIDES.search(name):
            return Products()
        else:
            continue
        types.add(str(one["inputs"][0][2]).rpartition(".")[2])
    return Products(found, frozenset(types))


def _shape(array: Any) -> list[int]:
    return [int(size) for size in array[1]]
