"""The state of a search: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.bisect.question import Question, Refused, key, stack
from pytest_metalperf.bisect.state import Comparison, State, StateFile, _read, held

ASKED = Question(Path("/top"), Path("sub"), "a" * 40, "b" * 40, ("b" * 40,), ("test_net.py", "-k", "a \udcff b"))
SAMPLES = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=4)
COMPARISONS = st.lists(
    st.builds(
        Comparison,
        commit=st.text(max_size=5),
        pairs=st.lists(st.tuples(SAMPLES, SAMPLES), max_size=3),
        skipped=st.text(max_size=20),
        seconds=st.floats(0, 1e6),
    ),
    max_size=4,
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_METALPERF_CACHE", str(tmp_path))
    return tmp_path


def opened(**changes):
    return held(ASKED, "machine", "key", **changes)


def test_what_is_added_is_there_the_next_time(cache):
    one = Comparison(commit="c" * 40, pairs=[([0.1, 0.2], [0.1, 0.1])], seconds=2.0)
    with opened() as file:
        assert file.state.comparisons == []
        file.state.workload = "own"
        file.add(one)
    with opened() as file:
        assert (file.state.workload, file.state.comparisons) == ("own", [one])


def test_restart_loses_nothing(cache):
    for _ in range(3):
        with opened(restart=True) as file:
            assert file.state.comparisons == []
            file.add(Comparison(commit="c" * 40, skipped="broken"))
    assert len(list((cache / "bisects").glob("key*.json"))) == 3


@settings(max_examples=25)  # each file is synced to the disk
@given(COMPARISONS)
def test_every_state_is_read_as_it_was_written(comparisons):
    with tempfile.TemporaryDirectory() as folder:
        new = State(good="a", bad="b", folder=".", arguments=[], machine="m")
        file = StateFile(Path(folder) / "key.json", msgspec.structs.replace(new))
        for one in comparisons:
            file.add(one)
        assert _read(file.path, new).comparisons == comparisons


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(msgspec.json.encode))
def test_anything_else_is_one_sentence(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.json"
        path.write_bytes(data)
        with pytest.raises(Refused, match="--restart puts it aside and begins anew"):
            _read(path, State(good="a", bad="b", folder=".", arguments=[], machine="m"))


def test_each_part_of_a_question_is_part_of_its_name(tmp_path):
    names = {
        key(ASKED, "machine", "stack"),
        key(ASKED, "other", "stack"),
        key(ASKED, "machine", "other"),
        *(
            key(_with(**{name: value}), "machine", "stack")
            for name, value in (
                ("good", "c" * 40),
                ("bad", "c" * 40),
                ("folder", Path("other")),
                ("arguments", ("test_net.py",)),
            )
        ),
    }
    assert len(names) == 7
    assert stack(tmp_path) == stack(tmp_path)


def test_variables_that_change_the_speed_are_part_of_the_stack(tmp_path, monkeypatch):
    before = stack(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert stack(tmp_path) != before


def _with(**changes):
    return Question(**{**vars(ASKED), **changes})
