"""Which conditions of a fresh run are unlike those of the stored ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_metalperf.results.conditions import refusal, under_load, unusual


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


def test_load_of_several_runs_is_one_clause_with_the_worst_figure():
    runs = [SimpleNamespace(conditions={"other_load": share}) for share in (0.5, 0.68, 0.0, 0.66)]
    assert under_load(runs, "cpu") == "68 % of CPU time went to other processes (at worst; in 3 of 4 runs)"
    assert under_load(runs[2:], "cpu") == refusal(runs, "cpu") == ""
    on_battery = SimpleNamespace(conditions={"power": "battery"})
    assert refusal([on_battery, *runs, on_battery], "gpu") == "running on battery"
