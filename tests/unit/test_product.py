"""The rate of products: which sizes are tried, what counts, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.worker import product
from pytest_metalperf.worker.backends.torch import _tf32, allows_tf32
from pytest_metalperf.worker.problems import Problem
from pytest_metalperf.worker.product import Multiplication, in_words, next_side, product_rate

MATRICES = product._matrices


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch):
    """A matrix is its rows' numbers: only how many there are counts here."""
    monkeypatch.setattr(product, "_matrices", lambda side: (range(side), range(side)))


class Device:
    """Multiplies matrices in virtual time: `rate` FLOP/s by side, after `overhead` seconds; no side above `largest` fits."""

    def __init__(self, rate, overhead=0.0, largest=10**9):
        self.rate, self.overhead, self.largest = rate, overhead, largest
        self.now, self.sides = 0.0, []

    def place(self, matrix):
        if len(matrix) > self.largest:
            raise MemoryError("out of memory")
        return matrix

    def multiply(self, left, right):
        side = len(left)
        self.sides += [side] if side not in self.sides else []
        self.now += self.overhead + 2 * side**3 / self.rate
        return left

    def measured(self, fence=lambda value: 1.0):
        return product_rate(Multiplication("float32", self.place, self.multiply), fence, lambda: self.now)


@pytest.mark.parametrize(
    ("rate", "sides"),
    [
        (1e9, [256, 512]),  # emulated half precision on a CPU
        (7e10, [256, 1024]),  # two cores
        (3e12, [256, 4096]),  # a small GPU
    ],
)
def test_sides_grow_with_the_device(rate, sides):
    device = Device(rate)
    assert device.measured() == pytest.approx(rate)
    assert device.sides == sides


def test_a_gpu_whose_small_products_are_bound_by_their_launch_gets_to_large_ones():
    found, last = [256], 0
    while (side := next_side(found[-1], 2 * found[-1] ** 3 / (8e-6 + 2 * found[-1] ** 3 / 7e14))) > found[-1]:
        found.append(side)
        assert side > last
    assert found == [256, 4096, 8192]


@given(st.sampled_from([256, 512, 1024, 2048, 4096, 8192]), st.floats(0, 1e18))
def test_no_product_is_foretold_to_take_longer_than_it_may(side, rate):
    larger = next_side(side, rate)
    assert side <= larger <= product.LARGEST_SIDE
    limit = product.PRODUCT_SECONDS if larger > product.SMALL_SIDE else product.SMALL_SECONDS
    assert larger == side or 2 * larger**3 <= limit * rate
    assert next_side(0, rate) == product.FIRST_SIDE


@given(st.floats(1e9, 3e12))
def test_it_takes_a_second_or_two_whatever_the_device(rate):
    device = Device(rate)
    device.measured()
    assert device.now < 4


def test_products_that_wait_for_threads_do_not_end_the_search():
    """Seen on two loaded cores: 36 ms for 256 rows, and no more for 512."""
    device = Device(7e10, overhead=0.036)
    assert device.measured() > 2e10
    assert device.sides == [256, 512, 1024]


def test_products_that_are_too_slow_to_tell_a_peak_are_refused():
    with pytest.raises(Problem, match="products in float32 are too slow to find a peak"):
        Device(3e8).measured()


@pytest.mark.parametrize("freeze", [[5.0], [0.0, 5.0], [0.0, 0.0, 5.0]])
def test_one_freeze_changes_nothing(freeze):
    device, slow = Device(1e11), iter(freeze)
    fence = lambda value: setattr(device, "now", device.now + next(slow, 0.0)) or 1.0  # noqa: E731
    assert device.measured(fence) == pytest.approx(1e11)


def test_what_does_not_fit_is_left_out():
    assert Device(3e12, largest=4096).measured() == pytest.approx(3e12)
    assert Device(1e14, largest=4096).measured() == pytest.approx(1e14)
    for largest in (128, 256):  # of which nobody knows a peak
        with pytest.raises(MemoryError):
            Device(1e11, largest=largest).measured()


def test_what_is_no_product_has_no_rate():
    with pytest.raises(Problem, match="a product in float32 is nan"):
        Device(1e11).measured(lambda value: float("nan"))
    with pytest.raises(Problem, match="a product in float32 took 0 s"):
        Device(float("inf")).measured()


@pytest.mark.parametrize("side", [256, 1024])
def test_matrices_keep_their_size_in_half_precision(side):
    one, other = MATRICES(side)
    assert one.shape == other.shape == (side, side)
    assert one.dtype == other.dtype == "float32"
    before = float(numpy.abs(one).max())
    for _ in range(30):
        one = (one.astype("float16").astype("float32") @ other.astype("float16").astype("float32")).astype("float16")
    assert 0.2 * before < float(numpy.abs(one).max()) < 5 * before


def test_tf32_is_part_of_the_name(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert in_words("float32", tf32=True) == "float32 (TF32 allowed)"
    assert in_words("float32", tf32=False) == "float32"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")  # which NVIDIA's libraries read, whatever a framework allows
    assert in_words("float32", tf32=True) == "float32"


NEW = SimpleNamespace(
    cuda=SimpleNamespace(matmul=SimpleNamespace(fp32_precision="none")),
    cudnn=SimpleNamespace(conv=SimpleNamespace(fp32_precision="tf32")),
)
OLD = SimpleNamespace(
    cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)), cudnn=SimpleNamespace(allow_tf32=True)
)


@pytest.mark.parametrize("backends", [NEW, OLD])
def test_pytorch_rounds_convolutions_by_default_and_products_only_where_it_is_asked(backends):
    assert not allows_tf32(backends, convolution=False)
    assert allows_tf32(backends, convolution=True)
    with _tf32(backends.cuda.matmul):
        assert allows_tf32(backends, convolution=False)
    assert not allows_tf32(backends, convolution=False)
