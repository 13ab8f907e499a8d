"""The file of a stack, `baselines/stacks/<hash>.txt`: written, strictly read, and found unused.

It is a requirements file that `pip install -r` takes, and its name is the hash of its text. We hand no line of it to an
installer: names and exact versions are read from it, and written anew.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from packaging.version import InvalidVersion, Version

from ..baselines.errors import RESTORE, BaselineError
from ..baselines.writing import regular, replace, sweep
from ..worker.distributions import normalised
from .stack import Package, Stack

FOLDER = "stacks"
"""Below the folder of the baseline files."""

LONGEST = 1_000_000
"""Bytes of a file; one of five hundred packages has 40 000."""

_FIRST = "# The packages that training loaded (pytest-metalperf, stack 1). Its name is its hash, so an edited file is refused."
_NAME = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DIGEST = r"[0-9a-f]{32}"
_PACKAGE = re.compile(rf"({_NAME})==([A-Za-z0-9.+!_-]+)  # ({_DIGEST})")
_GONE = re.compile(
    rf"# ({_NAME})==([A-Za-z0-9.+!_-]+)  # ({_DIGEST}|no RECORD): ([A-Za-z0-9 ]+), cannot be installed again"
)
_HASH = re.compile(r"[0-9a-f]{16}")
_PYTHON = re.compile(r"# python ([a-z]+ \d+\.\d+t?)")
_PLATFORM = re.compile(r"# platform (\w+(?: \w+){1,2})(?:, (\d+\.\d+) or later)?")


class BadStack(BaselineError):
    """One sentence: which file of a stack, which line of it, what is wrong, what to do."""


def text_of(stack: Stack) -> str:
    """A stack as its file has it."""
    least = f", {stack.least} or later" if stack.least else ""
    lines = [_FIRST, f"# python {stack.python}", f"# platform {stack.platform}{least}"]
    for one in stack.packages:
        if one.origin:
            said = f"{one.record or 'no RECORD'}: {one.origin}, cannot be installed again"
            lines.append(f"# {one.name}=={one.version}  # {said}")
        else:
            lines.append(f"{one.name}=={one.version}  # {one.record}")
    return "\n".join(lines) + "\n"


def hash_of(stack: Stack) -> str:
    """16 hexadecimal digits of the SHA-256 of its text: the name of its file, and what an entry refers to."""
    return _hash(text_of(stack))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path_of(baselines: Path, name: str) -> Path:
    """Where the stack of that hash lies.

    Raises:
        BadStack: where it is no hash: it comes from a file that anybody may have edited.
    """
    if not _HASH.fullmatch(name):
        raise BadStack(f"{name[:40]!r}: is no name of a stack, which has 16 hexadecimal digits; {RESTORE}")
    return baselines / FOLDER / f"{name}.txt"


def write(baselines: Path, stack: Stack) -> str:
    """Write a stack that is not there yet, in one step; its hash. Before the entry that refers to it, under its lock.

    Raises:
        OSError: where it cannot be written.
    """
    name = hash_of(stack)
    path = path_of(baselines, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    replace(path, text_of(stack).encode())
    return name


def read(baselines: Path, name: str) -> Stack:
    """The stack of that hash.

    Raises:
        BadStack: in one sentence, for a file that is not there, or that differs in anything from one that we wrote.
    """
    path = path_of(baselines, name)
    try:
        data = regular(path, LONGEST)
    except FileNotFoundError:
        raise BadStack(f"{path}: is not there, though an entry refers to it; {RESTORE}") from None
    except OSError as error:
        raise BadStack(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse(data, str(path), name)


def parse(data: bytes, file: str, name: str = "") -> Stack:
    """The stack in the text of a file.

    Args:
        data: the bytes of the file.
        file: its path, for messages.
        name: its hash; empty for a file by hand, whose text is checked and whose name is not.

    Raises:
        BadStack: in one sentence that names file and line.
    """
    if len(data) > LONGEST:
        raise BadStack(f"{file}: is longer than any stack; {RESTORE}")
    try:
        text = data.decode("ascii").replace("\r\n", "\n")  # as some clones have every text
    except UnicodeDecodeError as error:
        place = data[: error.start].count(b"\n") + 1
        raise BadStack(f"{file}:{place}: holds what is no plain text; {RESTORE}") from None
    lines = [*text.split("\n"), "", ""]
    python, platform = _PYTHON.fullmatch(lines[1]), _PLATFORM.fullmatch(lines[2])
    if lines[0] != _FIRST or python is None or platform is None:
        wrong = 1 if lines[0] != _FIRST else 2 if python is None else 3
        raise BadStack(f"{file}:{wrong}: is not the head of a stack's file, {lines[wrong - 1][:60]!r}; {RESTORE}")
    packages: list[Package] = []
    for number, line in enumerate(text.split("\n")[3:], 4):
        if line:
            packages.append(_package(line, f"{file}:{number}"))
            if len(packages) > 1 and packages[-2].name >= packages[-1].name:
                raise BadStack(f"{file}:{number}: {packages[-1].name} is not in its place in the alphabet; {RESTORE}")
    stack = Stack(python[1], platform[1], platform[2] or "", tuple(packages))
    if text != text_of(stack) or (name and name != _hash(text)):
        raise BadStack(f"{file}: was edited: its text does not have the hash that is its name; {RESTORE}")
    return stack


def read_requirements(path: Path, like: Stack) -> Stack:
    """The stack in a file that a person names: one of ours, or requirements with exact versions and nothing else.

    Args:
        path: of the file.
        like: today's stack, whose interpreter and platform a file of requirements is taken for. The digests of its RECORDs
            are not known, so its packages are those that an index has under these names.

    Raises:
        BadStack: in one sentence that names file and line.
    """
    try:
        data = regular(path, LONGEST)
    except OSError as error:
        raise BadStack(f"{path}: cannot be read: {error.strerror or error}") from None
    if data.startswith(_FIRST.encode()):
        return parse(data, str(path), path.stem if _HASH.fullmatch(path.stem) else "")
    packages: dict[str, Package] = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        wanted = re.sub(r"(^|\s+)#.*", "", line).strip()
        if not wanted:
            continue
        name, _, version = wanted.partition("==")
        name, version = normalised(name.strip()), version.strip()
        if not re.fullmatch(_NAME, name) or not _is_version(version):
            raise BadStack(
                f"{path}:{number}: {_why_not(wanted)}, {line[:60]!r}; names with exact versions can be compared"
            )
        if name in packages:
            raise BadStack(f"{path}:{number}: names {name} a second time")
        packages[name] = Package(name, str(Version(version)))
    if not packages:
        raise BadStack(f"{path}: names no package")
    return Stack(like.python, like.platform, "", tuple(sorted(packages.values())))


def _package(line: str, where: str) -> Package:
    if gone := _GONE.fullmatch(line):
        return Package(gone[1], gone[2], "" if gone[3] == "no RECORD" else gone[3], gone[4])
    found = _PACKAGE.fullmatch(line)
    if found is None or not _is_exact(found[2]):
        why = _why_not(line, "is no name with an exact version and the digest of its RECORD")
        raise BadStack(f"{where}: {why}, {line[:60]!r}, so nothing is installed from it; {RESTORE}")
    return Package(found[1], found[2], found[3])


def _is_exact(version: str) -> bool:
    return _is_version(version) and str(Version(version)) == version


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text))
    except InvalidVersion:
        return False


def _why_not(line: str, otherwise: str = "is no name with an exact version") -> str:
    """What a line has that no line of a stack has; the first that is found."""
    wanted, _, _ = line.strip().partition("  #")
    for pattern, what in (
        (r"^#", "is a comment that no stack has"),
        (r"^(-r|-c|--requirement|--constraint)", "names another file"),
        (r"^-|\s--", "is an option"),
        (r"://| @ |\w@", "names a URL"),
        (r"[/\\]|^\.", "names a path"),
        (r";", "has a marker"),
        (r"\[", "names an extra"),
        (r"[<>~!,*]|===|^[\w.-]+$", "has no exact version"),
    ):
        if re.search(pattern, wanted):
            return what
    return otherwise


def unused(baselines: Path) -> list[Path]:
    """The files of stacks whose hash no baseline file names, whatever its format or its state; under the folder's lock.

    Raises:
        OSError: where a file cannot be read: then none is known to be unused.
    """
    files = sorted((baselines / FOLDER).glob("*.txt"))
    named = "\n".join(path.read_text(errors="replace") for path in baselines.glob("*.json")) if files else ""
    return [path for path in files if _HASH.fullmatch(path.stem) and path.stem not in named]


def remove_unused(baselines: Path) -> list[Path]:
    """Remove the files of stacks that nothing refers to any more; those that were removed. Under the folder's lock.

    Raises:
        OSError: where a file cannot be read or removed.
    """
    gone = unused(baselines)
    for path in gone:
        path.unlink(missing_ok=True)
    return gone
