"""Reading one value back from a device, whatever framework it belongs to, without importing any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .problems import Problem
from .values import DEEPEST


def first_value(outputs: Any) -> Any:
    """The first leaf of nested dicts, lists and tuples: any value of a step will do to wait for that step."""
    for _ in range(DEEPEST):
        if not (isinstance(outputs, (Mapping, list, tuple)) and outputs):
            break
        outputs = next(iter(outputs.values())) if isinstance(outputs, Mapping) else outputs[0]
    return outputs


def read_back(outputs: Any) -> float:
    """Compute a fresh scalar from a step's outputs on their device, and read it.

    Devices run what they are given in order, so a value computed after the step has ended the whole step, the
    optimizer's part too; the loss itself is ready before the weights are. (`tf.test.experimental.sync_devices`
    does nothing on Metal: its kernel is compiled for CUDA and ROCm only.)
    """
    value = first_value(outputs)
    if value is None or isinstance(value, (str, bytes, Mapping, list, tuple)):
        raise Problem(
            "training",
            f"the step returned {type(value).__name__ if value is not None else None}; it must return a value computed"
            " on the device (the loss will do), or nothing can wait for the step to end",
        )
    try:
        rank = len(getattr(value, "shape", ()) or ())
        if rank:
            value = value[(0,) * rank]
        if hasattr(value, "dtype") and not hasattr(value, "__array_interface__"):  # NumPy's are on the host already
            value = value + 0
        for read in ("item", "numpy"):
            if hasattr(value, read):
                value = getattr(value, read)()
                break
        return float(value)
    except (TypeError, ValueError, IndexError):
        raise Problem(
            "training",
            f"the step returned a {type(value).__name__}, which is no number and no device value:"
            " return the loss, or any array computed on the device",
        ) from None
