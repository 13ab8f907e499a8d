"""Builders for the commands of this folder: a stack of dense layers, whose step is as long as the stack is deep."""

from __future__ import annotations

from typing import Any


def dense(depth: int = 20, width: int = 4096, batch_size: int = 4096) -> Any:
    """A Keras model of `depth` equal layers and its batch, trained by gradient descent: nearly all of it products."""
    import keras
    import numpy as np

    inputs = h = keras.Input((width,))
    for _ in range(depth):
        h = keras.layers.Dense(width, kernel_initializer="orthogonal", use_bias=False)(h)
    model = keras.Model(inputs, h)
    model.compile(keras.optimizers.SGD(1e-6), loss="mse")
    x = np.random.default_rng(0).normal(size=(batch_size, width)).astype("float32")
    return model, (x, x)
