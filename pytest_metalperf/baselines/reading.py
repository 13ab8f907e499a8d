"""Reading a baseline file strictly: what is wrong is named by its place in the file, with what to do."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec

from . import format1, format2
from .errors import BaselineError, Conflict, Damaged, UnknownKey
from .format2 import FORMAT
from .schema import Machine

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
    found = _at_once(data, file) or _step_by_step(data, file)
    named = found.machine.get("id")
    if named != machine:
        raise BaselineError(
            f"{file}: $.machine.id: holds the baselines of {named!r}, not of {machine!r};"
            " a copied file needs its own machine's name, and its figures are another machine's"
        )
    return found


def check(data: bytes, file: str, machine: str) -> None:
    """Make sure that what `rendered` wrote can be read again, quickly: it holds no key twice and knows its sessions.

    Raises:
        Damaged: naming the place in the file.
    """
    try:
        _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        parse(data, file, machine)


_DECODER = msgspec.json.Decoder(format2.File2)


def _at_once(data: bytes, file: str) -> Machine | None:
    """What a whole file of the current format holds; None for any other, whose fault is then looked for."""
    try:
        decoded = _DECODER.decode(data)
        json.loads(data, object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=str)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # msgspec 0.18's errors are no ValueErrors
        return None
    return format2.expanded(decoded, file)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Nothing but a check: msgspec keeps the last of two equal keys in silence."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")


def _step_by_step(data: bytes, file: str) -> Machine:
    """Read any format, or say what is wrong where."""
    plain = _json(data, file)
    if not isinstance(plain, dict) or "format" not in plain or "workloads" not in plain:
        raise BaselineError(
            f"{file}: is no baseline file of pytest-metalperf; move it away, or use another --metal-baselines"
        )
    written = plain["format"]
    if isinstance(written, int) and not isinstance(written, bool) and written > FORMAT:
        raise BaselineError(
            f"{file}: was written in format {written} by a newer pytest-metalperf; this one reads format {FORMAT}:"
            " upgrade it, or use another --metal-baselines"
        )
    if written not in (1, FORMAT) or isinstance(written, bool):
        raise Damaged(f"{file}: $.format: expected 1 or {FORMAT}, got {written!r}")
    if written == 1:
        return format1.expanded(_whole(plain, format1.File1, file))
    return format2.expanded(_whole(plain, format2.File2, file), file)


def _whole(plain: Any, kind: Any, file: str) -> Any:
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        _find(plain, kind, file, "$")  # which takes its time, to name the place
        raise Damaged(f"{file}: {_plain(str(error))}") from None


def _find(value: Any, kind: Any, file: str, path: str) -> None:
    """Raise for the first part of `value` that is not of its kind, with its path."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        struct = next(
            (one for one in get_args(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)), None
        )
        kind = struct if struct is not None and value is not None else kind
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key in value:
            if key not in fields:
                raise UnknownKey(f"{file}: {path}: has an unknown key `{json.dumps(key)[1:-1]}`")
        for key, item in value.items():
            _find(item, fields[key], file, f"{path}.{key}")
    elif isinstance(value, dict) and get_origin(inner) is dict:
        for key, item in value.items():
            _find(item, get_args(inner)[1], file, f"{path}[{json.dumps(key, ensure_ascii=False)}]")
    elif isinstance(value, list) and get_origin(inner) is list:
        for index, item in enumerate(value):
            _find(item, get_args(inner)[0], file, f"{path}[{index}]")
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise Damaged(f"{file}: {path}{where.strip('`').removeprefix('$')}: {_plain(what)}") from None


def _json(data: bytes, file: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise BaselineError(f"{file}: the key {twice!r} stands twice in one object; keep one of them")
        return found

    def refuse(word: str) -> Any:
        raise Damaged(f"{file}: holds {word[:40]}, which is no figure")

    def finite(word: str) -> float:
        return float(word) if math.isfinite(float(word)) else refuse(word)

    def whole(word: str) -> int:
        return int(word) if len(word) <= 300 else refuse(word)  # beyond what a float can hold

    try:
        text = data.decode()
        plain = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite, parse_int=whole)
        if "\\ud" in text.lower():
            json.dumps(
                plain, ensure_ascii=False
            ).encode()  # half a surrogate pair is JSON, but could not be written again
    except UnicodeError as error:
        raise Damaged(f"{file}: is no UTF-8 text ({error.reason})") from None  # type: ignore[attr-defined]
    except json.JSONDecodeError as error:
        conflict = re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE)
        if conflict:
            line = text.count("\n", 0, conflict.start()) + 1
            raise Conflict(f"{file}: line {line}: holds an unresolved merge conflict") from None
        what = (
            "is empty" if not text.strip() else f"line {error.lineno}, column {error.colno}: is not JSON ({error.msg})"
        )
        raise Damaged(f"{file}: {what}") from None
    except RecursionError:
        raise Damaged(f"{file}: is nested too deeply to be a baseline file") from None
    return plain


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
