"""The benchmark's replays: recorded pairs are read strictly, and drawn from both sides."""

from __future__ import annotations

import json
from random import Random

import in_turn
import pytest
from recordings import BadRecording


def test_the_recorded_pairs_can_be_judged():
    for name, source in in_turn.sources().items():
        drawn = in_turn.simulated(source, Random(1)) if isinstance(source, float) else in_turn.drawn(source, Random(1))
        said, pairs = in_turn.verdict(drawn, 2.0)
        assert (said, 3 <= pairs <= 15) == ("slower", True), name


@pytest.mark.parametrize(
    "line",
    [{"workload": "net", "pair": [[1.0], []]}, {"workload": "net"}, {"workload": "net", "pair": [[1.0], [-1.0]]}],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, line):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"workload": "net", "pair": [[1.0], [1.0]]}) + "\n" + json.dumps(line))
    with pytest.raises(BadRecording, match=r"pairs\.jsonl:2: "):
        in_turn.read_pairs(file)


def test_either_side_may_be_ours():
    pairs = in_turn.drawn([([1.0], [2.0])], Random(1))
    assert {tuple(map(tuple, next(pairs))) for _ in range(50)} == {((1.0,), (2.0,)), ((2.0,), (1.0,))}
