"""DenseNet121 (Huang et al. 2017, arXiv:1608.06993), trained from scratch with Adam at 1e-3.

The network is Keras Applications' own, with 1000 classes. It has few parameters for its many variables (364 to train),
so it is the first to show what an optimizer costs beyond arithmetic. The paper trains with SGD; Adam at its default
rate is Keras' usual start.

https://keras.io/api/applications/densenet/
"""

from typing import Any

import keras

from ._classification import compiled_classifier, labelled_images


def densenet121(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """DenseNet121, 8.1 million parameters."""
    network = keras.applications.DenseNet121(
        weights=None, classifier_activation=None, input_shape=(image_size, image_size, 3)
    )
    model = compiled_classifier(network.input, network.output, learning_rate=1e-3)
    # Uniform with mean 0 and variance 1, as DenseNet's preprocessing leaves photographs on average.
    return model, labelled_images(batch_size=batch_size, image_size=image_size, low=-(3**0.5), high=3**0.5)
