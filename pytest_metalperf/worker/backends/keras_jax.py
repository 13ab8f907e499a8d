"""Keras 3 on JAX."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..fingerprint import facts
from .jax import Jax, counted
from .keras import Batch, Stepper, parameters_of
from .keras_stateless import OnStateless, StatelessStepper, state_of


class KerasOnJax(OnStateless):
    """Keras on JAX; XLA compiles the step unless told otherwise."""

    def to_host(self, variable: Any) -> Any:
        import numpy

        return numpy.asarray(variable.value)

    def lives_on(self, variable: Any) -> str:
        return "cpu" if next(iter(variable.value.devices())).platform == "cpu" else "gpu"

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self.backend, jit_compile)

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


class _Stepper(StatelessStepper):
    """The step jitted as Keras does it: the state's buffers are reused."""

    def __init__(self, model: Any, backend: Jax, jit_compile: bool) -> None:
        super().__init__(model, partial(backend.jax.jit, donate_argnums=0) if jit_compile else None)
        self._jax = backend.jax
        self._where = backend.where

    def _taken(self) -> Any:
        """Committed to their device as a step returns them: else XLA compiles the second step anew."""
        return self._jax.device_put(super()._taken(), self._where)

    def _logs(self, logs: Any, state: Any) -> Any:
        return _Logs(logs, state)

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
