"""Style transfer by a feed-forward network, trained on a perceptual loss (Johnson et al. 2016, arXiv:1603.08155).

Network and settings are the authors' (paper, supplement and the defaults of their code): five residual blocks of 128
channels, output 150 tanh, content at relu3_3 and style at relu1_2, relu2_2, relu3_3 and relu4_3 of VGG16, weights 1
and 5, total variation 1e-6, Adam at 1e-3, batches of four images of 256 pixels; with instance normalization (Ulyanov
et al. 2016, arXiv:1607.08022), which their code adopted. Where they reflect 40 pixels around the image and then lose
them in unpadded convolutions, every convolution here pads with zeros.

Gram matrices are a reshape and a matrix product, and upsampling is a transposed convolution, as in the authors' code:
Metal has no kernels for Einsum and for resizing to the nearest neighbour, which would be measured on the CPU.

https://github.com/jcjohnson/fast-neural-style
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

CONTENT_WEIGHT = 1.0
STYLE_WEIGHT = 5.0
TOTAL_VARIATION_WEIGHT = 1e-6

STYLE_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3")
CONTENT_LAYER = STYLE_LAYERS.index("block3_conv3")


def style_transfer(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """The network, which learns the style of one image, and as `x` one batch of images to restyle; `y` is None.

    Images are as VGG16 takes them: pixels less ImageNet's mean, about -128..127.
    """
    images = np.random.default_rng(0).uniform(-128, 127, (1 + batch_size, image_size, image_size, 3)).astype("float32")
    style, x = images[:1], images[1:]
    model = StyleTransfer(image_size, style)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    return model, (x, None)


class StyleTransfer(keras.Model):  # type: ignore[misc]
    """A network from images to images in the style of `style` (1, image_size, image_size, 3)."""

    def __init__(self, image_size: int, style: Any) -> None:
        super().__init__()
        self.network = style_network(image_size)
        self.features = vgg_features(image_size)
        # Variables, not constants: a constant would be copied into the graph, or to the device in every step.
        self.style_grams = [
            keras.Variable(gram_matrix(feature), trainable=False, name="style_gram") for feature in self.features(style)
        ]
        self.built = True  # all other variables are in the two networks, and those are built

    def call(self, x: Any) -> Any:
        """The images `x`, restyled."""
        return self.network(x)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:  # noqa: ARG002
        """The perceptual loss of the restyled images `y_pred` made of `x`."""
        features = self.features(y_pred)
        content = squared_distance(features[CONTENT_LAYER], self.features(x)[CONTENT_LAYER])
        style = sum(
            squared_distance(gram_matrix(feature), gram)
            for feature, gram in zip(features, self.style_grams, strict=True)
        )
        return CONTENT_WEIGHT * content + STYLE_WEIGHT * style + TOTAL_VARIATION_WEIGHT * total_variation(y_pred)


def squared_distance(a: Any, b: Any) -> Any:
    """The mean over all values, in float32."""
    return ops.mean(ops.square(ops.cast(a, "float32") - ops.cast(b, "float32")))


def gram_matrix(feature: Any) -> Any:
    """How the channels of `feature` (batch, height, width, channels) go together: float32 (batch, channels, channels).

    Divided by height, width and channels, as in the paper.
    """
    _, height, width, channels = feature.shape
    # A sum over all positions, of squares: half precision overflows.
    vectors = ops.reshape(ops.cast(feature, "float32"), (-1, height * width, channels))
    return ops.matmul(ops.transpose(vectors, (0, 2, 1)), vectors) / (height * width * channels)


def total_variation(images: Any) -> Any:
    """The squared differences between neighbouring pixels, summed over the image; the mean over the batch."""
    down = ops.square(images[:, 1:] - images[:, :-1])
    right = ops.square(images[:, :, 1:] - images[:, :, :-1])
    return ops.mean(ops.sum(down, axis=(1, 2, 3)) + ops.sum(right, axis=(1, 2, 3)))


def vgg_features(image_size: int) -> keras.Model:
    """VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556), frozen, up to the last of `STYLE_LAYERS`."""
    vgg = keras.applications.VGG16(weights=None, include_top=False, input_shape=(image_size, image_size, 3))
    features = keras.Model(vgg.input, [vgg.get_layer(name).output for name in STYLE_LAYERS], name="vgg16_features")
    features.trainable = False
    return features


def style_network(image_size: int) -> keras.Model:
    """Images (batch, image_size, image_size, 3) to images of the same shape, float32 in -150..150."""
    images = keras.Input((image_size, image_size, 3))
    h = layers.ReLU()(normalized(layers.Conv2D(32, 9, padding="same", use_bias=False)(images)))
    for filters in (64, 128):
        h = layers.ReLU()(normalized(layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(h)))
    for _ in range(5):
        residual = layers.ReLU()(normalized(layers.Conv2D(128, 3, padding="same", use_bias=False)(h)))
        h = layers.Add()([h, normalized(layers.Conv2D(128, 3, padding="same", use_bias=False)(residual))])
    for filters in (64, 32):
        h = layers.ReLU()(normalized(layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False)(h)))
    h = layers.Activation("tanh", dtype="float32")(layers.Conv2D(3, 9, padding="same")(h))
    return keras.Model(images, layers.Rescaling(150.0, dtype="float32")(h), name="style_network")


def normalized(h: Any) -> Any:
    """Instance normalization: one group per channel."""
    return layers.GroupNormalization(groups=-1, epsilon=1e-5)(h)
