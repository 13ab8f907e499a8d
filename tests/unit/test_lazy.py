"""What MLX has put off when a step ends, in a process of whatever framework."""

from __future__ import annotations

import sys

import pytest

from pytest_metalperf.worker.fence import read_back
from pytest_metalperf.worker.lazy import arrays_of, fence_of


def test_without_mlx_nothing_is_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    assert arrays_of(lambda: 1.0) == []
    assert fence_of(lambda: 1.0) is read_back


@pytest.fixture
def mlx(monkeypatch):
    """As far as it matters here: arrays, and what was asked to be computed."""

    class Mlx:
        asked = ()

        class array(float):
            pass

        @classmethod
        def eval(cls, arrays):
            cls.asked = arrays

    monkeypatch.setitem(sys.modules, "mlx.core", Mlx)
    return Mlx


def test_all_that_a_step_keeps_is_computed(mlx):
    class Trainer:
        def __init__(self):
            self.weights = {"layers": [{"weight": [[mlx.array(1)]]}, {"weight": mlx.array(2)}]}

    trainer, batch = Trainer(), [mlx.array(3)]

    def step():
        return trainer, batch

    assert fence_of(step)(0.5) == 0.5
    assert sorted(mlx.asked) == [1, 2, 3]
