"""What the image classifiers share: ImageNet's classes, the loss, and a synthetic batch."""

from typing import Any

import keras
import numpy as np

CLASSES = 1000


def compiled_classifier(images: Any, logits: Any, *, learning_rate: float) -> keras.Model:
    """The model from `images` to `logits` (batch, classes), compiled with Adam and sparse cross-entropy from logits.

    The logits leave the model as float32 under every dtype policy, as Keras' mixed-precision guide asks for.
    """
    logits = keras.layers.Activation("linear", dtype="float32", name="float32_logits")(logits)
    model = keras.Model(images, logits)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def labelled_images(*, batch_size: int, image_size: int, low: float, high: float) -> tuple[Any, Any]:
    """The same images (batch, image_size, image_size, 3), uniform in `low` to `high`, and labels (batch,) each time."""
    rng = np.random.default_rng(0)
    images = rng.uniform(low, high, (batch_size, image_size, image_size, 3)).astype("float32")
    labels = rng.integers(CLASSES, size=batch_size, dtype="int32")
    return images, labels
