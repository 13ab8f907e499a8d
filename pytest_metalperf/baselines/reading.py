"""Reading a baseline file strictly: what is wrong is named by its place in the file, with what to do."""

from __future__ import annotations

import contextlib
import re
import types
import typing
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Raw

from . import format1, format2
from .errors import BaselineError, Conflict, Damaged, UnknownKey, cut, printable, quoted, shown
from .format2 import FORMAT
from .schema import Machine

MOST_BYTES = 64_000_000
"""Of a file: 10,000 workloads of two runs each are 9 MB."""

FEW_VALUES = 500_000
BYTES_PER_VALUE = 12
"""Ours are about 19 bytes long, with their keys. A larger file whose values are shorter than this would take up to 80 times its
size in memory, and is none of ours."""

_LFS = b"version https://git-lfs"


def parse(data: bytes, file: str, machine: str) -> Machine:
    """Read a baseline file strictly.

    Args:
        data: the file's bytes.
        file: the file's name, for messages.
        machine: the id of the machine that it must belong to.

    Raises:
        Damaged: naming the place in the file.
        BaselineError: for a file that is whole, but another format's or machine's.
    """
    if data.startswith(_LFS):
        raise BaselineError(f"{file}: is a Git LFS pointer, not the file itself; fetch that with git lfs pull")
    _check_size(data, file)
    try:
        found = _read(data, file)
    except UnicodeError:
        raise Damaged(f"{file}: is no UTF-8 text") from None
    except msgspec.DecodeError as error:
        raise _malformed(error, data, file) from None
    except RecursionError:
        raise Damaged(f"{file}: is nested too deeply to be a baseline file") from None
    named = found.machine.get("id")
    if named != machine:
        raise BaselineError(
            f"{file}: $.machine.id: holds the baselines of {shown(named)}, not of {machine!r};"
            " a copied file needs its own machine's name, and its figures are another machine's"
        )
    return found


def check(data: bytes, size: int, file: str, machine: str) -> None:
    """Make sure that what `rendered` wrote can be read again, quickly: it holds no key twice and knows its sessions.

    Args:
        data: of the entry that is new, in a file of its own.
        size: of the whole file, in bytes.
        file: for messages.
        machine: whose it is.

    Raises:
        Damaged: naming the place in the file.
    """
    if size > MOST_BYTES:
        raise _too_long(file, size)
    try:
        _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        parse(data, file, machine)


def _too_long(file: str, size: int) -> Damaged:
    return Damaged(f"{file}: is {size:,} bytes long, and no baseline file is longer than {MOST_BYTES:,}")


