"""Figures as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.report.words import seconds
from pytest_metalperf.results.quantities import amounts

positive = st.floats(1e-6, 1e18)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.2043e9, "B", "1.204 GB"),
        (512, "B", "512 B"),
        (4.1e9, "FLOP/s", "4.100 GFLOP/s"),
        (989e12, "FLOP/s", "989.0 TFLOP/s"),
        (12.345, "J/batch", "12.35 J/batch"),
        (1234.6, "examples/s", "1235 examples/s"),
        (0.04321, "s", "0.04321 s"),
        (0.0999999999, "s", "0.1000 s"),
        (0.09999, "s", "0.09999 s"),
        (math.nan, "B", "unknown"),
        (0, "s", "unknown"),
    ],
)
def test_one(value, unit, shown):
    assert amounts([value], unit) == [shown]


def test_both_sides_have_one_prefix_and_as_many_decimals():
    assert amounts([1.2e9, 800e6], "B") == ["1.2000 GB", "0.8000 GB"]
    assert amounts([1.2e9, math.nan], "B") == ["1.200 GB", "unknown"]


def test_what_differs_can_look_different():
    assert amounts([4.1e9, 4.6e9], "FLOP", 2, apart=True) == ["4.1 GFLOP", "4.6 GFLOP"]
    assert amounts([4_100_000_001, 4_100_000_000], "FLOP", 2, apart=True) == ["4.100000001 GFLOP", "4.100000000 GFLOP"]
    assert amounts([1e15, 1e15 + 1], "FLOP", apart=True) == ["1.000000000000000 PFLOP", "1.000000000000001 PFLOP"]
    assert amounts([1.0000001, 1.0000002], "s") == ["1.000 s", "1.000 s"]


@given(positive, positive, st.sampled_from(["B", "FLOP/s", "s"]))
def test_what_is_shown_is_the_value(first, second, unit):
    for value, shown in zip((first, second), amounts([first, second], unit), strict=True):
        number, _, suffix = shown.partition(" ")
        scale = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}.get(suffix[: -len(unit)], 1.0)
        assert float(number) * scale == pytest.approx(
            value, rel=1e-3, abs=max(0.5, 1e-9 * scale) if unit == "B" else 1e-9 * scale
        )
        assert "e" not in number


@pytest.mark.parametrize(("value", "shown"), [(0.0999999999, "0.1000"), (0.09999, "0.09999"), (12.3, "12.30")])
def test_seconds_have_four_digits_after_rounding(value, shown):
    assert seconds(value) == shown
