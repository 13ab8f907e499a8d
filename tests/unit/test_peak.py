"""The share of a device's peak: what it is, and why there may be none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.report import words
from pytest_metalperf.results.peak import Peak, peak_of, share
from pytest_metalperf.results.run import Run

rates = st.floats(1.0, 1e18)


def run(**more):
    return Run(samples=(0.1,), batches_per_block=1, first_batch_seconds=1.0, session="s", recorded="2026-11-28", **more)


@given(rates, rates)
def test_a_share_lies_between_nothing_and_all(achieved, peak):
    found = share(achieved, Peak(peak, "float32"))
    if achieved <= peak:
        assert 0 < found.share <= 1
        assert found.share * peak == pytest.approx(achieved)
        assert found.reason == ""
    else:
        assert found.share is None
        assert "times the rate of a product in float32" in found.reason


@given(rates | st.none(), rates | st.none(), st.booleans())
def test_where_there_is_no_share_one_sentence_says_why(achieved, peak, again):
    found = share(achieved, Peak(peak, "float32" if peak else ""), again=again)
    assert (found.share is None) == bool(found.reason)
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("achieved", "peak", "again", "said"),
    [
        (None, Peak(1e12, "float32"), False, "the FLOP of its step are unknown"),
        (1e11, Peak(1e12, "float32"), True, "remat computes values again, and the FLOP of that are not the model's"),
        (1e11, Peak(reason="out of memory"), False, "the rate of a product could not be measured: out of memory"),
        (
            1e11,
            Peak(),
            False,
            "no rate of a product was measured: only a fresh run of its own does that, not runs in turn",
        ),
        (2e12, Peak(1e12, "float32"), False, "its FLOP/s are 2 times the rate of a product in float32, so one *"),
    ],
)
def test_reasons(achieved, peak, again, said):
    reason = share(achieved, peak, again=again).reason
    assert reason.startswith(said.removesuffix("*"))


def test_the_fastest_product_of_all_runs_counts():
    slow, fast = (run(product_rate=rate, product_arithmetic="float32") for rate in (1e11, 2e11))
    assert peak_of([run(), slow, fast, slow]) == Peak(2e11, "float32")
    assert peak_of([run(no_product="out of memory"), run()]) == Peak(reason="out of memory")
    assert peak_of([]) == Peak()


@given(st.floats(1e-9, 1.0))
def test_a_share_is_never_shown_as_nothing(value):
    shown = words.of_peak(value)
    assert float(shown.removesuffix(" %")) > 0
    assert math.isclose(float(shown.removesuffix(" %")) / 100, value, rel_tol=0.06)


def test_an_unknown_share_is_shown_as_nothing():
    assert words.of_peak(None) == ""
    assert (words.of_peak(0.612), words.of_peak(1.0), words.of_peak(0.00312)) == ("61.2 %", "100 %", "0.312 %")
