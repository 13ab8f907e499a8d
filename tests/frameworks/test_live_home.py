"""What a `metal_live` step's own objects show: their framework, and the device of their weights."""

from __future__ import annotations

from functools import partial

import pytest

from pytest_metalperf.measure.home import home_of


class Trainer:
    """As people write them: the model is an attribute, the step a method."""

    def __init__(self, model) -> None:
        self.model = model
        self.loaders = {"train": [1.0, 2.0]}

    def step(self) -> float:
        return float(self.model is not None)


@pytest.mark.torch
def test_torch_modules_show_pytorch_and_the_cpu():
    import torch

    model = torch.nn.Linear(2, 1)
    batch = torch.ones(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in (
        lambda: model(batch).sum(),
        Trainer(model).step,
        partial(model.forward, batch),
        lambda: optimizer.step(),
        lambda: [lambda: torch.relu(batch)][0](),
    ):
        assert home_of(step) == ("torch", "cpu")


@pytest.mark.torch
def test_a_model_on_another_device_than_its_batch_names_the_model_s():
    import torch

    model, batch = torch.nn.Linear(2, 1, device="meta"), torch.ones(3, 2)
    assert home_of(lambda: model(batch)) == ("torch", "")  # `meta` is no device that trains


@pytest.mark.torch
def test_a_module_alone_shows_the_framework_only():
    import torch

    assert home_of(lambda: torch.ones(2).sum()) == ("torch", "")


@pytest.mark.jax
def test_jax_arrays_show_jax_and_the_cpu():
    import jax
    import jax.numpy as jnp

    state = {"params": {"w": jnp.ones(3)}}
    update = jax.jit(lambda w: w * 2)

    def step():
        state["params"]["w"] = update(state["params"]["w"])
        return state["params"]["w"].sum()

    assert home_of(step) == ("jax", "cpu")


@pytest.mark.tensorflow
def test_tensorflow_variables_show_tensorflow_and_the_cpu():
    import tensorflow as tf

    weights = tf.Variable([1.0, 2.0])
    compiled = tf.function(lambda: tf.reduce_sum(weights))
    assert home_of(lambda: (compiled(), weights)) == ("tensorflow", "cpu")


@pytest.mark.tensorflow
def test_a_keras_model_shows_its_backend_and_where_its_weights_are():
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert home_of(lambda: model.train_on_batch(None, None)) == (keras.backend.backend(), "cpu")
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    assert home_of(lambda: unbuilt.train_on_batch(None, None)) == (keras.backend.backend(), "")


def test_a_step_that_shows_nothing_is_not_guessed():
    hoard = list(range(100_000))
    loop: list = []
    loop.append(loop)
    assert home_of(lambda: float(len(hoard) + len(loop))) == ("", "")
    assert home_of(float) == ("", "")


@pytest.mark.torch
@pytest.mark.jax
def test_two_frameworks_in_one_step_are_not_guessed():
    import jax.numpy as jnp
    import torch

    one, other = torch.ones(2), jnp.ones(2)
    assert home_of(lambda: float(one.sum()) + float(other.sum())) == ("", "")
