"""Whether two variants compute the same: figures of both sides in, a sentence or nothing out."""

from __future__ import annotations

import pytest

from pytest_metalperf.judge.parity import StepValues, mismatch, other_work
from pytest_metalperf.results.rounding import SMALLEST, TOLERANCES, agree, tolerance
from pytest_metalperf.workloads.workload import PRECISIONS, Workload

NAN, INFINITE = float("nan"), float("inf")


def side(device: str = "gpu", backend: str = "torch", **axes: object) -> Workload:
    return Workload("resnet50v2", device, backend, {"image_size": 64, "batch_size": 8, **axes})


CPU = side("cpu", "tensorflow")


def test_a_wrong_kernel_is_told_with_both_values_of_both_figures():
    assert mismatch(side(), CPU, StepValues(3.1, 0.25, batch=7), StepValues(6.9, 1.5, batch=7)) == (
        "resnet50v2[64px,b8]@gpu:torch is fast but wrong: from the same weights its loss is 3.1 where"
        " resnet50v2[64px,b8]@cpu:tensorflow has 6.9 (gradient norm 0.25 and 1.5; they may differ by 1 %)"
    )


@pytest.mark.parametrize("batch", [None, 7])
def test_data_that_nobody_could_compare_may_be_the_reason(batch):
    said = mismatch(side(), CPU, StepValues(3.1, 0.25), StepValues(6.9, 1.5, batch=batch))
    assert said.endswith(
        "1 %; whether both sides have the same data was not seen: draw them with NumPy from a fixed seed)"
    )


def test_the_same_figures_are_no_mismatch():
    assert mismatch(side(), CPU, StepValues(6.9, 1.5), StepValues(6.9, 1.5)) == ""


@pytest.mark.parametrize("figures", [StepValues(6.9 * 1.03, 1.5), StepValues(6.9, 1.5 / 1.03)])
def test_one_figure_that_differs_is_enough(figures):
    assert mismatch(side(), CPU, figures, StepValues(6.9, 1.5))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_the_lower_precision_of_the_two_sets_the_tolerance(precision):
    computed, expected = StepValues(6.9 * 1.03, 1.5), StepValues(6.9, 1.5)
    for of, over in ((side(precision=precision), CPU), (CPU, side(precision=precision))):
        assert mismatch(of, over, computed, expected) == ""
        assert "they may differ by 5 %" in mismatch(of, over, StepValues(6.9 * 1.08, 1.5), expected)


def test_every_precision_has_a_tolerance():
    assert set(TOLERANCES) == set(PRECISIONS)
    assert tolerance(PRECISIONS) == max(TOLERANCES.values())


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("other", [1.0, NAN, INFINITE])
def test_what_is_not_finite_never_passes(value, other):
    assert not agree(value, other, 0.05)
    assert not agree(other, value, 0.05)
    assert "loss is nan where" in mismatch(side(), CPU, StepValues(NAN, 1.0), StepValues(NAN, 1.0))


@pytest.mark.parametrize(("one", "other"), [(1.0, 1.0099), (-2.0, -2.0199), (0.0, 0.0), (1e8, 1.0099e8)])
def test_agreement_is_relative_and_has_no_order(one, other):
    assert agree(one, other, 0.01)
    assert agree(other, one, 0.01)
    assert not agree(one + 1.0, 1.1 * other + 2.0, 0.01)


def test_a_sign_is_a_difference():
    assert not agree(1.0, -1.0, 0.05)


def test_what_warm_up_has_learnt_by_heart_is_compared_with_rounding_in_mind():
    assert agree(2e-6, 5e-6, 0.01)
    assert not agree(0.0, SMALLEST, 0.01)


# which data


def test_variants_that_differ_in_how_have_the_same_data():
    of = side(precision="mixed_float16", jit_compile=True, remat=True, input="pipeline")
    assert other_work(of, CPU) == []


def test_a_backend_whose_own_default_differs_has_the_same_data():
    assert other_work(side(backend="jax"), CPU) == []


def test_variants_that_differ_in_what_say_in_which_axes():
    assert other_work(side(batch_size=32, depth=2), CPU) == ["batch_size 32 and 8", "depth 2 and not given"]


def test_an_axis_of_nothing_is_seen():
    assert other_work(side(planted="tanh"), side("cpu", "tensorflow", planted="")) == ['planted tanh and ""']
