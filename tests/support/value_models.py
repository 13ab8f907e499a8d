"""Builders whose batches, losses, optimizers and dtypes are all that `fit` takes, or what it must not take.

    python value_models.py BACKEND

trains each in this process as a worker does, and prints what came of it, as JSON by the builder's name.
"""

from __future__ import annotations

import json
import sys

BATCH = 8


def arrays(*shape, seed=0):
    import numpy as np

    return np.random.default_rng(seed).random((BATCH, *shape)).astype("float32")


def ones():
    import numpy as np

    return np.ones((BATCH, 1), "float32")


def dense(keras, **options):
    return keras.Sequential([keras.Input((16,)), keras.layers.Dense(1, **options)])


# what must train


def own_step_without_call():
    import keras

    class Halves(keras.Model):
        def __init__(self):
            super().__init__()
            self.down = keras.Sequential([keras.Input((16,)), keras.layers.Dense(4)])
            self.up = keras.Sequential([keras.Input((4,)), keras.layers.Dense(16)])

        def train_step(self, data):
            x = data[0] if isinstance(data, tuple) else data
            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                with tf.GradientTape() as tape:
                    loss = keras.ops.mean(keras.ops.square(self.up(self.down(x)) - x))
                gradients = tape.gradient(loss, self.trainable_weights)
            else:
                self.zero_grad()
                loss = keras.ops.mean(keras.ops.square(self.up(self.down(x)) - x))
                loss.backward()
                gradients = [weight.value.grad for weight in self.trainable_weights]
                loss = loss.detach()
            if keras.backend.backend() == "torch":
                import torch

                with torch.no_grad():
                    self.optimizer.apply(gradients, self.trainable_weights)
            else:
                self.optimizer.apply(gradients, self.trainable_weights)
            return {"loss": loss}

    model = Halves()
    model.compile(optimizer="adam")
    return model, (arrays(16),)


def unused_optimizer():
    """As GANs do: `compile` has its own optimizer, which nothing uses; another one trains."""
    import keras

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = dense(keras)
            self.own = keras.optimizers.SGD(0.01)

        def call(self, x, training=False):
            return self.net(x)

        def train_step(self, data):
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(self.net(x) - y))
            self.own.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return {"d_loss": loss}

    model = Own()
    model.compile(optimizer="rmsprop")
    return model, (arrays(16), ones())


def accumulated(steps):
    import keras

    model = dense(keras)
    model.compile(keras.optimizers.Adam(1e-2, gradient_accumulation_steps=steps), "mse")
    return model, (arrays(16), ones())


def accumulates_4():
    return accumulated(4)


def accumulates_32():
    return accumulated(32)


def bfloat16_layer():
    import keras

    model = keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(8, dtype="bfloat16"), keras.layers.Dense(1, dtype="float32")]
    )
    model.compile("sgd", "mse")
    return model, (arrays(16), ones())


