"""The smallest trainings that the doctor tries: the same weights and batch on every device of a framework."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

EXAMPLES = 8
CLASSES = 10
FEATURES = 32


def smallest(framework: str) -> Any:
    """What a builder would return: a Keras model where Keras trains on that framework and is installed, else a plain step."""
    takes_keras = framework != "mlx" or find_spec("keras_mlx") is not None
    if takes_keras and ("keras" in sys.modules or find_spec("keras") is not None):
        return of_keras()
    return {"torch": of_torch, "jax": of_jax, "mlx": of_mlx, "tensorflow": of_keras}[framework]()


def of_keras() -> Any:
    """A convolution, a normalisation and two dense layers."""
    import keras
    import numpy

    rng = numpy.random.default_rng(0)
    inputs = keras.Input((32, 32, 3))
    h = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(inputs)
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(h))
    h = keras.layers.Dense(16, activation="relu")(h)  # product, bias and ReLU, which plugins fuse
    logits = keras.layers.Activation("linear", dtype="float32")(keras.layers.Dense(CLASSES)(h))
    model = keras.Model(inputs, logits)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape).astype("float32"))
    x = rng.normal(size=(EXAMPLES, 32, 32, 3)).astype("float32")
    return model, (x, rng.integers(CLASSES, size=EXAMPLES).astype("int32"))


def _arrays() -> Any:
    """Weights and biases of two dense layers, a batch and its classes."""
    import numpy

    rng = numpy.random.default_rng(0)
    shapes = ((16, FEATURES), (16,), (CLASSES, 16), (CLASSES,), (EXAMPLES, FEATURES))
    arrays = [rng.normal(scale=0.3, size=shape).astype("float32") for shape in shapes]
    return arrays[:4], arrays[4], rng.integers(CLASSES, size=EXAMPLES)


def of_torch() -> Any:
    """Two dense layers in plain PyTorch."""
    import torch

    weights, x, y = _arrays()
    layers = [torch.nn.Linear(FEATURES, 16), torch.nn.ReLU(), torch.nn.Linear(16, CLASSES)]
    module = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), weights, strict=True):
            parameter.copy_(torch.as_tensor(array))
    return module, torch.optim.Adam(module.parameters()), torch.nn.functional.cross_entropy, (x, y)


def of_jax() -> Any:
    """Two dense layers in plain JAX."""
    import jax
    import jax.numpy as jnp

    weights, x, y = _arrays()

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        first, bias, second, last = weights
        logits = jax.nn.relu(x @ first.T + bias) @ second.T + last
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))

    def step_fn(state: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(state["params"], *batch)
        updated = jax.tree.map(lambda w, g: w - 0.01 * g, state["params"], gradients)
        return {"params": updated}, loss

    return step_fn, {"params": weights}, (x, y.astype("int32"))


def of_mlx() -> Any:
    """Two dense layers in MLX."""
    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optimizers

    weights, x, y = _arrays()
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    first, _, second = module.layers
    for layer, weight, bias in ((first, *weights[:2]), (second, *weights[2:])):
        layer.weight, layer.bias = mx.array(weight), mx.array(bias)

    def loss_fn(module: Any, x: Any, y: Any) -> Any:
        return nn.losses.cross_entropy(module(x), y, reduction="mean")

    return module, optimizers.Adam(1e-3), loss_fn, (x, y.astype("int32"))
