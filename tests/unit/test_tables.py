"""Tables are aligned by what characters take on a terminal."""

from __future__ import annotations

from wcwidth import wcswidth

from pytest_metalperf.report.tables import aligned


def test_text_stands_left_and_figures_right():
    assert aligned([("workload", "now"), ("x", "1.50 s"), ("  memory", "2 GB")], "lr") == [
        "workload     now",
        "x         1.50 s",
        "  memory    2 GB",
    ]


def test_wide_characters_take_two_cells():
    lines = aligned(
        [("workload", "now", "verdict"), ("ランカー", "1.0 s", "within"), ("ranker", "10 s", "slower")], "lrl"
    )
    assert len({wcswidth(line[: line.index(" s")]) for line in lines[1:]}) == 1


def test_what_reads_like_a_number_stays_as_it_is():
    assert aligned([("1e3", "0.10"), ("007", "1_000")], "lr") == ["1e3   0.10", "007  1_000"]
