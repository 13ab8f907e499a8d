"""Files that are nearly valid: the tree of a valid one with a few changes, written as JSON may be written."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = (
    0,
    -0.0,
    1,
    -1,
    0.5,
    5e-324,
    1e-300,
    1e300,
    1.7e308,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**400,
)
STRINGS = (
    "",
    " ",
    "\0",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\u202e",
    "é",
    "😀",
    "\ud800",
    "NaN",
    "1",
    "null",
    '"',
    "\\",
    '":',
    "{",
)
LONG = ("x" * 700, "-" * 300 + "1", "é\n" * 300, "9" * 5000)
WORDS = (
    "format", "machine", "id", "sessions", "workloads", "speedups", "anchor", "runs", "pairs", "ratio", "session", "estimator",
    "recorded", "commit", "clean", "versions", "conditions", "seconds_per_batch", "lower_quartile", "upper_quartile", "batches",
    "first_batch_seconds", "mean_seconds", "peak_memory_bytes", "joules_per_batch", "work", "examples", "accepted", "operations",
    "operations_on_cpu", "flop", "traces", "parameters", "memory_bytes", "varying", "digest", "file", "qualified_name", "axes",
    "variables", "stack", "load1", "throttled", "stolen", "virtual", "gpu_busy", "lower-half mean", "gpu:tensorflow", "m",
)  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A valid file changed in its tree, seldom in its bytes."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return with_other_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        tree = changed(tree, chance)
    written = serialised(tree, chance)
    return with_other_bytes(written, chance) if chance.random() < 0.1 else written


def changed(tree: Any, chance: random.Random) -> Any:
    """A tree with one change: a part is replaced, removed, renamed, doubled, or put elsewhere."""
    places = list(_places(tree))
    if not places:
        return value(chance)
    container, key = chance.choice(places)
    what = chance.randrange(8)
    if what == 0:
        del container[key]
    elif what == 1:
        other, there = chance.choice(places)
        container[key] = json.loads(json.dumps(other[there]))
    elif what == 2 and isinstance(container, dict):
        container[chance.choice((*WORDS, *STRINGS, *LONG))] = container.pop(key)
    elif what == 3 and isinstance(container, list):
        container.insert(key, container[key])
    elif what == 4 and isinstance(container, dict):
        container[chance.choice(WORDS)] = value(chance)
    elif what == 5 and isinstance(container[key], (int, float)) and not isinstance(container[key], bool):
        container[key] = _number_like(container[key], chance)
    elif what == 6 and isinstance(container[key], str):
        container[key] = _text_like(container[key], chance)
    else:
        container[key] = value(chance)
    return tree


def _number_like(number: float, chance: random.Random) -> float:
    return chance.choice(
        (
            -number,
            number + 1,
            number * 10.0 ** chance.randint(-5, 5) if abs(number) < 1e200 else 0,
            float(abs(number) < 1),
        )
    )


def _text_like(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice((*STRINGS, *WORDS)) + text[at + chance.randrange(3) :]


def _places(tree: Any) -> Any:
    if isinstance(tree, dict):
        for key, inner in tree.items():
            yield tree, key
            yield from _places(inner)
    elif isinstance(tree, list):
        for index, inner in enumerate(tree):
            yield tree, index
            yield from _places(inner)


def value(chance: random.Random) -> Any:
    """Anything that JSON has, and some that it has not."""
    kinds = (
        NUMBERS,
        STRINGS,
        WORDS,
        (None, True, False, [], {}),
        LONG,
        (float("nan"), float("inf"), [[]], {"": {}}, [None] * 50),
    )
    return json.loads(json.dumps(chance.choice(chance.choice(kinds))))


def serialised(tree: Any, chance: random.Random) -> bytes:
    """JSON with or without escapes, line breaks, spaces; seldom with a key twice."""
    named = [(container, key) for container, key in _places(tree) if isinstance(container, dict)]
    twice = ""
    if named and chance.random() < 0.1:
        container, twice = chance.choice(named)
        other, there = chance.choice(named)
        container["@@"] = json.loads(json.dumps(other[there]))
    text = json.dumps(
        tree,
        ensure_ascii=chance.random() < 0.3,
        indent=chance.choice((None, None, 0, 1)),
        separators=chance.choice((None, (",", ":"), (" ,", " :"))),
        sort_keys=chance.random() < 0.3,
    )
    if twice:
        text = text.replace('"@@"', json.dumps(twice), 1)
    return text.encode("utf-8", "surrogatepass")


def with_other_bytes(data: bytes, chance: random.Random) -> bytes:
    """Data of which a few bytes are gone, doubled or others."""
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((0, 1, 2, 8, 100)))
    put = chance.choice(
        (
            b"",
            b",",
            b'"',
            b"{",
            b"]",
            b"\\u0000",
            b"\xff",
            b"1e400",
            b"NaN",
            b"<<<<<<< ",
            data[start:end] * 2,
            b"[" * 2000,
        )
    )
    return data[:start] + put + data[end:]


def enlarged(data: bytes, size: int, chance: random.Random) -> bytes:
    """A valid file in which one object or one list is repeated, with other keys, until the size is reached."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data * (size // max(1, len(data)) + 1)
    places = [(container, key) for container, key in _places(tree)]
    if not places:
        return data * (size // max(1, len(data)) + 1)
    container, key = chance.choice(places)
    one = json.dumps(container[key])
    count = max(1, min(size // (len(one) + 8), 1_500_000))
    mark = '"@@"'
    if isinstance(container, dict):
        named = container.pop(key)
        container["@@"] = named
        many = ",".join(f'"{i}":{one}' for i in range(count))
        return json.dumps(tree).replace('"@@": ' + one, f"{json.dumps(key)}: {one},{many}", 1).encode()
    container[key] = "@@"
    return json.dumps(tree).replace(mark, ",".join([one] * count), 1).encode()
