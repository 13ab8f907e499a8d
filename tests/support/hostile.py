"""Files of a given size that are no baseline files, or hardly: what a reader must answer soon and in little memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from pytest_metalperf.baselines.format2 import rendered
from pytest_metalperf.baselines.schema import Anchor, Entry, Machine, StoredRun

RUN = (
    '{"session": "s", "estimator": "", "seconds_per_batch": 1, "lower_quartile": 1, "upper_quartile": 1, "batches": 1,'
    ' "first_batch_seconds": 1%s}'
)
FILE = '{"format": 2, "machine": {"id": "m"%s}, "sessions": {"s": {"recorded": ""%s}%s}, "workloads": {%s}}'
ENTRY = '"w": {"anchor": {"recorded": "", "estimator": "", "seconds_per_batch": 1}, "runs": [%s]%s}'
SECONDS = ("seconds_per_batch", "lower_quartile", "upper_quartile", "first_batch_seconds")


def file(machine: str = "", shared: str = "", sessions: str = "", run: str = "", entry: str = "") -> bytes:
    """A whole file with more in one of its places."""
    return (FILE % (machine, shared, sessions, ENTRY % (RUN % run, entry))).encode()


def filled(size: int, item: str) -> str:
    """Items, numbered where they want to be, until the size is reached."""
    parts, length = [], 0
    for number in itertools.count():
        if length >= size:
            return ",".join(parts)
        parts.append(item.replace("#", str(number)))
        length += len(parts[-1]) + 1
    raise AssertionError


def object_of(size: int, item: str = '"k#": 1') -> str:
    return "{" + filled(size, item) + "}"


def entries(size: int) -> bytes:
    """A whole file."""
    seconds = dict.fromkeys(SECONDS, 0.1)
    run = StoredRun(**seconds, batches=20, session="s", recorded="2026-11-01", conditions={"load1": 0.5})
    entry = Entry(anchor=Anchor(seconds_per_batch=0.1, recorded="2026-11-01"), runs=[run] * 2, examples=8)
    one = len(rendered(Machine(machine={"id": "m"}, workloads={"model0[b8]@cpu:fake": entry})))
    count = max(1, size // (one - 100))
    return rendered(Machine(machine={"id": "m"}, workloads={f"model{i}[b8]@cpu:fake": entry for i in range(count)}))


def format_1(size: int) -> bytes:
    seconds = dict.fromkeys(SECONDS, 0.1)
    run = seconds | {"batches": 20, "session": "s", "recorded": "2026-11-01", "versions": {"python": "3.12"}}
    entry = {"anchor": {"seconds_per_batch": 0.1, "recorded": "2026-11-01"}, "runs": [run] * 2}
    whole = {"format": 1, "machine": {"id": "m"}}
    return json.dumps({**whole, "workloads": {f"model{i}@cpu:fake": entry for i in range(size // 550)}}).encode()


def last(data: bytes, old: bytes, new: bytes) -> bytes:
    """With the last `old` replaced."""
    return new.join(data.rsplit(old, 1))


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "nothing wrong": entries,
    "the last entry wrong": lambda size: last(entries(size), b'"batches": 20', b'"batches": "x"'),
    "the last entry twice": lambda size: last(entries(size), b'"examples": 8', b'"examples": 8, "examples": 8'),
    "an explicit null": lambda size: last(entries(size), b'"batches": 20', b'"batches": 20, "commit": null'),
    "format 1": format_1,
    "format 1, the last entry wrong": lambda size: last(format_1(size), b'"batches": 20', b'"batches": "x"'),
    "a merge conflict": lambda size: b"<<<<<<< HEAD\n%b=======\n>>>>>>> main\n" % entries(size),
    "a conflict at the end": lambda size: entries(size)[:-2] + b"<<<<<<< HEAD\n",
    "cut off": lambda size: entries(size)[:-9],
    "unknown keys": lambda size: object_of(size).encode(),
    "unknown long keys": lambda size: object_of(size, '"key number #": 1').encode(),
    "unknown keys in a file": lambda size: file(entry="," + filled(size, '"k#": 1')),
    "unknown objects in a file": lambda size: file(entry="," + filled(size, '"k#": {}')),
    "equal keys": lambda size: object_of(size, '"k": 1').encode(),
    "equal long keys": lambda size: object_of(size, '"a long key": 1').encode(),
    "facts of the machine": lambda size: file(machine=', "x": ' + object_of(size)),
    "facts of the machine, as objects": lambda size: file(machine=', "x": ' + object_of(size, '"k#": {}')),
    "facts of the machine, nested": lambda size: file(machine=', "x": [' + filled(size, '{"k": {"k": {"k": 1}}}') + ']'),
    "conditions": lambda size: file(run=', "conditions": ' + object_of(size)),
    "shared conditions": lambda size: file(shared=', "conditions": ' + object_of(size)),
    "conditions of both": lambda size: file(
        shared=', "conditions": ' + object_of(size // 2), run=', "conditions": ' + object_of(size // 2, '"c#": 1')
    ),
    "conditions, the last wrong": lambda size: file(run=', "conditions": {' + filled(size, '"k#": 1') + ', "x": []}'),
    "conditions, the last twice": lambda size: file(run=', "conditions": {' + filled(size, '"k#": 1') + ', "k1": 1}'),
    "versions": lambda size: file(shared=', "versions": [' + object_of(size, '"k#": ""') + ']'),
    "sets of versions": lambda size: file(shared=', "versions": [' + filled(size, "{}          ") + "]"),
    "operations": lambda size: file(entry=', "work": {"operations": ' + object_of(size, '"k#": 999') + '}'),
    "varying": lambda size: file(entry=', "work": {"varying": [' + filled(size, '"k#"') + ']}'),
    "sessions": lambda size: file(sessions="," + filled(size, '"k#": {"recorded": ""}')),
    "runs": lambda size: (FILE % ("", "", "", ENTRY % (filled(size, RUN % ""), ""))).encode(),
    "one string": lambda size: b'"%b"' % (b"x" * size),
    "one string in a file": lambda size: file(machine=f', "x": "{"x" * size}"'),
    "one key": lambda size: file(entry=f', "{"x" * size}": 1'),
    "one session": lambda size: file(run=f', "session": "{"x" * size}"').replace(b'"session": "s", ', b""),
    "one machine": lambda size: file().replace(b'"id": "m"', b'"id": "%b"' % (b"x" * size)),
    "escapes": lambda size: file(machine=', "x": "%s"' % (r"\n" * (size // 2))),
    "escaped quotation marks": lambda size: file(machine=', "x": "%s"' % (r"\"" * (size // 2))),
    "escaped keys": lambda size: file(machine=', "x": ' + object_of(size, r'"\u0041#": 1')),
    "half surrogate pairs": lambda size: file(machine=', "x": "%s"' % (r"\ud800" * (size // 6))),
    "surrogate pairs": lambda size: file(machine=', "x": "%s"' % (r"\ud83d\ude00" * (size // 12))),
    "emoji": lambda size: file(machine=', "x": "%s"' % ("😀" * (size // 4))),
    "brackets": lambda size: b"[" * size,
    "braces": lambda size: b'{"a":' * (size // 5),
    "small lists": lambda size: b"[%b]" % (b"[]," * (size // 3))[:-1],
    "small objects": lambda size: b"[%b]" % (b"{}," * (size // 3))[:-1],
    "nested lists": lambda size: b"[%b[]]" % ((b"[" * 90 + b"]" * 90 + b",") * (size // 181)),
    "numbers": lambda size: b"[%b1]" % (b"1," * (size // 2)),
    "long numbers": lambda size: b"[%b1]" % (b"0.1234567891234," * (size // 16)),
    "NaN": lambda size: b"[%bNaN]" % (b"NaN," * (size // 4)),
    "1e400": lambda size: b"[%b1]" % (b"1e400," * (size // 6)),
    "1e400 in a file": lambda size: file(run=', "conditions": ' + object_of(size, '"key #": 1e400')),
    "one huge number": lambda size: b"1" * size,
    "one huge number in a file": lambda size: file(run=', "peak_memory_bytes": ' + "1" * size),
    "one huge fraction in a file": lambda size: file(run=', "joules_per_batch": 0.' + "1" * size),
    "huge numbers": lambda size: b"[%b1]" % ((b"1" * 4000 + b",") * (size // 4001)),
    "a huge format": lambda size: b'{"format": %b, "workloads": {}}' % (b"1" * size),
    "a format of lists": lambda size: b'{"format": [%b[]], "workloads": {}}' % (b"[]          ," * (size // 13)),
    "spaces": lambda size: b" " * size,
    "newlines": lambda size: b"\n" * size,
    "spaces in a file": lambda size: file().replace(b": ", b":" + b" " * size, 1),
    "spaces at a key": lambda size: file(run=', "commit": null').replace(b'"format":', b'"format"' + b" " * size + b":", 1),
    "zeros": lambda size: b"\0" * size,
    "noise": lambda size: (bytes(range(256)) * (size // 256 + 1))[:size],
    "UTF-16": lambda size: entries(size // 2).decode().encode("utf-16"),
    "a byte-order mark": lambda size: entries(size).decode().encode("utf-8-sig"),
    "commas": lambda size: b"," * size,
    "quotation marks": lambda size: b'"' * size,
    "backslashes": lambda size: b'"%b"' % (b"\\" * (size // 2 * 2)),
    "a list of conflicts": lambda size: b"<<<<<<<\n" * (size // 8),
}  # fmt: skip
