"""Counting in a StableHLO program, as JAX lowers it: operations by type, and floating-point operations.

The program is the same on every platform, and not yet what an autotuner makes of it. XLA's own cost analysis of a lowered
program is missing on GPUs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_DIALECTS = ("stablehlo.", "chlo.")
TYPES = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass
class Counted:
    """What a function does in one call, with all that it calls.

    Attributes:
        operations: by type; what ends a region is none.
        flop: floating-point operations of convolutions and products, two for every multiplication with its addition.
        unknown: whether a convolution or a product lies in a loop: how often that runs cannot be told.
        arithmetic: in which they multiply: a type, and the precision that was asked for where it is not the default.
    """

    operations: Counter[str] = field(default_factory=Counter)
    flop: float = 0.0
    unknown: bool = False
    arithmetic: set[str] = field(default_factory=set)


def counted(module: Any) -> Counted:
    """What the program's `main` does in one call; `module` is what `Lowered.compiler_ir` returns for StableHLO.

    Places where a kernel meets padding count like others.
    """
    functions = {operation.attributes["sym_name"].value: operation for operation in module.body.operations}
    known: dict[str, Counted] = {}

    def of(name: str) -> Counted:
        if name not in known:
            known[name] = found = Counted()
            for operation, looped in _inside(functions[name].operation):
                kind = operation.name
                if kind == "func.call":
                    called = of(operation.attributes["callee"].value)
                    found.operations += called.operations
                    flop, unknown = called.flop, called.unknown
                    found.arithmetic |= called.arithmetic
                else:
                    if kind.startswith(_DIALECTS) and not kind.endswith(".return"):
                        found.operations[kind.partition(".")[2]] += 1
                    flop, unknown = _flop(operation), False
                    found.arithmetic |= _arithmetic(operation) if flop else set()
                found.flop += flop
                found.unknown |= unknown or bool(looped and flop)
        return known[name]

    return of("main")


def _inside(operation: Any, looped: bool = False) -> Iterator[tuple[Any, bool]]:
    """Every operation in one's regions, and whether it lies in a loop."""
    looped = looped or operation.name == "stablehlo.while"
    for region in operation.regions:
        for block in region.blocks:
            for one in block.operations:
                yield one.operation, looped
                yield from _inside(one.operation, looped)


def _flop(operation: Any) -> float:
    if operation.name not in ("stablehlo.convolution", "stablehlo.dot_general"):
        return 0.0
    from jax.extend.mlir.dialects import stablehlo  # what reads the attributes of its operations

    first, second = ([int(size) for size in operand.type.shape] for operand in operation.operands)
    out = [int(size) for size in operation.results[0].type.shape]
    if operation.name == "stablehlo.dot_general":
        axes = stablehlo.DotDimensionNumbers(operation.attributes["dot_dimension_numbers"])
        return 2.0 * math.prod(out) * math.prod([first[int(axis)] for axis in axes.lhs_contracting_dimensions])
    axes = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
    zeros = math.prod(operation.attributes["lhs_dilation"]) if "lhs_dilation" in operation.attributes else 1
    return 2.0 * multiplications(
        first, second, out, first[axes.input_feature_dimension], second[axes.kernel_output_feature_dimension], zeros
    )


def _arithmetic(operation: Any) -> set[str]:
    """`float32`, `float32 HIGHEST`: the types that it multiplies, and the precision that was asked for (JAX' `precision`)."""
    asked = set()
    if "precision_config" in operation.attributes:
        asked = {re.sub(r".*precision (\w+)>", r"\1", str(one)) for one in operation.attributes["precision_config"]}
    precision = " HIGHEST" if "HIGHEST" in asked else " HIGH" if "HIGH" in asked else ""
    types = {str(operand.type.element_type) for operand in operation.operands}
    return {TYPES.get(one, one) + precision for one in types}


def multiplications(
    images: list[int], kernel: list[int], out: list[int], features: int, filters: int, zeros: int
) -> float:
    """Of a convolution: counted from its outputs, or from its inputs where those have fewer.

    The gradient of a strided or unpadded convolution has more outputs than inputs, most of which meet zeros; so do the
    outputs of a transposed convolution's own gradient, where only one of `zeros` places in the images is not padding.
    """
    taps = math.prod(kernel) / filters
    return min(math.prod(out) * taps / zeros, math.prod(images) * math.prod(kernel) / features)
