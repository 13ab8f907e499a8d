"""How long measuring will take, from what pytest's cache brings back, whatever that is."""

from __future__ import annotations

import pytest

from pytest_metalperf.measure.forecast import Took, restored, stored

OURS = {"test_a.py::test[cpu]": [Took("w@cpu:fake", 7.25, 1.5)]}


def test_what_was_left_in_the_cache_is_brought_back():
    assert restored(stored(OURS)) == OURS


@pytest.mark.parametrize(
    "one_test",
    [
        [["w", 10**400, 1]],  # JSON has it, and no float
        [["w", 1e308, 1]],  # whose sum with another is infinite
        [["w", float("nan"), 1]],
        [["w", -1, 1]],
        [["w", True, 1]],
        [["w", 1]],
        [[1, 1, 1]],
        ["w12"],
        "\ud800",
        None,
        [{"0": "w"}],
    ],
)
def test_what_is_not_ours_is_nothing(one_test):
    assert restored({"other": one_test, **stored(OURS)}) == OURS


@pytest.mark.parametrize("plain", [None, [], 3, "x", {}])
def test_a_cache_of_something_else_is_empty(plain):
    assert restored(plain) == {}
