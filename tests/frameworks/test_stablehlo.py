"""Operations and FLOP of programs as the installed JAX lowers them."""

from __future__ import annotations

import pytest

from pytest_metalperf.worker.backends.stablehlo import counted

jax = pytest.importorskip("jax")

pytestmark = pytest.mark.jax

IMAGES, KERNEL, WEIGHTS = (8, 70, 70, 3), (7, 7, 3, 64), (64, 10)
FORWARD = 2 * 8 * 32 * 32 * 64 * 7 * 7 * 3
PRODUCT = 2 * 8 * 10 * 64


def of(function, *shapes, dtype="float32"):
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return counted(jax.jit(function).lower(*arrays).compiler_ir("stablehlo"))


def convolution(images, kernel, **more):
    options = {"window_strides": (2, 2), "padding": "VALID", "dimension_numbers": ("NHWC", "HWIO", "NHWC")} | more
    return jax.lax.conv_general_dilated(images, kernel, **options)


def network(images, kernel, weights):
    halved = jax.jit(lambda x: jax.numpy.maximum(x, 0.5))
    return halved(halved(convolution(images, kernel)))[:, 0, 0] @ weights


def test_operations_of_a_called_function_count_with_every_call():
    found = of(network, IMAGES, KERNEL, WEIGHTS).operations
    assert found["convolution"] == found["dot_general"] == 1
    assert found["maximum"] == 2
    assert "return" not in found
    assert "call" not in found


def test_flop_of_convolutions_and_products():
    found = of(network, IMAGES, KERNEL, WEIGHTS)
    assert (found.flop, found.unknown) == (FORWARD + PRODUCT, False)


def test_the_gradient_of_a_strided_convolution_costs_what_the_convolution_does():
    def gradient(images, kernel, out):
        return jax.vjp(lambda images: convolution(images, kernel), images)[1](out)

    out = (8, 32, 32, 64)
    assert of(gradient, IMAGES, KERNEL, out).flop == FORWARD  # the forward pass is not needed, and gone


def test_grouped_convolutions_have_fewer_inputs_for_each_output():
    def grouped(images, kernel):
        return convolution(images, kernel, feature_group_count=3)

    assert of(grouped, IMAGES, (7, 7, 1, 63)).flop == FORWARD / 3 * 63 / 64


def test_places_between_dilated_images_are_no_work():
    def dilated(images, kernel):
        return convolution(images, kernel, window_strides=(1, 1), padding=((0, 0), (0, 0)), lhs_dilation=(2, 2))

    outputs = 8 * 133 * 133 * 64
    assert of(dilated, IMAGES, KERNEL).flop == min(2 * outputs * 7 * 7 * 3 / 4, 2 * 8 * 70 * 70 * 3 * 7 * 7 * 64)


@pytest.mark.parametrize(
    ("dtype", "precision", "found"),
    [
        ("float32", None, {"float32"}),
        ("float32", "highest", {"float32 HIGHEST"}),
        ("float32", "high", {"float32 HIGH"}),
        ("bfloat16", None, {"bfloat16"}),
        ("float16", None, {"float16"}),
    ],
)
def test_the_arithmetic_of_convolutions_and_products(dtype, precision, found):
    def inner(images, kernel, weights):
        return convolution(images, kernel, precision=precision)[:, 0, 0], weights

    def both(images, kernel, weights):
        pixels, weights = jax.jit(inner)(images, kernel, weights)
        return jax.lax.dot(pixels, weights, precision=precision)

    assert of(both, IMAGES, KERNEL, WEIGHTS, dtype=dtype).arithmetic == found


def test_products_of_another_type_than_the_images_are_both_named():
    def both(images, kernel, weights):
        return convolution(images.astype("bfloat16"), kernel.astype("bfloat16"))[:, 0, 0].astype("float32") @ weights

    assert of(both, IMAGES, KERNEL, WEIGHTS).arithmetic == {"bfloat16", "float32"}


def test_a_program_without_either_has_no_flop():
    found = of(lambda x: x + 1, (8,))
    assert (found.flop, found.unknown, found.operations["add"]) == (0, False, 1)


@pytest.mark.parametrize(("body", "unknown"), [(lambda x, w: x @ w, True), (lambda x, w: jax.numpy.tanh(x), False)])
def test_flop_are_unknown_where_a_product_lies_in_a_loop(body, unknown):
    inner = jax.jit(body)

    def loop(x, w):
        return jax.lax.fori_loop(0, x.shape[0] + 0 * w.shape[0], lambda _, x: inner(x, w), x @ w)

    found = of(loop, (8, 64), (64, 64))
    assert found.unknown == unknown
    assert found.operations["while"] == 1
    assert unknown or found.flop == 2 * 8 * 64 * 64
