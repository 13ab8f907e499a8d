"""The reference models: the catalogue, and that every model is what its paper says and really trains."""

from __future__ import annotations

import inspect
import itertools
import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from pytest_metalperf.worker.models import REFERENCE_MODELS

IMAGE_SIZE = 32
STEPS = 10

# Parameters and trainable variables.
COUNTS = {
    "resnet50v2": (25_613_800, 174),
    "resnet50v2-head": (25_613_800, 2),
    "mobilenetv3": (5_507_432, 174),
    "mobilenetv3-small": (2_554_968, 142),
    "densenet121": (8_062_504, 364),
    "cyclegan": (2 * 11_383_427 + 2 * 2_765_633, 168),
    # The network, VGG16 up to relu4_3, and four Gram matrices.
    "style-transfer": (1_677_635 + 7_635_264 + 64**2 + 128**2 + 256**2 + 512**2, 47),
}
# What batch normalization learns of its inputs is no trainable weight, and changes all the same.
HAVE_MOVING_STATISTICS = {"mobilenetv3", "mobilenetv3-small", "densenet121"}

every_model = pytest.mark.parametrize("name", COUNTS)  # those of images; GPT has a file of its own


def test_catalogue_is_light():
    code = (
        "import sys, pytest_metalperf.worker.models; print(*{'keras', 'numpy', 'tensorflow'}.intersection(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []


def test_catalogue_names_what_is_documented():
    assert list(REFERENCE_MODELS) == [*COUNTS, "gpt", "gpt-torch", "gpt-jax", "gpt-mlx"]
    for name, entry in REFERENCE_MODELS.items():
        assert entry.name == name
        assert entry.summary
        assert list(entry.sizes) == ["quick", "standard", "full"]
        assert all(set(size) == entry.axes for size in entry.sizes.values())
        sizes = [size["image_size" if name in COUNTS else "context"] for size in entry.sizes.values()]
        assert sizes == sorted(sizes)


@pytest.fixture(scope="module")
def keras():
    """Keras on TensorFlow, imported by the first test that trains, not by collection."""
    import keras

    assert keras.config.backend() == "tensorflow", "these tests drive TensorFlow's train function"
    return keras


@pytest.fixture
def half_precision(keras):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def build(keras, name):
    """The model `name`, small, and its batch."""
    keras.utils.set_random_seed(0)
    batch_size = 1 if name == "cyclegan" else 4
    return REFERENCE_MODELS[name].builder()(batch_size=batch_size, image_size=IMAGE_SIZE)


def values(variables):
    return [variable.value.numpy() for variable in variables]


def train(model, batch, steps):
    """Train as a worker does: optimizer built first, then Keras' own train function. Returns the loss of each step."""
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    batches = itertools.repeat(batch)
    losses = []
    for _ in range(steps):
        model.reset_metrics()  # the loss that Keras reports is a running mean
        losses.append(float(model.train_function(batches)["loss"]))
    return losses


@dataclass
class Trained:
    name: str
    model: object
    batch: tuple
    variables_when_built: int
    losses: list[float]
    changed: list[bool]  # of each weight, in the order of model.weights


@pytest.fixture(
    scope="module",  # with pytest-xdist in one process (`--dist loadfile`)
    params=list(COUNTS),
)
def trained(request, keras):
    model, batch = build(keras, request.param)
    variables_when_built = len(model.variables)
    before = values(model.weights)
    losses = train(model, batch, STEPS)
    changed = [not np.array_equal(old, new) for old, new in zip(before, values(model.weights), strict=True)]
    yield Trained(request.param, model, batch, variables_when_built, losses, changed)
    keras.backend.clear_session()


@pytest.mark.tensorflow
@every_model
def test_builder_takes_the_sizes_of_its_entry(keras, name):
    entry = REFERENCE_MODELS[name]
    parameters = inspect.signature(entry.builder()).parameters
    assert {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY} == set(
        parameters
    )
    for size in entry.sizes.values():
        assert set(size) == set(parameters) == {"batch_size", "image_size"}


@pytest.mark.tensorflow
def test_counts(trained):
    parameters, trainable_variables = COUNTS[trained.name]
    assert trained.model.count_params() == parameters
    assert len(trained.model.trainable_variables) == trainable_variables


@pytest.mark.tensorflow
def test_was_built_when_returned(trained):
    assert len(trained.model.variables) == trained.variables_when_built
    assert trained.model.jit_compile is False


@pytest.mark.tensorflow
def test_loss_falls(trained):
    """On one batch seen ten times. Adam moves every weight by about its learning rate, so that 1e-5 shows as well.

    CycleGAN's loss rises first, while its discriminators learn, and then falls with the cycle and identity losses.
    """
    assert all(map(math.isfinite, trained.losses))
    assert trained.losses[-1] < trained.losses[0]


@pytest.mark.tensorflow
def test_what_is_trained_changes_and_nothing_else(trained):
    trainable = [weight.trainable for weight in trained.model.weights]
    assert sum(trainable) == len(trained.model.trainable_variables)
    if trained.name in HAVE_MOVING_STATISTICS:
        assert all(itertools.compress(trained.changed, trainable))
    else:
        assert trained.changed == trainable


@pytest.mark.tensorflow
def test_head_only_trains_the_head(keras):
    model, _ = build(keras, "resnet50v2-head")
    assert [weight.shape for weight in model.trainable_variables] == [(2048, 1000), (1000,)]


@pytest.mark.tensorflow
def test_batch(trained):
    x, y = trained.batch
    batch_size = 1 if trained.name == "cyclegan" else 4
    images = (batch_size, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert (x.shape, x.dtype) == (images, np.float32)
    if trained.name == "cyclegan":
        assert (y.shape, y.dtype) == (images, np.float32)
        assert not np.array_equal(x, y)
    elif trained.name == "style-transfer":
        assert y is None
    else:
        assert (y.shape, y.dtype) == ((batch_size,), np.int32)
        assert len(set(y.tolist())) == batch_size


@pytest.mark.tensorflow
def test_same_seed_same_work(keras):
    (model, batch), (again, batch_again) = (build(keras, "mobilenetv3-small") for _ in range(2))
    for one, other in zip(values(model.weights), values(again.weights), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(batch, batch_again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow
@pytest.mark.usefixtures("half_precision")
@every_model
def test_outputs_are_float32_in_half_precision(keras, name):
    model, (x, _) = build(keras, name)
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    assert all(weight.dtype == "float32" for weight in model.trainable_variables)
    assert any(layer.compute_dtype == "float16" for layer in model.layers)
    assert model.compute_output_spec(keras.KerasTensor(x.shape)).dtype == "float32"


@pytest.mark.tensorflow
@pytest.mark.usefixtures("half_precision")
def test_step_in_half_precision(keras):
    model, batch = build(keras, "resnet50v2-head")
    before = values(model.trainable_variables)
    loss, _ = train(model, batch, 2)
    assert math.isfinite(loss)
    assert not any(map(np.array_equal, before, values(model.trainable_variables)))


@pytest.mark.tensorflow
@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("name", ["cyclegan", "style-transfer"])
def test_own_loss_in_half_precision(keras, name):
    model, (x, y) = build(keras, name)
    loss = model.compute_loss(x, y, model(x))
    assert loss.dtype == "float32"
    assert math.isfinite(loss)


@pytest.fixture(scope="module")
def cyclegan(keras):
    return build(keras, "cyclegan")


@pytest.fixture(scope="module")
def has_gradient(cyclegan):
    """For each loss, by network, whether each of its trainable variables has a gradient."""
    import tensorflow as tf

    model, (x, y) = cyclegan
    with tf.GradientTape(persistent=True) as tape:
        fake_x, fake_y = model.f(y), model.g(x)
        losses = {
            "generators": model.generator_loss(x, y, fake_x, fake_y),
            "discriminators": model.discriminator_loss(x, y, fake_x, fake_y),
        }
    networks = {"g": model.g, "f": model.f, "d_x": model.d_x, "d_y": model.d_y}

    def has(loss, network):
        gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
        return [gradient is not None and bool(np.any(gradient.numpy())) for gradient in gradients]

    return {key: {name: has(loss, network) for name, network in networks.items()} for key, loss in losses.items()}


@pytest.mark.tensorflow
def test_cyclegan_counts(cyclegan):
    model, _ = cyclegan
    assert model.g.count_params() == model.f.count_params() == 11_383_427
    assert model.d_x.count_params() == model.d_y.count_params() == 2_765_633


@pytest.mark.tensorflow
@pytest.mark.parametrize(("loss", "learning"), [("generators", {"g", "f"}), ("discriminators", {"d_x", "d_y"})])
def test_cyclegan_gradients_stay_where_they_belong(has_gradient, loss, learning):
    for network, has in has_gradient[loss].items():
        assert all(has) if network in learning else not any(has), network


@pytest.mark.tensorflow
def test_cyclegan_frozen_network_computes_the_same_and_passes_the_gradient(cyclegan):
    import tensorflow as tf

    from pytest_metalperf.worker.models.cyclegan import frozen

    model, (x, _) = cyclegan
    images = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        normal, held = model.d_x(images), frozen(model.d_x, images)
    np.testing.assert_array_equal(normal.numpy(), held.numpy())
    gradients = [tape.gradient(patches, images).numpy() for patches in (normal, held)]
    assert np.any(gradients[0])
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.tensorflow
def test_cyclegan_loss_is_the_papers(cyclegan):
    model, (x, y) = cyclegan
    g, f, d_x, d_y = (
        (lambda images, network=network: network(images).numpy())
        for network in (model.g, model.f, model.d_x, model.d_y)
    )
    fake_x, fake_y = f(y), g(x)
    generators = (
        np.mean((d_y(fake_y) - 1) ** 2)
        + np.mean((d_x(fake_x) - 1) ** 2)
        + 10 * (np.mean(np.abs(f(fake_y) - x)) + np.mean(np.abs(g(fake_x) - y)))
        + 5 * (np.mean(np.abs(f(x) - x)) + np.mean(np.abs(g(y) - y)))
    )
    discriminators = (
        np.mean((d_x(x) - 1) ** 2) + np.mean(d_x(fake_x) ** 2) + np.mean((d_y(y) - 1) ** 2) + np.mean(d_y(fake_y) ** 2)
    ) / 2
    assert float(model.compute_loss(x, y, model(x))) == pytest.approx(generators + discriminators, rel=1e-5)


@pytest.mark.tensorflow
def test_style_transfer_counts(keras):
    model, _ = build(keras, "style-transfer")
    assert model.network.count_params() == 1_677_635
    assert model.features.count_params() == 7_635_264
    assert [gram.shape for gram in model.style_grams] == [(1, n, n) for n in (64, 128, 256, 512)]


@pytest.mark.tensorflow
def test_style_transfer_gram_matrix(keras):
    from pytest_metalperf.worker.models.style_transfer import gram_matrix

    feature = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    expected = np.einsum("bhwc,bhwd->bcd", feature, feature) / (5 * 6 * 3)
    np.testing.assert_allclose(gram_matrix(feature).numpy(), expected, rtol=1e-5)


@pytest.mark.tensorflow
def test_style_transfer_total_variation(keras):
    from pytest_metalperf.worker.models.style_transfer import total_variation

    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    expected = (np.sum(np.diff(images, axis=1) ** 2) + np.sum(np.diff(images, axis=2) ** 2)) / 2
    assert float(total_variation(images)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.tensorflow
def test_style_transfer_of_the_style_image_costs_nothing(keras):
    """At the style image itself, content and style are met, and only the variation is left to pay."""
    from pytest_metalperf.worker.models import style_transfer

    style = np.random.default_rng(1).uniform(-128, 127, (1, IMAGE_SIZE, IMAGE_SIZE, 3)).astype("float32")
    model = style_transfer.StyleTransfer(IMAGE_SIZE, style)
    variation = style_transfer.TOTAL_VARIATION_WEIGHT * float(style_transfer.total_variation(style))
    assert float(model.compute_loss(style, None, style)) == pytest.approx(variation, rel=1e-4)