def two_inputs(kind):
    import keras

    a, b = keras.Input((16,), name="a"), keras.Input((4,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    model = keras.Model([a, b], [keras.layers.Dense(1, name="p")(joined), keras.layers.Dense(2, name="q")(joined)])
    model.compile("sgd", {"p": "mse", "q": "mae"} if kind is dict else ["mse", "mae"])
    x, y = {"a": arrays(16), "b": arrays(4)}, {"p": ones(), "q": arrays(2)}
    if kind is not dict:
        x, y = kind(x.values()), kind(y.values())
    return model, (x, y)


def inputs_in_a_list():
    return two_inputs(list)


def inputs_in_a_tuple():
    return two_inputs(tuple)


def sample_weights():
    import keras

    model = dense(keras)
    model.compile("sgd", "mse")
    return model, (arrays(16), ones(), arrays().reshape(-1))


def recurrent_and_stateful():
    import keras

    model = keras.Sequential(
        [
            keras.Input(batch_shape=(BATCH, 5, 3)),
            keras.layers.GRU(4, stateful=True),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model, (arrays(5, 3), ones())


def moving_average():
    import keras

    model = dense(keras)
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True, ema_overwrite_frequency=5), "mse")
    return model, (arrays(16), ones())


def added_loss():
    import keras

    class Penalty(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.mean(x**2))
            return x

    inputs = keras.Input((16,))
    model = keras.Model(inputs, keras.layers.Dense(1)(Penalty()(keras.layers.Dense(4)(inputs))))
    model.compile("adam", "mse", metrics=["mae"])
    return model, (arrays(16), ones())


def losses_with_weights():
    model, batch = two_inputs(dict)
    model.compile("sgd", {"p": "mse", "q": "mae"}, loss_weights={"p": 0.1, "q": 2.0})
    return model, batch


def one_loss_of_two():
    model, batch = two_inputs(dict)
    model.compile("sgd", {"p": "mse", "q": None})
    return model, batch


def no_target():
    import keras

    class Rebuilds(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(16)

        def call(self, x):
            out = self.dense(x)
            self.add_loss(keras.ops.mean((out - x) ** 2))
            return out

    model = Rebuilds()
    model.compile("sgd")
    return model, (arrays(16),)


def dicts_in_dicts():
    import keras

    a, b = keras.Input((16,)), keras.Input((4,))
    model = keras.Model({"u": {"v": a}, "w": b}, keras.layers.Dense(1)(keras.layers.Concatenate()([a, b])))
    model.compile("sgd", "mse")
    return model, ({"u": {"v": arrays(16)}, "w": arrays(4)}, ones())


def run_eagerly():
    import keras

    model = dense(keras)
    model.compile("sgd", "mse", run_eagerly=True)
    return model, (arrays(16).astype("float64"), ones().astype("int64"))


# what must not


def mostly_float32():
    import keras

    layers = [keras.Input((16,)), keras.layers.Dense(512, dtype="float32"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    return model, (arrays(16), ones())


def diverges_behind_a_metric():
    import keras

    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e20), "mse", metrics=["accuracy"])
    return model, (arrays(16), ones())


def second_log_is_nan():
    import keras

    class Two(keras.Model):
        def train_step(self, *arguments):
            out = super().train_step(*arguments)
            logs = {"d_loss": keras.ops.ones(()), "g_loss": keras.ops.log(-keras.ops.ones(()))}
            return (logs, out[1]) if isinstance(out, tuple) else logs

    inputs = keras.Input((16,))
    model = Two(inputs, keras.layers.Dense(1)(inputs))
    model.compile("adam", "mse")
    return model, (arrays(16), ones())


def weights_go_to_nan_behind_a_masked_loss():
    import keras

    class Masked(keras.losses.Loss):
        def call(self, y_true, y_pred):
            loss = keras.ops.square(y_true - y_pred)
            return keras.ops.where(keras.ops.isfinite(loss), loss, keras.ops.zeros_like(loss))

    model = dense(keras)
    model.compile(keras.optimizers.SGD(1e30), Masked())
    return model, (arrays(16) * 1e10, ones())


def bare_step_reports_nan():
    turn = iter(range(10**9))

    def step():
        return {"loss": 1.0, "logs": [0.5, {"norm": float("nan") if next(turn) > 4 else 1.0}]}

    return step


def a_dataset():
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return arrays(16), ones()

    model = dense(keras)
    model.compile("sgd", "mse")
    return model, Batches()


def a_generator():
    import keras

    model = dense(keras)
    model.compile("sgd", "mse")
    return model, ((arrays(16), ones()) for _ in range(9))


def lists_of_numbers():
    import keras

    model = dense(keras)
    model.compile("sgd", "mse")
    return model, ([[0.5] * 16] * BATCH, [[1.0]] * BATCH)


def nothing_to_train():
    import keras

    model = dense(keras)
    model.trainable = False
    model.compile("sgd", "mse")
    return model, (arrays(16), ones())


def learning_rate_0():
    import keras

    model = dense(keras)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model, (arrays(16), ones())


def a_loss_of_each_example():
    import numpy as np

    return lambda: {"loss": np.array([1.0, np.inf])}


def a_coroutine():
    async def step():
        return 1.0

    return step


def sparse():
    import keras
    import scipy.sparse

    model = dense(keras)
    model.compile("sgd", "mse")
    return model, (scipy.sparse.csr_matrix(arrays(16)), ones())


class Keras2Model:
    """What tf_keras' models look like from outside."""


Keras2Model.__module__ = "tf_keras.src.engine.sequential"


def keras_2():
    return Keras2Model(), (arrays(16), ones())


TRAIN = (
    own_step_without_call, accumulates_4, accumulates_32, bfloat16_layer, inputs_in_a_list, inputs_in_a_tuple,
    sample_weights, recurrent_and_stateful, moving_average, added_loss, losses_with_weights, one_loss_of_two, no_target,
    dicts_in_dicts, run_eagerly,
)  # fmt: skip
REFUSED = {
    diverges_behind_a_metric: "the loss became",
    second_log_is_nan: "`g_loss`, which the step reports, became nan in the first batch",
    weights_go_to_nan_behind_a_masked_loss: "weights of weights_go_to_nan_behind_a_masked_loss are no longer finite",
    bare_step_reports_nan: "`logs.1.norm`, which the step reports, became nan in batch",
    a_dataset: "returned a Batches, which yields batches; return one of them, `model, (x, y)`",
    a_generator: "returned a generator, which yields batches; return one of them, `model, (x, y)`",
    lists_of_numbers: "lists_of_numbers cannot train on its batch, x [[(), (), ",
    nothing_to_train: "nothing_to_train has no trainable weights: there is nothing to train",
    learning_rate_0: "none of the 2 trainable weights of learning_rate_0 changed while warming up",
    a_loss_of_each_example: "the loss became inf in the first batch",
    a_coroutine: "the step returned a coroutine, which is no number and no device value",
    sparse: "holds a csr_matrix, which would be made dense",
    keras_2: "returned a model of Keras 2 (tf_keras)",
}


def outcome(backend, builder, **axes):
    """`trained`, with what was learned of it, or the sentence that refuses it."""
    from pytest_metalperf.worker.problems import Problem
    from pytest_metalperf.worker.serve import Job

    job = Job(lambda message: None)
    source = {"kind": "import", "module": "value_models", "file": __file__, "name": builder.__name__}
    try:
        found = job.prepare(backend, source, builder.__name__, "cpu", axes, 0, {})
        job.first_batch()
        changed = job.warm_up(3)
        job.measure(5, 2, 0.0)
        job.finish()
    except Problem as problem:
        return problem.message
    return f"trained {found['parameters']} {changed['changed_variables']}"


def main(backend):
    builders = [*TRAIN, *REFUSED]
    if backend == "jax":  # its step is a function of state: Keras' own is the only one that can be overridden so
        builders.remove(own_step_without_call)
    found = {builder.__name__: outcome(backend, builder) for builder in builders}
    for kind in ("host", "pipeline"):
        found[f"dict {kind}"] = outcome(backend, inputs_in_a_list, input=kind)
    found["half"] = outcome(backend, bfloat16_layer, precision="mixed_float16")
    found["mostly float32"] = outcome(backend, mostly_float32, precision="mixed_float16")
    found["half of a step"] = outcome(backend, bare_step_reports_nan, precision="mixed_float16")
    if backend == "tensorflow":
        found["unused"] = outcome(backend, unused_optimizer)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
