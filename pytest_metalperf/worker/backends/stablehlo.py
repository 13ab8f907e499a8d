"""Counting in a StableHLO program in text, as JAX lowers it: operations by type, and floating-point operations.

The text is the same on every platform, and not yet what an autotuner makes of it. XLA's own cost analysis of a lowered
program is missing on GPUs.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

_FUNCTION = re.compile(r"^\s*func\.func (?:public |private )?@([\w$.-]+)", re.MULTILINE)
_OPERATION = re.compile(r'(?<![\w.])"?(?:stablehlo|chlo)\.(\w+)')
_CALL = re.compile(r"\bcall @([\w$.-]+)")
_TYPES = r".*: \(tensor<([^>]*)>, tensor<([^>]*)>\) -> tensor<([^>]*)>"
_CONVOLUTION = re.compile(r"stablehlo\.convolution\(.*?dim_numbers = \[(.*?)\]x\[(.*?)\]->" + _TYPES)
_DILATED = re.compile(r"\blhs_dilate = \[(.*?)\]")
_PRODUCT = re.compile(r"stablehlo\.dot_general .*?contracting_dims = \[(.*?)\] x \[.*?\]" + _TYPES)

Total = TypeVar("Total")


def operations(program: str) -> Counter[str]:
    """Operations by type, those of a called function once for every call."""
    return _over_calls(program, lambda body: Counter(_OPERATION.findall(body)), operator.add)


def flop(program: str) -> float | None:
    """Floating-point operations of convolutions and products, two for every multiplication with its addition.

    Places where a kernel meets padding count like others. None where there is neither, or where one lies in a loop: how often
    that runs cannot be told from the text.
    """
    loops = _loops(program)
    called = set(_CALL.findall(loops))
    if _flop(loops) or any(_over_calls(program, _flop, operator.add, name) for name in called):
        return None
    return _over_calls(program, _flop, operator.add) or None


def _loops(program: str) -> str:
    """The lines of all loops, their conditions and bodies."""
    found = []
    depth, inside = 0, False
    for line in program.splitlines():
        inside = inside or "stablehlo.while" in line
        if inside:
            found.append(line)
            depth += line.count("{") - line.count("}")
            inside = bool(depth) or line.strip() != "}"
    return "\n".join(found)


def _flop(body: str) -> float:
    total = 0.0
    for line in body.splitlines():
        if found := _CONVOLUTION.search(line):
            dilated = _DILATED.search(line)
            zeros = math.prod(map(int, dilated[1].split(","))) if dilated else 1
            images, kernel, out = map(_shape, found.groups()[2:])
            total += 2.0 * _multiplications(found[1].split(","), found[2].split(","), images, kernel, out, zeros)
        elif found := _PRODUCT.search(line):
            inner = [_shape(found[2])[int(axis)] for axis in found[1].split(",") if axis.strip()]
            total += 2.0 * math.prod(_shape(found[4])) * math.prod(inner)
    return total


def _multiplications(
    of_images: list[str], of_kernel: list[str], images: list[int], kernel: list[int], out: list[int], zeros: int
) -> float:
    """Of a convolution: counted from its outputs, or from its inputs where those have fewer.

    The gradient of a strided or unpadded convolution has more outputs than inputs, most of which meet zeros; so do the
    outputs of a transposed convolution's own gradient, where only one of `zeros` places in the images is not padding.
    """
    taps = math.prod(size for name, size in zip(of_kernel, kernel, strict=True) if name.strip() != "o")
    features = next(size for name, size in zip(of_images, images, strict=True) if name.strip() == "f")
    return min(math.prod(out) * taps / zeros, math.prod(images) * math.prod(kernel) / features)


def _shape(tensor: str) -> list[int]:
    """`8x32x32x64xf32` -> [8, 32, 32, 64]."""
    return [int(size) for size in tensor.split("x")[:-1]]


def _over_calls(
    program: str, count: Callable[[str], Total], add: Callable[[Total, Total], Total], function: str = "main"
) -> Total:
    """What `count` finds in a function and, for every call, in what it calls."""
    starts = [(match[1], match.start()) for match in _FUNCTION.finditer(program)]
    bounds = [start for _, start in starts] + [len(program)]
    bodies = {name: program[start:end] for (name, start), end in zip(starts, bounds[1:], strict=True)}
    counted: dict[str, Total] = {}

    def total(name: str) -> Total:
        if name not in counted:
            body = bodies.get(name, "")
            found = count(body)
            for called in _CALL.findall(body):
                found = add(found, total(called))
            counted[name] = found
        return counted[name]

    return total(function)
