"""`Step`: a training step of the user's own, and what it may show of itself; what a builder returns instead of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Step:
    """A step that trains, in whatever framework: `return Step(step, parameters=model, examples=64)`.

    Only `run` must be there. What is missing is not checked, and the session's last lines say so.

    Attributes:
        run: trains once, without arguments, and returns its loss, a value on the device (or several, in a dict or tuple).
        parameters: what is trained: a module, an optimizer, arrays in dicts, lists and tuples, or a function without arguments
            that returns such. JAX and MLX put new arrays into the place of old ones: there it must show them, as a
            function, a module, or the list that the step keeps its state in. It gives the check of place, of precision and of
            weights that change, the number of parameters, and the wait for the whole state.
        examples: in one batch; by default the axis `batch_size`, where there is one.
        loss_and_gradient: computes the loss of the batch and the norm of its gradient, with dropout off, and trains nothing:
            with it a `metal_speedup` checks that both sides compute the same.
        program: a function that `jax.jit` made and the arguments that it is called with, `(update, state, batch)`: what JAX'
            fingerprint is of.
    """

    run: Callable[[], Any]
    parameters: Any = None
    examples: int | None = None
    loss_and_gradient: Callable[[], tuple[Any, Any]] | None = None
    program: Sequence[Any] | None = None
