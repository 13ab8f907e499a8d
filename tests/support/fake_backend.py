"""A backend without a framework: its clock is virtual, so a run of any length takes milliseconds.

The environment variable FAKE holds JSON: `seconds` a step takes (0.1), `jitter` (0.002, relative sd between runs),
`gpus` (names), `conditions`, and what goes wrong: `die`, `hang`, `nan`, each with the model's name, from its step
`from_step` (1) on, and `frozen_weights`. The step `freezes_at` takes 21 times as long. Steps of a GPU take longer and
shorter by the share `wobble`, sixty by sixty. A step sleeps `sleep` real seconds. A step uses `joules` (unknown), and the
trace of a run is `trace`. Its fingerprint is `work`, in which "pid" stands for the worker's process id; its peak of
memory is `peak` (the process's own; null is unknown). `products` are FLOP/s of a product by the `arithmetic` that `work`
names; each that is asked for goes into the file `products_log`, where one is named. The first step
takes `first_seconds` more, every k-th one a share more where `cycle` says both, and
steps from the first of `slows` on are slower by the share that is its second. Every step
adds the worker's process id to the file `log`, where one is named.

Loss and gradient norm depend on weights that no two processes have alike, unless they are `weights`; a GPU's are `gpu_loss`
and `gpu_gradient` times the true ones. `batches` are checksums of the data by place, 0 for one that it does not name.
On the places in `bare` (`cpu`, `gpu`) there is no model to look at, and `unreadable` weights cannot be
loaded. The name of the file with weights goes into the file `saved`, where one is named. `memory` is the peak in bytes by
place, unknown for a place that it does not name.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pytest_metalperf.worker.backends import Backend
from pytest_metalperf.worker.fence import read_back
from pytest_metalperf.worker.loop import Trainable
from pytest_metalperf.worker.problems import Problem
from pytest_metalperf.worker.product import Multiplication

NOW = [0.0]
JOULES = [0.0]


def worker() -> int:
    """The id of the worker that this runs in: of its process, or, where tests have workers in theirs, the worker's own."""
    in_process = sys.modules.get("in_process")
    return (in_process.NOW[0] if in_process is not None else 0) or os.getpid()


def only_in_a_process() -> None:
    """What ends or hangs a worker needs one that is a process."""
    if worker() != os.getpid():
        raise AssertionError("this test needs workers that are processes: mark it with `processes`")


def wish(name: str, default: Any) -> Any:
    return json.loads(os.environ.get("FAKE", "{}")).get(name, default)


class FakeModel:
    """What a builder for this backend returns; every k-th step of it takes a share more where `cycle` says both."""

    def __init__(
        self,
        seconds: float,
        batch_size: int = 8,
        work: dict[str, Any] | None = None,
        cycle: tuple[int, float] | None = None,
    ) -> None:
        self.seconds = seconds
        self.cycle = cycle
        self.work = wish("work", None) if work is None else work
        self.batch_size = batch_size


def build(batch_size: int = 8, depth: int = 1) -> FakeModel:
    return FakeModel(wish("seconds", 0.1) * depth, batch_size)


