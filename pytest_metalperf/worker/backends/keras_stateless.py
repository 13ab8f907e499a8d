"""Keras' stateless train step, of backends whose arrays are replaced and not changed: JAX and MLX."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .keras import AHEAD, Batch, OnKeras, Stepper


class OnStateless(OnKeras):
    """What Keras' side of such backends shares."""

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Copies are started before they are needed; nobody waits for them (as flax' prefetch_to_device)."""
        ready: deque[Any] = deque()
        while True:
            while len(ready) < AHEAD:
                ready.append(self._there(batch))
            yield ready.popleft()


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


class StatelessStepper(Stepper):
    """Hands the state from step to step, as `fit` does it.

    `train_on_batch` would copy all of it into the variables and out again each time.
    """

    def __init__(self, model: Any, compiled: Callable[[Callable[..., Any]], Any] | None) -> None:
        """`compiled` makes of the train step what the framework compiles; None leaves it as it is."""
        super().__init__(model)
        self._compiled = compiled is not None
        self._state: Any = None
        self._calls = int(getattr(model, "steps_per_execution", 1) or 1)
        self._step: Any = self.train_step if compiled is None else compiled(self.train_step)

    def __call__(self, batches: Iterator[Any]) -> Any:
        state = self._state if self._state is not None else self._taken()
        for _ in range(self._calls):
            logs, state = self._step(state, next(batches))
        self._state = state
        return self._logs(logs, state)

    def _taken(self) -> Any:
        """The state that the variables hold."""
        return state_of(self.model)

    def _logs(self, logs: Any, state: Any) -> Any:
        """The logs, in a form with which the state is waited for."""
        raise NotImplementedError

    def release(self) -> None:
        if self._state is None:
            return
        for variables, values in zip(variables_of(self.model), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._state = None
