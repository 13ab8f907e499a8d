"""Keras 3 on JAX."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ..fingerprint import facts
from .jax import Jax, counted
from .keras import AHEAD, Batch, OnKeras, Stepper, parameters_of


class KerasOnJax(OnKeras):
    """Keras on JAX; XLA compiles the step unless told otherwise."""

    def to_host(self, variable: Any) -> Any:
        import numpy

        return numpy.asarray(variable.value)

    def lives_on(self, variable: Any) -> str:
        return "cpu" if next(iter(variable.value.devices())).platform == "cpu" else "gpu"

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self.backend, jit_compile)

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Copies are started before they are needed; JAX does not wait for them (as flax' prefetch_to_device)."""
        ready: deque[Any] = deque()
        while True:
            while len(ready) < AHEAD:
                ready.append(self._there(batch))
            yield ready.popleft()

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        jax = self.backend.jax
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
        return counted(self._step.lower(self._taken(), batch), traces, parameters)


class _Logs(dict):  # type: ignore[type-arg]
    """A step's logs, with the state that the same step computes: what waits for one waits for both."""

    def __init__(self, logs: Any, state: Any) -> None:
        super().__init__(logs)
        self.state = state
