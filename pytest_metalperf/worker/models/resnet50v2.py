"""ResNet50V2 (He et al. 2016, arXiv:1603.05027), fine-tuned in the two stages of Keras' transfer-learning guide.

First a new head is trained on the frozen base (Adam, 1e-3), then the whole network (Adam, 1e-5); in both stages the base
runs in inference mode, so that its batch normalization keeps its statistics. A step costs far less in the first stage,
hence two workloads.

https://keras.io/guides/transfer_learning/
"""

from typing import Any

import keras

from ._classification import CLASSES, compiled_classifier, labelled_images


class InferenceMode(keras.layers.Wrapper):  # type: ignore[misc]
    """A layer that runs in inference mode, even where the model around it trains.

    The guide writes `base(images, training=False)`, which Keras 3 forgets when the model is called with `training=True`
    (keras-team/keras issue 20285).
    """

    def call(self, inputs: Any) -> Any:
        """What the layer makes of `inputs`."""
        return self.layer(inputs, training=False)


def whole_network(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """Second stage: every weight is trained, at a learning rate of 1e-5."""
    return _fine_tuning(batch_size, image_size, train_base=True, learning_rate=1e-5)


def head_only(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """First stage: the base is frozen, the head is trained at a learning rate of 1e-3."""
    return _fine_tuning(batch_size, image_size, train_base=False, learning_rate=1e-3)


def _fine_tuning(
    batch_size: int, image_size: int, *, train_base: bool, learning_rate: float
) -> tuple[keras.Model, tuple[Any, Any]]:
    images = keras.Input((image_size, image_size, 3))
    base = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=images.shape[1:])
    base.trainable = train_base
    features = keras.layers.GlobalAveragePooling2D()(InferenceMode(base)(images))
    logits = keras.layers.Dense(CLASSES)(features)
    model = compiled_classifier(images, logits, learning_rate=learning_rate)
    # ResNet50V2's preprocessing maps pixels to -1..1.
    return model, labelled_images(batch_size=batch_size, image_size=image_size, low=-1, high=1)
