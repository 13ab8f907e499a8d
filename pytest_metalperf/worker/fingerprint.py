"""The fingerprint of a workload: noise-free facts of one step, as plain values that a baseline stores.

A clock on a shared machine cannot tell a slow hour from slow code. The operations that a step executes can: they are the
same in every process that runs the same code, and another optimizer, a kernel that is missing on the GPU, or a second
trace shows in them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

ARITHMETIC = "arithmetic"
"""Of the facts the one that no baseline keeps."""


def facts(
    *,
    operations: Mapping[str, int] | None = None,
    on_cpu: Mapping[str, int] | None = None,
    flop: float | None = None,
    traces: int | None = None,
    parameters: int | None = None,
    memory_bytes: int | None = None,
    arithmetic: Collection[str] = (),
) -> dict[str, Any]:
    """The facts in the form that travels and is stored; what a framework does not tell is None, or empty.

    Args:
        operations: of one step, counted by type.
        on_cpu: those of them that a GPU's run does on the CPU.
        flop: floating-point operations of one step.
        traces: how often the step was traced; more than once is a retrace.
        parameters: of the model.
        memory_bytes: the peak that the device's allocator needs, where that is the same in every run.
        arithmetic: in which the products and convolutions that `flop` counts are computed, such as `float32`, as
            `Backend.multiplication` takes it. It stays in the worker: a rate of products is measured in it.
    """
    return {
        "operations": dict(sorted(Counter(operations or {}).items())),
        "operations_on_cpu": dict(sorted(Counter(on_cpu or {}).items())),
        "flop": flop,
        "traces": traces,
        "parameters": parameters,
        "memory_bytes": memory_bytes,
        **({ARITHMETIC: sorted(arithmetic)} if arithmetic else {}),
    }