class FakeWatch:
    """The conditions, the energy and the trace that a test wishes for."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.start = JOULES[0]
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1

    def joules(self) -> float | None:
        return None if wish("joules", None) is None else JOULES[0] - self.start

    def trace(self) -> list[list[float | None]]:
        return list(wish("trace", []))

    def conditions(self) -> dict[str, Any]:
        return dict(wish("conditions", {}))


class Fake(Backend):
    """Trains nothing, takes its (virtual) time."""

    @staticmethod
    def clock() -> float:
        return NOW[0]

    def watch(self, device: str) -> Any:
        return FakeWatch(device)

    def versions(self) -> dict[str, str]:
        return {"fake": wish("version", "1.0")}

    def devices(self) -> dict[str, str]:
        return {"cpu": "", **dict.fromkeys(wish("gpus", []), "Fake GPU")}

    def peak_memory(self) -> int | None:
        if wish("memory", None) is not None:
            return wish("memory", {}).get(self.where)
        peak = wish("peak", "process")
        if peak == "process":
            return super().peak_memory()
        return None if peak is None else int(peak)

    def multiplication(self, arithmetic: str) -> Multiplication | None:
        """Products take their virtual time at the rate `products` names for an arithmetic; text is why they cannot be."""
        rate = wish("products", {}).get(arithmetic)

        def multiply(left: Any, right: Any) -> Any:
            if isinstance(rate, str):
                raise ValueError(rate)
            NOW[0] += 2 * len(left) ** 3 / rate
            return left

        if wish("products_log", ""):
            with Path(wish("products_log", "")).open("a") as log:
                log.write(f"{arithmetic}\n")
        return None if rate is None else Multiplication(arithmetic, lambda matrix: matrix, multiply)

    def set_up(self, device: str, precision: str, seed: int) -> None:
        if device not in self.devices():
            raise Problem("device", self.why_missing(device, self.devices()))
        self.where = device.partition(":")[0]
        self.factor = wish("gpu_factor", 0.25) if self.where == "gpu" else 1.0

    def bare(self, call: Any, axes: Any) -> Trainable:
        """A step of the user's own: `seconds` of virtual time, and what it reports."""

        def step() -> Any:
            NOW[0] += wish("seconds", 0.1) * self.factor
            return call()

        return Trainable(step=step, fence=read_back, examples=axes.get("batch_size"))

    def trainable(self, built: Any, name: str, axes: Any) -> Trainable:
        if callable(built):
            return self.bare(built, axes)
        if not isinstance(built, FakeModel):
            raise Problem("builder", f"the builder of {name} returned a {type(built).__name__}; it returns a FakeModel")
        run = 1 + random.SystemRandom().gauss(0, wish("jitter", 0.002))
        seconds = built.seconds * self.factor * max(run, 0.1)
        weights, steps, drawn = [wish("weights", random.SystemRandom().randrange(10**6))], [0], [0]

        slow_from, slowdown = wish("slows", (0, 0.0))

        def step() -> float:
            if wish("log", ""):
                with Path(wish("log", "")).open("a") as log:
                    log.write(f"{worker()}\n")
            weights[0] += not wish("frozen_weights", False)
            steps[0] += 1
            due = steps[0] >= wish("from_step", 1)
            if due and wish("die", "") == name:
                only_in_a_process()
                os.kill(os.getpid(), getattr(signal, wish("signal", "SIGKILL")))
            if due and wish("hang", "") == name:
                only_in_a_process()
                time.sleep(3600)
            time.sleep(wish("sleep", 0))
            wobble = wish("wobble", 0) if self.factor < 1 else 0
            JOULES[0] += wish("joules", None) or 0.0
            NOW[0] += seconds * (1 + wobble * (1 if steps[0] // 60 % 2 else -1))
            every, more = built.cycle or wish("cycle", (1, 0.0))
            NOW[0] += more * seconds * (steps[0] % every == 0)
            NOW[0] += wish("first_seconds", 0.0) * (steps[0] == 1)
            NOW[0] += slowdown * seconds * (steps[0] >= slow_from)
            NOW[0] += 20 * seconds * (steps[0] == wish("freezes_at", 0))
            return float("nan") if due and wish("nan", "") == name else 1.0

        def loss_and_gradient() -> tuple[float, float]:
            weights_seen = weights[0] + drawn[0] * wish("draws", 0)
            wrong = (wish("gpu_loss", 1.0), wish("gpu_gradient", 1.0)) if self.where == "gpu" else (1.0, 1.0)
            return (2.0 + weights_seen) * wrong[0], (3.0 + weights_seen) * wrong[1]

        @contextlib.contextmanager
        def redrawn() -> Any:
            drawn[0] += 1
            yield

        def save(file: str) -> None:
            Path(file).write_text(json.dumps(weights))
            if wish("saved", ""):
                Path(wish("saved", "")).write_text(file)

        def load(file: str) -> None:
            if wish("unreadable", False):
                raise ValueError("no such layer")
            weights[:] = json.loads(Path(file).read_text())

        looked_at = self.where not in wish("bare", [])

        def work() -> dict[str, Any]:
            if built.work == "raises":
                raise ValueError("no graph here")
            return json.loads(json.dumps(built.work).replace('"pid"', str(worker())))

        return Trainable(
            step=step,
            fence=float,
            examples=built.batch_size,
            parameters=1,
            trainable_variables=1,
            checksums=lambda: list(weights),
            last_loss=step,
            loss_and_gradient=loss_and_gradient if looked_at else None,
            redrawn=redrawn,
            batch_checksum=lambda: wish("batches", {}).get(self.where, 0),
            weights_sum=lambda: sum(weights),
            save_weights=save if looked_at else None,
            load_weights=load if looked_at else None,
            work=work if built.work is not None else None,
        )
