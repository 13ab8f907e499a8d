"""JAX with Keras 3, on CPU, CUDA GPUs, and Apple's by jax-mps or metaljax; XLA compiles the step unless told otherwise."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..fingerprint import facts
from . import process_peak_memory, stablehlo
from .keras import AHEAD, Batch, KerasBackend, Stepper, named, parameters_of


class Jax(KerasBackend):
    """Keras on JAX."""

    framework = "jax"
    called = "JAX"
    install = "jax"
    packages = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "jax-metal", "jax-mps", "metaljax")

    def import_framework(self) -> None:
        # memory as needed, as the other side of a pair may need some too; the allocator stays the same
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        self.jax = jax

    def versions(self) -> dict[str, str]:
        return {"jax": str(self.jax.__version__), **super().versions()}

    def gpus(self) -> list[Any]:
        return [device for device in self.jax.devices() if device.platform != "cpu"]

    def devices(self) -> dict[str, str]:
        return named(str(device.device_kind) for device in self.gpus())

    def why_no_gpu(self) -> str:
        if platform.system() != "Darwin":
            return ": pip install 'jax[cuda12]' where there is an NVIDIA GPU"
        versions = self.versions()
        if "jax-mps" in versions:  # JAX' default where it loads
            return (
                f": jax-mps {versions['jax-mps']} is there, and does not load with jaxlib {versions.get('jaxlib', '')}"
            )
        if "metaljax" in versions:
            return ": metaljax is there, and trains where JAX_PLATFORMS=metal is set"
        return ": pip install jax-mps, whose release must fit this jaxlib"

    def hide(self, device: str) -> None:
        super().hide(device)
        if device == "cpu":
            self.jax.config.update("jax_platforms", "cpu")  # before anything looks for devices

    def device_object(self, device: str) -> Any:  # noqa: ARG002
        return self.where

    def where_is(self, value: Any) -> str:
        if not isinstance(value, self.jax.Array) or isinstance(value, self.jax.core.Tracer):
            return ""
        gpus = self.gpus()
        names = list(named(map(str, gpus)))
        # of its sharding: an array whose buffers a step has taken over (donate_argnums) tells nothing of devices itself
        found = {d: "cpu" if d.platform == "cpu" else names[1 + gpus.index(d)] for d in value.sharding.device_set}
        return " and ".join(sorted(set(found.values())))

    def make_default(self, index: int) -> None:
        if self.device == "cpu":
            self.where = self.jax.devices()[0]
        else:
            self.where = self.gpus()[index]
        self.jax.config.update("jax_default_device", self.where)

    def fence(self, outputs: Any) -> float:
        value = super().fence(outputs)
        self.jax.block_until_ready(getattr(outputs, "state", None))
        return value

    def to_device(self, leaf: Any) -> Any:
        return self.jax.device_put(leaf, self.where)

    def to_host(self, variable: Any) -> Any:
        import numpy

        return numpy.asarray(variable.value)

    def lives_on(self, variable: Any) -> str:
        return "cpu" if next(iter(variable.value.devices())).platform == "cpu" else "gpu"

    def try_jit(self) -> None:
        float(self.jax.jit(lambda a: (a @ a).sum())(self.jax.numpy.ones((8, 8))))

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self, jit_compile)

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Copies are started before they are needed; JAX does not wait for them (as flax' prefetch_to_device)."""
        ready: deque[Any] = deque()
        while True:
            while len(ready) < AHEAD:
                ready.append(self._there(batch))
            yield ready.popleft()

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        jax = self.jax
        x, y, weight = [*batch, None, None][:3]

        def scaled(trained: Any, rest: Any, x: Any, y: Any, weight: Any) -> Any:
            others, optimizer, metrics = rest
            _, (loss, *_) = model.compute_loss_and_updates(
                trained, others, metrics, x, y, weight, training=True, optimizer_variables=optimizer
            )
            return loss * scale, loss

        def gradient(*arguments: Any) -> Any:
            gradients, loss = jax.grad(scaled, has_aux=True)(*arguments)
            return loss, sum(jax.numpy.sum(jax.numpy.square(g.astype("float32"))) for g in gradients)

        trained, *rest = state_of(model)
        loss, squares = jax.jit(gradient)(trained, rest, x, y, weight)
        return float(loss), float(squares)

    def peak_memory(self) -> int | None:
        if self.device == "cpu":
            return process_peak_memory()
        peak = (self.where.memory_stats() or {}).get("peak_bytes_in_use")
        return int(peak) if peak else None


def variables_of(model: Any) -> tuple[Any, ...]:
    """The variables that Keras' stateless train step takes and returns, in its order."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def state_of(model: Any) -> tuple[list[Any], ...]:
    """Their values."""
    return tuple([variable.value for variable in variables] for variables in variables_of(model))


class _Stepper(Stepper):
    """Keras' stateless train step, jitted as Keras does it: the state is handed from step to step, its buffers reused.

    `train_on_batch` would copy all of it into the variables and out again each time.
    """

    def __init__(self, model: Any, backend: Jax, jit_compile: bool) -> None:
        super().__init__(model)
        self._jax = backend.jax
        self._where = backend.where
        self._compiled = jit_compile
        self._state: Any = None
        self._calls = int(getattr(model, "steps_per_execution", 1) or 1)
        self._step: Any = backend.jax.jit(self.train_step, donate_argnums=0) if jit_compile else self.train_step

    def __call__(self, batches: Iterator[Any]) -> Any:
        state = self._state if self._state is not None else self._taken()
        for _ in range(self._calls):
            logs, state = self._step(state, next(batches))
        self._state = state
        return _Logs(logs, state)

    def _taken(self) -> Any:
        """The variables' values, committed to their device as a step returns them: else XLA compiles the second step anew."""
        return self._jax.device_put(state_of(self.model), self._where)

    def release(self) -> None:
        if self._state is None:
            return
        for variables, values in zip(variables_of(self.model), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._state = None

    def work(self, batch: Batch) -> dict[str, Any]:
        """From the program as it was traced: what XLA makes of it differs with what its autotuner finds."""
        parameters = parameters_of(self.model)
        if not self._compiled:
            return facts(parameters=parameters)
        traces = self.traces
        self.release()
        lowered = self._step.lower(self._taken(), batch)
        found = stablehlo.counted(lowered.compiler_ir("stablehlo"))
        return facts(
            operations=found.operations,
            flop=None if found.unknown else found.flop or None,
            traces=traces,
            parameters=parameters,
        )


class _Logs(dict):  # type: ignore[type-arg]
    """A step's logs, with the state that the same step computes: what waits for one waits for both."""

    def __init__(self, logs: Any, state: Any) -> None:
        super().__init__(logs)
        self.state = state
