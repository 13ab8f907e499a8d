"""Builders of small Keras models for tests of the backends; workers import this file."""

from __future__ import annotations

import os

CLASSES = 10


def network(keras, *, extra: bool = False, dropout: float = 0.5):
    inputs = keras.Input((16, 16, 3))
    h = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    h = keras.layers.BatchNormalization()(h)
    if extra:
        h = keras.layers.Activation("softplus")(h)
    h = keras.layers.Dropout(dropout)(keras.layers.GlobalAveragePooling2D()(h))
    logits = keras.layers.Dense(CLASSES)(h)
    return inputs, keras.layers.Activation("linear", dtype="float32")(logits)


def batch(batch_size: int):
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch_size, 16, 16, 3)).astype("float32")
    return x, rng.integers(CLASSES, size=batch_size).astype("int32")


def small(batch_size: int = 8, planted: str = "", optimizer: str = "adam"):
    """A network of one convolution; `planted` changes its work."""
    import keras

    kind = {"extra": keras.Model, "": keras.Model}.get(planted) or other_model(keras, planted)
    inputs, outputs = network(keras, extra=planted == "extra")
    model = kind(inputs, outputs)
    model.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def not_for_xla(batch_size: int = 8):
    """A layer that says of itself that XLA cannot compile it."""
    import keras

    inputs = keras.Input((16, 16, 3))
    x = keras.layers.RandomRotation(0.1, name="turned")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def recurrent(batch_size: int = 8, unroll: bool = False):
    """A loop over time, or all its steps written out."""
    import keras

    inputs = keras.Input((16, 16, 3))
    h = keras.layers.LSTM(4, unroll=unroll)(keras.layers.Reshape((16, 48))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(h))
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def right_in_eager(batch_size: int = 8):
    """What a faulty GPU plugin does: a layer that is wrong in graphs alone."""
    import keras

    class Faulty(keras.layers.Layer):
        def call(self, inputs):
            import tensorflow as tf

            return inputs if tf.executing_eagerly() else 300 * inputs

    inputs, outputs = network(keras, dropout=0.0)
    model = keras.Model(inputs, Faulty()(outputs))
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def wrapped(batch_size: int = 8):
    """The same, with all but its input inside a layer that fixes `training`, as ResNet50V2's base is in fine-tuning."""
    import keras

    class Fixed(keras.layers.Wrapper):
        def call(self, inputs):
            return self.layer(inputs, training=False)

    inner = keras.Model(*network(keras))
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, Fixed(inner)(inputs))
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def other_model(keras, planted: str):
    """A model whose loss does something more: on the CPU, or with a variable that is made in the first step."""

    class Planted(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            return {"retrace": retraced, "on_cpu": on_cpu}[planted](self, loss)

    return Planted


def retraced(model, loss):
    import tensorflow as tf

    if not hasattr(model, "late"):  # TensorFlow traces a function that made a variable a second time
        model.late = tf.Variable(0.0, trainable=False)
    return loss + 0.0 * model.late


def on_cpu(model, loss):
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        of_host = tf.ensure_shape(tf.numpy_function(lambda value: value, [loss], tf.float32), [])
        return loss + 0.0 * tf.stop_gradient(of_host)
    weights = model.trainable_variables[0].value
    return loss + 0.0 * weights.detach().cpu().sum().to(loss.device)


def unbuilt(batch_size: int = 8):
    """A model without a known input: its weights are made when it sees its batch. In inference its state is used."""
    import keras

    class Inferring(keras.layers.BatchNormalization):
        """The moving statistics of the steps before: a state that is updated twice a step shows in the loss."""

        def call(self, inputs, training=None):
            super().call(inputs, training=training)
            return super().call(inputs, training=False)

    layers = [keras.layers.Conv2D(8, 3), Inferring(momentum=0.5), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def doubles(batch_size: int = 8):
    """A batch of doubles, as NumPy makes them."""
    model, (x, y) = small(batch_size)
    return model, (x.astype("float64"), y)


def too_large(batch_size: int = 8):
    """Like a model whose batch does not fit."""
    if batch_size > int(os.environ.get("FITS", "8")):
        raise MemoryError("OOM when allocating tensor with shape[1024,1024]")
    return small(batch_size)


def step_only():
    """A step instead of a model."""
    model, (x, y) = small()
    return lambda: model.train_on_batch(x, y)


def step_shown():
    """A step that shows what it trains."""
    from pytest_metalperf import Step

    model, (x, y) = small()
    return Step(lambda: model.train_on_batch(x, y), parameters=model, examples=len(x))


def half_trained(batch_size: int = 8):
    """A model whose weights lie on the CPU whatever is asked for."""
    import keras

    with keras.device("cpu:0"):
        return small(batch_size)


def draws(batch_size: int = 8):
    """Whole residuals are left out at random, which no dropout's rate turns off."""
    import keras

    class Depth(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(1)

        def call(self, x, training=False):
            kept = keras.random.uniform((keras.ops.shape(x)[0], 1), seed=self.seed) > 0.5
            return x * keras.ops.cast(kept, x.dtype) if training else x

    inputs = keras.Input((16, 16, 3))
    h = Depth()(keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(h))
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, batch(batch_size)


def stateful(batch_size: int = 8):
    """Its state goes on from batch to batch, and dropout is on: neither is a draw."""
    import keras

    inputs = keras.Input(batch_shape=(batch_size, 16, 48))
    h = keras.layers.Dropout(0.5)(keras.layers.GRU(4, stateful=True)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(h))
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = batch(batch_size)
    return model, (x.reshape(batch_size, 16, 48), y)


def several(batch_size: int = 8):
    """One call of the train function is two steps."""
    import keras

    model = keras.Model(*network(keras))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, steps_per_execution=2)
    return model, batch(batch_size)