def _check_size(data: bytes, file: str) -> None:
    if len(data) > MOST_BYTES:
        raise _too_long(file, len(data))
    values = data.count(b",") + data.count(b"{") + data.count(b"[")
    if values > max(FEW_VALUES, len(data) // BYTES_PER_VALUE):
        raise Damaged(f"{file}: holds {values:,} values in {len(data):,} bytes, which no baseline file does")


_DECODER = msgspec.json.Decoder(format2.File2)


def _read(data: bytes, file: str) -> Machine:
    """What the file holds, in whichever format.

    Raises:
        BaselineError: for what is no baseline file.
        UnicodeError, msgspec.DecodeError: for what is no JSON.
    """
    try:
        decoded = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:  # msgspec 0.18's errors are no ValueErrors
        kind = _other_format(data, file, str(error))
    else:
        if _is_all(decoded, data):
            return format2.expanded(decoded, file)
        kind = format2.File2
        del decoded  # all keys are in memory next
    twice = _twice(data)
    if twice is not None:
        raise BaselineError(f"{file}: the key {cut(twice)!r} stands twice in one object; keep one of them")
    return _EXPANDED[kind](msgspec.json.decode(data, type=kind), file)


_EXPANDED: dict[Any, Callable[[Any, str], Machine]] = {
    format1.File1: format1.expanded,
    format2.File2: format2.expanded,
}


def _is_all(decoded: format2.File2, data: bytes) -> bool:
    """Whether nothing in `data` stands twice for certain: of two equal keys msgspec keeps the last in silence.

    Written again, what was decoded has as many keys, or fewer. Strings that hold `":` count alike on both sides, unless an
    escape hides it.
    """
    if b"\\u" in data:
        return False
    return msgspec.json.format(data, indent=-1).count(b'":') == msgspec.json.encode(decoded).count(b'":')


class _Head(msgspec.Struct):
    """What files of all formats begin with."""

    format: Raw
    workloads: Raw


def _other_format(data: bytes, file: str, message: str) -> Any:
    """What a file is that is none of the current format; where it is nothing else either, what is wrong where.

    `message` is what msgspec said of it as a file of the current format.
    """
    data.decode()
    msgspec.json.decode(data, type=Raw)  # which finds out no more than whether it is JSON
    try:
        written = bytes(msgspec.json.decode(data, type=_Head).format)
    except msgspec.ValidationError:
        raise BaselineError(
            f"{file}: is no baseline file of pytest-metalperf; move it away, or use another --metal-baselines"
        ) from None
    if re.fullmatch(rb"[1-9]\d{0,8}", written) and int(written) > FORMAT:
        raise BaselineError(
            f"{file}: was written in format {int(written)} by a newer pytest-metalperf; this one reads format {FORMAT}:"
            " upgrade it, or use another --metal-baselines"
        )
    if written not in (b"1", b"2"):
        raise Damaged(f"{file}: $.format: expected 1 or {FORMAT}, got {printable(cut(written.decode()))}")
    kind: Any = format2.File2
    if written == b"1":
        kind = format1.File1
        try:
            msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError as error:
            message = str(error)
        else:
            return kind
    with contextlib.suppress(LookupError):  # the value that is wrong does not count, since its key stands twice
        wrong = _located(message, data, kind, file)
        if wrong is not None:
            raise wrong from None
    return kind


_KEY_OR_BRACE = re.compile(rb'"([^"]*)"\s*:|"[^"]*"|[{}]')


def _twice(data: bytes) -> str | None:
    """The key that stands twice in one object of well-formed JSON, None where none does."""
    plain = data.replace(rb"\\", b"\1").replace(rb"\"", b"\2")  # so that each `"` left begins or ends a string
    escaped = b"\\" in plain
    open_objects: list[list[bytes]] = []
    for token in _KEY_OR_BRACE.finditer(plain):
        if token.lastindex:
            open_objects[-1].append(token[1])
        elif token[0] == b"{":
            open_objects.append([])
        elif token[0] == b"}":
            keys = open_objects.pop()
            if len(set(_unescaped(keys) if escaped else keys)) < len(keys):
                if escaped:
                    return Counter(_unescaped(keys)).most_common(1)[0][0]
                return _unescaped([Counter(keys).most_common(1)[0][0]])[0]
    return None


def _unescaped(keys: list[bytes]) -> list[str]:
    """Keys of the text in which `_twice` looks, as they are meant."""
    text = b'["%b"]' % b'","'.join(keys)
    return msgspec.json.decode(text.replace(b"\1", rb"\\").replace(b"\2", rb"\""), type=list[str]) if keys else []


_STEP = re.compile(r"\.\w+|\[[\d.]+\]")


def _located(message: str, data: bytes, kind: Any, file: str) -> Damaged | None:
    """What is wrong where: along the path that msgspec names, in which each key is `[...]`.

    Returns:
        None, where nothing is wrong there.

    Raises:
        LookupError: where there is no such place.
    """
    what, at, where = message.rpartition(" - at `$")
    part: bytes | Raw = data
    path = "$"
    for step in (*_STEP.findall(where if at else ""), ""):
        inside = _inside(kind)
        if isinstance(inside, type) and issubclass(inside, msgspec.Struct):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(inside)}
            values = _values(part)
            unknown = next((key for key in values if key not in fields), None)
            if unknown is not None:
                return UnknownKey(f"{file}: {path}: has an unknown key `{quoted(unknown)[1:-1]}`")
            if step:
                part, kind = values[step[1:]], fields[step[1:]]
        elif step and get_origin(inside) is dict:
            values, kind = _values(part), get_args(inside)[1]
            key = list(values)[_first_invalid(list(values.values()), kind)]
            part, step = values[key], f"[{quoted(key)}]"
        elif step and get_origin(inside) is list:
            part, kind = msgspec.json.decode(part, type=list[Raw])[int(step[1:-1])], get_args(inside)[0]
        path += step
    return None if _is_valid(part, kind) else Damaged(f"{file}: {path}: {_plain(what if at else message)}")


