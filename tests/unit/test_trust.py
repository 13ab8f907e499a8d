"""Which conditions of a fresh run are unlike those of the stored ones."""

from __future__ import annotations

import pytest

from pytest_metalperf.results.conditions import unusual


@pytest.mark.parametrize(
    ("fresh", "stored", "found"),
    [
        ({"power": "battery"}, [{"power": "mains"}], ["power"]),
        ({"power": "battery"}, [{"power": "battery"}, {"power": "mains"}], []),
        ({"power": "battery"}, [{}, {}], ["power"]),
        ({"background": True}, [{"background": False}], ["background"]),
        ({"background": True}, [{"background": True}, {}, {}], []),  # the one that knows it was the same
        ({"background": True}, [{}, {}], []),  # of an earlier version, which did not look
        ({"gpu_other": 0.5}, [{}], []),
        ({"gpu_other": 0.5}, [{"gpu_other": 0.0}, {}, {}], ["gpu_other"]),
        ({"background": True, "power": "battery"}, [], ["power", "background"]),
    ],
)
def test_what_the_baseline_was_not_recorded_under(fresh, stored, found):
    assert [spoil.condition for spoil in unusual(fresh, stored, "gpu")] == found
