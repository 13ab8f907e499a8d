"""Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) by Keras' `remat`, where it can be had.

Keras' own RematScope (3.15) checkpoints every layer that is made in it, the model itself included, and hands `training` to
the checkpoint like a tensor, which TensorFlow and JAX refuse. And a layer that updates a state of its own, such as batch
normalization while it trains, would update it twice on TensorFlow and PyTorch, and cannot be checkpointed on JAX. So the
model is made without a scope, and then checkpoints are taken of its layers without layers in them and without such a state,
with `training` fixed. What a layer is given is kept, what it makes of it on the way to its output is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..problems import Problem

SCOPES = ("stateless_scope", "autocast_scope")
"""What Keras knows of a forward pass, the weights and their precision: the second pass must have the same."""
FIXED = (bool, int, float, str, type(None))


def checkpoint(model: Any, keras: Any) -> int:
    """Checkpoint what can be, of the layers of a built `keras.Model`. Returns how many.

    Raises:
        Problem: of kind ``backend``, where Keras cannot do it yet.
    """
    if not hasattr(keras, "RematScope"):
        raise Problem("backend", f"remat needs keras.RematScope, which Keras {keras.__version__} has not yet")
    with keras.RematScope(mode="full"):
        mode = keras.layers.Identity()._remat_mode
    layers = list(model._flatten_layers())
    for part in (part for layer in layers for part in (layer, *getattr(layer, "operations", ()))):
        part._remat_mode = None  # a scope of the builder's own may have set it, where it cannot be too
    count = 0
    for layer in layers:
        inside = list(layer._flatten_layers(include_self=False))
        stateful = bool(layer.non_trainable_variables) and layer.trainable
        if inside or stateful or getattr(layer, "seed_generator", None) is not None:
            continue
        layer._remat_mode, layer.rematerialized_call = mode, _checkpointed(keras.remat)
        count += 1
    return count


def _set(global_state: Any, scopes: dict[str, Any]) -> None:
    for key, scope in scopes.items():
        global_state.set_global_attribute(key, scope)


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
