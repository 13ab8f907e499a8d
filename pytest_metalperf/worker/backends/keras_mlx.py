"""Keras 3 on MLX, by the package keras-mlx and a Keras that takes backends from packages."""

from __future__ import annotations

from typing import Any

from ..fingerprint import facts
from .keras import Batch, Stepper, parameters_of
from .keras_stateless import OnStateless, StatelessStepper, state_of
from .mlx import Mlx


class KerasOnMlx(OnStateless):
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


class _Stepper(StatelessStepper):
    """The state is computed with each step."""

    def __init__(self, model: Any, backend: Mlx, jit_compile: bool) -> None:
        super().__init__(model, backend.mx.compile if jit_compile else None)
        self._backend = backend

    def _logs(self, logs: Any, state: Any) -> Any:
        self._backend.mx.eval(logs, state)
        return logs

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
