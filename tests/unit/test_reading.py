"""Files that are none: answered soon, in little memory, by a short sentence; and keys that stand twice."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from test_baselines import ID, PLACE, QUICK, refused
from test_baselines import document as format_1
from test_baselines_format2 import document

from pytest_metalperf.baselines.errors import BaselineError
from pytest_metalperf.baselines.file import Store
from pytest_metalperf.baselines.format2 import rendered, with_shared_facts
from pytest_metalperf.baselines.reading import parse


@pytest.mark.parametrize("name", ["a byte-order mark", "zeros", "spaces", "UTF-16", "half surrogate pairs"])
def test_what_is_no_json_is_called_by_its_name(name):
    said = {
        "a byte-order mark": "line 1, column 1: is not JSON (invalid character '\\ufeff')",
        "zeros": "line 1, column 1: is not JSON (invalid character '\\x00')",
        "spaces": "is empty",
        "UTF-16": "is no UTF-8 text",
        "half surrogate pairs": "line 1, column 56: is not JSON (invalid utf-16 surrogate pair)",
    }
    assert refused(HOSTILE[name](500)) == said[name]


@pytest.mark.parametrize("name", ["small lists", "unknown objects in a file", "numbers", "braces", "commas"])
def test_more_values_than_a_file_has_are_refused_before_they_fill_the_memory(name):
    assert "values in 6,0" in refused(HOSTILE[name](6_000_100))
    assert "values in" not in refused(HOSTILE[name](100_000))  # where they do no harm


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    with (tmp_path / "m.json").open("wb") as file:
        file.truncate(64_000_001)
    with pytest.raises(
        BaselineError, match="cannot be read: it is 64,000,001 bytes long, and no baseline file is longer"
    ):
        Store(tmp_path, "m")


@pytest.mark.parametrize(
    "name", ["one session", "one key", "one machine", "a huge format", "one huge number in a file"]
)
def test_a_sentence_quotes_little_of_the_file(name):
    assert len(refused(HOSTILE[name](10_000))) < 300


def test_a_sentence_quotes_both_ends_of_what_is_long():
    key = f"begin{'x' * 500}end"
    sentence = refused(format_1(**{key: 1}))
    assert "`begin" in sentence
    assert "end`" in sentence
    assert len(sentence) < 200


@pytest.mark.parametrize("key", ["a\x85b", "a\u2028b", "a\u202eb", "a\x7fb", "\x1b[31m"])
def test_a_file_is_quoted_on_one_line(key):
    assert refused(format_1(conditions={key: []})).isprintable()
    assert refused(json.dumps({**document(), "format": key}, ensure_ascii=False)).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"batches": 10', '"batches": 10, "commit": null, "batches": 11', "batches"),  # beside what is at its default
        ('"load1": 0.5', r'"load1": 0.5, "lo\u0061d1": 1', "load1"),
        ('"load1": 0.5', r'"a\"b": 0.5, "a\u0022b": 1', 'a"b'),
        ('"load1": 0.5', r'"a\\b": 0.5, "a\u005cb": 1', r"a\b"),
        ('"load1": 0.5', r'"a\"": 1, "a\"" : 1', 'a"'),
        ('"load1": 0.5', r'"{": 1, "}": "\":", "{": 1', "{"),
        ('"id": "m"', r'"id": "m", "x": [{"y": {}, "y": "\u0022:"}]', "y"),
    ],
)
def test_key_that_stands_twice_is_found_however_it_is_written(old, new, key):
    assert refused(json.dumps(document()).replace(old, new, 1)) == (
        f"the key {key!r} stands twice in one object; keep one of them"
    )


ENTRY = document()["workloads"][ID]


@pytest.mark.parametrize(
    "first", [3, {}, {**ENTRY, "examples": "x"}, {**ENTRY, "runs": [*ENTRY["runs"], 3]}, {**ENTRY, "x": 3}]
)
def test_key_that_stands_twice_is_found_where_the_first_of_the_two_is_wrong(first):
    whole = json.dumps(document()).replace(f'"{ID}"', f'"{ID}": {json.dumps(first)}, "{ID}"', 1)
    assert refused(whole).startswith(f"the key '{ID}' stands twice")


@pytest.mark.parametrize("text", [r"a\u0022:b", r"\":", r"\\", r"{\"x\": 1, \"x\": 1}", "{", "}"])
def test_strings_that_look_like_keys_are_none(text):
    whole = json.dumps(document()).replace(
        '"id": "m"', f'"id": "m", "x": ["{text}", "{text}"], "{text}": {{"x": 1}}', 1
    )
    assert parse(whole.encode(), "m.json", "m").machine["x"] == [json.loads(f'"{text}"')] * 2


VALID = [json.dumps(format_1()).encode(), rendered(parse(json.dumps(document()).encode(), "m.json", "m"))]


@QUICK
@given(st.integers(0, 2**32))
def test_a_file_that_is_nearly_valid_is_refused_or_kept(number):
    """`tox -e fuzz` does so for half an hour, and judges what was read."""
    data = mutated(VALID[number % 2], random.Random(number))
    try:
        machine = parse(data, PLACE, "m")
    except BaselineError:
        assert refused(data).isprintable()
    else:
        machine = msgspec.structs.replace(machine, machine={"id": "m"})
        assert parse(rendered(machine), PLACE, "m") == with_shared_facts(machine)
