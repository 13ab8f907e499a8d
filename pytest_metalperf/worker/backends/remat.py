"""Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) by Keras' RematScope, where it can be had.

Keras 3.15 checkpoints every layer that is made in the scope, the model itself included, and hands `training` to the
checkpoint like a tensor, which TensorFlow and JAX refuse. And a layer that updates a state of its own, such as batch
normalization while it trains, would update it twice on TensorFlow and PyTorch, and cannot be checkpointed on JAX. So
checkpoints are taken of layers without layers in them and without such a state, with `training` fixed. What a layer is
given is kept, what it makes of it on the way to its output is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SCOPES = ("stateless_scope", "autocast_scope")
"""What Keras knows of a forward pass, the weights and their precision: the second pass must have the same."""
FIXED = (bool, int, float, str, type(None))


def settle(model: Any, remat: Callable[..., Any]) -> int:
    """Checkpoint what can be, of the layers of `model` that were made in a RematScope. Returns how many.

    To be called before a model is built, and again when it is: only then is it known which layers have a state.

    Args:
        model: a `keras.Model`.
        remat: `keras.remat`.
    """
    count = 0
    for layer in model._flatten_layers():
        inside = list(layer._flatten_layers(include_self=False))
        stateful = bool(layer.non_trainable_variables) and layer.trainable
        if inside or stateful or _draws(layer) or layer._remat_mode is None:
            layer._remat_mode = None
        else:
            layer.rematerialized_call = _checkpointed(remat)
            count += 1
        for operation in getattr(layer, "operations", ()):
            if not hasattr(operation, "_flatten_layers"):
                operation._remat_mode = None  # a function of `keras.ops`, whose arguments may be no tensors
    return count


def _set(global_state: Any, scopes: dict[str, Any]) -> None:
    for key, scope in scopes.items():
        global_state.set_global_attribute(key, scope)


def _draws(layer: Any) -> bool:
    return getattr(layer, "seed_generator", None) is not None


def _checkpointed(remat: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of a layer's `rematerialized_call`."""
    from keras.src.backend.common import global_state

    def rematerialized_call(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Callable[..., Any]:  # noqa: ARG001
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            scopes = {key: global_state.get_global_attribute(key) for key in SCOPES}
            fixed = {key: value for key, value in keywords.items() if isinstance(value, FIXED)}
            moving = {key: value for key, value in keywords.items() if key not in fixed}

            def inner(*tensors: Any) -> Any:
                given = iter(tensors)
                again = [next(given) if not isinstance(argument, FIXED) else argument for argument in arguments]
                now = {key: global_state.get_global_attribute(key) for key in SCOPES}
                _set(global_state, scopes)
                try:
                    return call(*again, **fixed, **dict(zip(moving, given, strict=True)))
                finally:
                    _set(global_state, now)

            return remat(inner)(*(a for a in arguments if not isinstance(a, FIXED)), *moving.values())

        return wrapped

    return rematerialized_call
