"""CycleGAN: translation between two sets of unpaired images, X and Y (Zhu et al. 2017, arXiv:1703.10593).

Networks and settings are the paper's (section 4 and appendix): generators with nine residual blocks, 70 x 70 PatchGAN
discriminators, weights from N(0, 0.02), least-squares GAN loss, the discriminators' loss halved, cycle weight 10,
identity weight 5, Adam at 2e-4 with beta_1 0.5, batches of one image. As in Keras' example, instance normalization has
a trainable scale and offset, every network has its update from the same forward passes, and there is no pool of 50
earlier fakes.

Keras' example has an Adam for each network. Adam works on each parameter by itself, so one Adam with the same settings
over all four networks makes the same updates, provided that no loss reaches a network that it is not meant for;
`CycleGAN` sees to that.

https://keras.io/examples/generative/cyclegan/
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

CYCLE_WEIGHT = 10.0
IDENTITY_WEIGHT = 5.0


def cyclegan(*, batch_size: int, image_size: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """The four networks in one model, and as `(x, y)` one batch of either set of images, in -1..1."""
    model = CycleGAN(image_size)
    model.compile(optimizer=keras.optimizers.Adam(2e-4, beta_1=0.5), jit_compile=False)
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, batch_size, image_size, image_size, 3)).astype("float32")
    return model, (x, y)


class CycleGAN(keras.Model):  # type: ignore[misc]
    """Generators G: X -> Y and F: Y -> X, discriminators D_X and D_Y; calling the model is calling G.

    A step is six forward passes through the generators and six through the discriminators: two for the generators'
    loss, with the discriminators' weights held fixed, and four for their own, with the images held fixed.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.g = generator(image_size, name="g")
        self.f = generator(image_size, name="f")
        self.d_x = discriminator(image_size, name="d_x")
        self.d_y = discriminator(image_size, name="d_y")
        self.built = True  # all variables are in the four networks, and those are built

    def call(self, x: Any) -> Any:
        """Fakes of Y, made of images of X."""
        return self.g(x)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:  # noqa: ARG002
        """The sum of all losses, for images `x` and `y` and the fakes `y_pred` that G made of `x`."""
        x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
        fake_x, fake_y = self.f(y), y_pred
        return self.generator_loss(x, y, fake_x, fake_y) + self.discriminator_loss(x, y, fake_x, fake_y)

    def generator_loss(self, x: Any, y: Any, fake_x: Any, fake_y: Any) -> Any:
        """Adversarial, cycle and identity loss. Its gradient passes the discriminators, to the generators only."""
        adversarial = squared_distance(frozen(self.d_x, fake_x), 1.0) + squared_distance(frozen(self.d_y, fake_y), 1.0)
        cycle = distance(self.f(fake_y), x) + distance(self.g(fake_x), y)
        identity = distance(self.f(x), x) + distance(self.g(y), y)
        return adversarial + CYCLE_WEIGHT * cycle + IDENTITY_WEIGHT * identity

    def discriminator_loss(self, x: Any, y: Any, fake_x: Any, fake_y: Any) -> Any:
        """Real images should look real, fakes fake. Its gradient stops at the fakes, and reaches no generator."""
        fake_x, fake_y = ops.stop_gradient(fake_x), ops.stop_gradient(fake_y)
        on_x = squared_distance(self.d_x(x), 1.0) + squared_distance(self.d_x(fake_x), 0.0)
        on_y = squared_distance(self.d_y(y), 1.0) + squared_distance(self.d_y(fake_y), 0.0)
        return 0.5 * (on_x + on_y)


def frozen(network: keras.Model, images: Any) -> Any:
    """What `network` makes of `images`, with a gradient for the images and none for the network's weights."""
    weights = [ops.stop_gradient(variable) for variable in network.trainable_variables]
    outputs, _ = network.stateless_call(weights, network.non_trainable_variables, images)
    return outputs


def distance(images: Any, target: Any) -> Any:
    """L1, as the mean over all values."""
    return ops.mean(ops.abs(images - target))


def squared_distance(patches: Any, target: float) -> Any:
    """The least-squares GAN loss (Mao et al. 2017, arXiv:1611.04076)."""
    return ops.mean(ops.square(patches - target))


def generator(image_size: int, name: str) -> keras.Model:
    """Images (batch, image_size, image_size, 3) to images of the same shape, float32 in -1..1."""
    images = keras.Input((image_size, image_size, 3))
    h = layers.ReLU()(normalized(convolution(64, 7)(reflected(images, 3))))
    for filters in (128, 256):
        h = layers.ReLU()(normalized(convolution(filters, 3, strides=2, padding="same")(h)))
    for _ in range(9):
        residual = layers.ReLU()(normalized(convolution(256, 3)(reflected(h, 1))))
        h = layers.Add()([h, normalized(convolution(256, 3)(reflected(residual, 1)))])
    for filters in (128, 64):
        h = layers.ReLU()(normalized(convolution(filters, 3, strides=2, padding="same", transpose=True)(h)))
    h = convolution(3, 7, use_bias=True)(reflected(h, 3))
    return keras.Model(images, layers.Activation("tanh", dtype="float32")(h), name=name)


def discriminator(image_size: int, name: str) -> keras.Model:
    """Images (batch, image_size, image_size, 3) to how real their patches look, float32 (batch, rows, columns, 1)."""
    images = keras.Input((image_size, image_size, 3))
    h = layers.LeakyReLU(0.2)(convolution(64, 4, strides=2, padding="same", use_bias=True)(images))
    for filters, strides in ((128, 2), (256, 2), (512, 1)):
        h = layers.LeakyReLU(0.2)(normalized(convolution(filters, 4, strides=strides, padding="same")(h)))
    h = convolution(1, 4, padding="same", use_bias=True)(h)
    return keras.Model(images, layers.Activation("linear", dtype="float32")(h), name=name)


def convolution(
    filters: int,
    size: int,
    *,
    strides: int = 1,
    padding: str = "valid",
    use_bias: bool = False,
    transpose: bool = False,
) -> keras.Layer:
    """A convolution with weights from N(0, 0.02), and without bias where a normalization, which cancels it, follows."""
    layer = layers.Conv2DTranspose if transpose else layers.Conv2D
    return layer(
        filters,
        size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
    )


def normalized(h: Any) -> Any:
    """Instance normalization (Ulyanov et al. 2016, arXiv:1607.08022): one group per channel."""
    return layers.GroupNormalization(groups=-1, epsilon=1e-5)(h)


def reflected(h: Any, border: int) -> Any:
    """`h` (batch, height, width, channels) with a border of its own mirror image, against artefacts at the edges."""
    return ops.pad(h, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
