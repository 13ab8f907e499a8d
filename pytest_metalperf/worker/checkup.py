"""What one backend can do here, found out in a process that may break: devices, a second of training, precisions, XLA.

`main` prints a JSON object a line as soon as it knows something, so that a crash or a deadline loses only what is left.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .backends import BACKENDS, PRECISIONS
from .backends.framework import Framework
from .problems import Problem, first_line
from .process import die_with_parent
from .sources import load
from .trials import EXAMPLES, smallest
from .values import Reported, checked

TRAINED_SECONDS = 1.0


def checkup(name: str, device: str) -> Iterator[dict[str, Any]]:
    """What there is to tell of backend `name`, one fact at a time.

    Args:
        name: one of this package's backends.
        device: `cpu`, `gpu`, or empty for the GPU if there is one.

    Raises:
        Problem: for what does not work at all; what was told before stands.
    """
    backend: Framework = load({"kind": "reference", "package": "backends", "name": BACKENDS[name]})()
    yield {"versions": backend.versions()}
    if device == "cpu":
        backend.hide(device)
    else:  # to look for GPUs is to set them up, which a CPU's run must not do
        devices = backend.devices()
        missing = "" if "gpu" in devices else backend.why_missing("gpu", devices)
        yield {"devices": devices, "missing": missing}
        device = device or ("cpu" if missing else "gpu")
    yield {"device": device}
    backend.set_up(device, "float32", 0)
    yield train(backend)
    yield {"precisions": {name: _works(functools.partial(backend.try_precision, name)) for name in PRECISIONS}}
    yield {"jit": _works(backend.try_jit)}


def train(backend: Framework) -> dict[str, Any]:
    """Loss and gradient norm of fixed weights, where something computes them, then a second of training and its steps.

    Raises:
        Problem: when the loss is not finite, or no weight changes.
    """
    trainable = backend.trainable(_built(backend), "checkup", {"batch_size": EXAMPLES})
    computed = trainable.loss_and_gradient() if trainable.loss_and_gradient is not None else None
    before = trainable.checksums() if trainable.checksums is not None else []
    outputs = trainable.step()
    checked(Reported(outputs, trainable.fence(outputs)), "in the first batch")
    steps, start = 1, time.perf_counter()
    while time.perf_counter() - start < TRAINED_SECONDS or steps < 2:
        outputs = trainable.step()
        reported = Reported(outputs, trainable.fence(outputs))
        steps += 1
    checked(reported, "while training")
    if trainable.checksums is not None and trainable.checksums() == before:
        raise Problem("training", "no weight changed in a second of training")
    compared = {} if computed is None else {"loss": float(computed[0]), "gradient_norm": float(computed[1])}
    return {**compared, "steps": steps}


def _built(backend: Framework) -> Any:
    with backend.scope():
        return smallest(backend.framework)


def _works(what: Callable[[], object]) -> str:
    """Why something does not work, in one line; empty where it does."""
    try:
        what()
    except Problem as problem:
        return problem.message
    except Exception as error:
        return first_line(error)
    return ""


def main(arguments: Sequence[str]) -> int:
    """`checkup PARENT BACKEND [DEVICE]`: facts as lines of JSON on the stream that was standard output; 1 for an error.

    It ends with its parent, whose process id is the first argument.
    """
    parent, name, device = [*arguments, ""][:3]
    die_with_parent(int(parent))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what frameworks print is no JSON
    try:
        for fact in checkup(name, device):
            print(json.dumps(fact), file=out, flush=True)
    except Problem as problem:
        print(json.dumps({"error": problem.message, "kind": problem.kind}), file=out, flush=True)
        return 1
    except Exception as error:
        print(json.dumps({"error": first_line(error), "kind": "worker"}), file=out, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