def _values(part: bytes | Raw) -> dict[str, Raw]:
    """What an object holds; nothing, if it is none."""
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.json.decode(part, type=dict[str, Raw])
    return {}


def _first_invalid(values: list[Raw], kind: Any) -> int:
    """The index of the first value that is not of its kind, of many: found by halves, each of which msgspec reads at once."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_valid(msgspec.json.encode(values[low:middle]), list[kind]):
            low = middle
        else:
            high = middle
    return low


def _is_valid(part: bytes | Raw, kind: Any) -> bool:
    try:
        msgspec.json.decode(part, type=kind)
    except msgspec.ValidationError:
        return False
    return True


def _inside(kind: Any) -> Any:
    """The kind without its bounds, and without null where it may be that."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[0]
    others = [one for one in get_args(kind) if one is not types.NoneType and one is not msgspec.UnsetType]
    return others[0] if get_origin(kind) in (typing.Union, types.UnionType) and len(others) == 1 else kind


_CONFLICT = re.compile(rb"^(<{7}|={7}|>{7})", re.MULTILINE)
_NO_FIGURE = re.compile(rb"NaN|-?Infinity")


def _malformed(error: msgspec.DecodeError, data: bytes, file: str) -> Damaged:
    """What to say of a file that is not JSON."""
    if not data.strip():
        return Damaged(f"{file}: is empty")
    conflict = _CONFLICT.search(data)
    if conflict is not None:
        return Conflict(f"{file}: line {_line(data, conflict.start())}: holds an unresolved merge conflict")
    byte = re.search(r"\(byte (\d+)\)", str(error))
    at = int(byte[1]) if byte is not None else len(data)
    column = len(data[data.rfind(b"\n", 0, at) + 1 : at].decode(errors="replace")) + 1
    place = f"{file}: line {_line(data, at)}, column {column}"
    word = _NO_FIGURE.match(data, max(0, at - 1)) or _NO_FIGURE.match(data, at)
    if word is not None:
        return Damaged(f"{place}: holds {word[0].decode()}, which is no figure")
    what = str(error).removeprefix("JSON is malformed: ").partition(" (byte")[0]
    if what == "invalid character":  # which may be one that nobody sees, as a byte-order mark
        what += f" {data[at : at + 4].decode(errors='ignore')[:1]!r}"
    return Damaged(f"{place}: is not JSON ({what})")


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


_WORDS = {
    "float": "a number", "int": "a whole number", "str": "a string", "bool": "true or false",
    "object": "an object", "array": "a list", "null": "null",
}  # fmt: skip


def _plain(message: str) -> str:
    """Msgspec's sentence in the words of someone who edits JSON: Expected `float`, got `str` -> expected a number, …."""
    words = re.sub(
        r"`([a-z_|\s]+)`", lambda m: " or ".join(_WORDS.get(t.strip(), m[0]) for t in m[1].split("|")), message
    )
    words = re.sub(r"^Expected a string, got", "expected a string, got", words)
    words = words.replace("Object missing required field", "is missing")
    return words[0].lower() + words[1:]
