"""Keras 3 on MLX, by the package keras-mlx and a Keras that takes backends from packages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..fingerprint import facts
from .keras import AHEAD, Batch, OnKeras, Stepper, parameters_of
from .mlx import Mlx


class KerasOnMlx(OnKeras):
    """Keras on MLX; `mx.compile` compiles the step where `jit_compile` asks for it."""

    remats = False  # what batch normalization has seen is updated twice under keras-mlx 0.0.1

    def to_host(self, variable: Any) -> Any:
        import numpy

        value = variable.value  # NumPy knows no bfloat16
        return numpy.array(value.astype(self.backend.mx.float32) if "bfloat16" in str(value.dtype) else value)

    def lives_on(self, variable: Any) -> str:
        place: str = self.backend.where_is(variable.value)
        return place.partition(":")[0]

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self.backend, jit_compile)

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Copies are made before they are needed; Apple's memory is one, so a copy is all there is to do."""
        ready: deque[Any] = deque()
        while True:
            while len(ready) < AHEAD:
                ready.append(self._there(batch))
            yield ready.popleft()

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        mx = self.backend.mx
        x, y, weight = [*batch, None, None][:3]
        trained, others, optimizer, metrics = state_of(model)

        def scaled(trained: Any) -> Any:
            _, loss, *_ = model.compute_loss_and_updates(
                trained, others, metrics, x, y, weight, training=True, optimizer_variables=optimizer
            )
            return loss * scale, loss

        (_, loss), gradients = mx.value_and_grad(scaled)(trained)
        return float(loss.item()), self.backend.squares(gradients)


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
    """Keras' stateless train step, whose state is handed from step to step and computed with it, as `fit` does it.

    `train_on_batch` would copy all of it into the variables and out again each time.
    """

    def __init__(self, model: Any, backend: Mlx, jit_compile: bool) -> None:
        super().__init__(model)
        self._backend = backend
        self._compiled = jit_compile
        self._state: Any = None
        self._calls = int(getattr(model, "steps_per_execution", 1) or 1)
        self._step: Any = backend.mx.compile(self.train_step) if jit_compile else self.train_step

    def __call__(self, batches: Iterator[Any]) -> Any:
        state = self._state if self._state is not None else state_of(self.model)
        for _ in range(self._calls):
            logs, state = self._step(state, next(batches))
        self._state = state
        self._backend.mx.eval(logs, state)
        return logs

    def release(self) -> None:
        if self._state is None:
            return
        for variables, values in zip(variables_of(self.model), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._state = None

    def work(self, batch: Batch) -> dict[str, Any]:
        """The graph of one more step before anything of it is computed; a compiled one hides its operations."""
        parameters, traces = parameters_of(self.model), self.traces
        self.release()
        products = self._backend.products_of(lambda: self.train_step(state_of(self.model), batch))
        known: dict[str, Any] = {"flop": products.flop or None, "arithmetic": products.arithmetic}
        if self._compiled:
            return facts(**known, traces=traces, parameters=parameters)
        graph = self._backend.graph(*self._backend.leaves(self.train_step(state_of(self.model), batch)))
        return facts(**known, operations=graph, parameters=parameters)
