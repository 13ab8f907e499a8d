"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), Large and Small, trained from scratch with Adam at 1e-3.

The networks are Keras Applications' own, with their default top: dropout 0.2 and 1000 classes. They contain their
preprocessing, so they take pixels of 0..255. The paper trains with RMSProp on many accelerators; Adam at its default
rate is Keras' usual start.

https://keras.io/api/applications/mobilenet/
"""

from collections.abc import Callable
from typing import Any

import keras

from ._classification import compiled_classifier, labelled_images


def large(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """MobileNetV3Large, 5.5 million parameters."""
    return _from_scratch(keras.applications.MobileNetV3Large, batch_size, image_size)


def small(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """MobileNetV3Small, 2.6 million parameters."""
    return _from_scratch(keras.applications.MobileNetV3Small, batch_size, image_size)


def _from_scratch(
    application: Callable[..., Any], batch_size: int, image_size: int
) -> tuple[keras.Model, tuple[Any, Any]]:
    network = application(weights=None, classifier_activation=None, input_shape=(image_size, image_size, 3))
    model = compiled_classifier(network.input, network.output, learning_rate=1e-3)
    return model, labelled_images(batch_size=batch_size, image_size=image_size, low=0, high=255)
