"""The file of a stack: what it says, what is refused, and which files nothing refers to."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from pytest_metalperf.references.stack import Package, Stack
from pytest_metalperf.references.stack_file import (
    LONGEST,
    BadStack,
    hash_of,
    parse,
    path_of,
    read,
    read_requirements,
    remove_unused,
    text_of,
    unused,
    write,
)

A, B = "a" * 32, "b" * 32
STACK = Stack(
    "cpython 3.11",
    "linux x86_64 glibc",
    "2.28",
    (
        Package("absl-py", "2.3.1", A),
        Package("acme", "1.0-x", "", "without a RECORD"),
        Package("keras", "3.15.1", B),
        Package("mine", "0.1", B, "from a repository at 0123456789"),
        Package("torch", "2.13.0+cpu", A),
    ),
)
TEXT = f"""\
# The packages that training loaded (pytest-metalperf, stack 1). Its name is its hash, so an edited file is refused.
# python cpython 3.11
# platform linux x86_64 glibc, 2.28 or later
absl-py==2.3.1  # {A}
# acme==1.0-x  # no RECORD: without a RECORD, cannot be installed again
keras==3.15.1  # {B}
# mine==0.1  # {B}: from a repository at 0123456789, cannot be installed again
torch==2.13.0+cpu  # {A}
"""


def test_its_text():
    assert text_of(STACK) == TEXT


def test_written_and_read(tmp_path):
    name = write(tmp_path, STACK)
    assert (name, len(name)) == (hash_of(STACK), 16)
    assert [path.name for path in (tmp_path / "stacks").iterdir()] == [f"{name}.txt"]
    assert read(tmp_path, name) == STACK
    before = path_of(tmp_path, name).stat()
    write(tmp_path, STACK)
    assert path_of(tmp_path, name).stat() == before


@pytest.mark.parametrize("platform", ["linux x86_64 glibc", "linux x86_64 musl", "darwin arm64 macos", "win32 AMD64"])
@pytest.mark.parametrize("python", ["cpython 3.11", "cpython 3.13t", "pypy 3.10"])
def test_every_interpreter_and_platform(platform, python):
    stack = Stack(python, platform, "", ())
    assert parse(text_of(stack).encode(), "it", hash_of(stack)) == stack


def test_a_clone_with_other_line_ends_is_read():
    assert parse(TEXT.replace("\n", "\r\n").encode(), "it", hash_of(STACK)) == STACK


def test_pip_takes_it(tmp_path):
    from packaging.requirements import Requirement

    lines = [re.split(r"\s#", line)[0].strip() for line in TEXT.splitlines() if not line.startswith("#")]
    assert [str(Requirement(line)) for line in lines] == ["absl-py==2.3.1", "keras==3.15.1", "torch==2.13.0+cpu"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("--index-url https://evil.example/simple", "is an option"),
        ("-i https://evil.example/simple", "is an option"),
        ("--extra-index-url=https://evil.example", "is an option"),
        ("--pre", "is an option"),
        ("-e .", "is an option"),
        ("-r other.txt", "names another file"),
        ("-c other.txt", "names another file"),
        ("https://evil.example/keras.whl", "names a URL"),
        ("keras @ https://evil.example/keras.whl", "names a URL"),
        ("keras@file:///keras.whl", "names a URL"),
        ("./keras-3.15.1.whl", "names a path"),
        ("../keras", "names a path"),
        (".", "names a path"),
        ("keras==3.15.1; sys_platform == 'linux'", "has a marker"),
        ("keras[torch]==3.15.1", "names an extra"),
        ("keras>=3.15.1", "has no exact version"),
        ("keras==3.*", "has no exact version"),
        ("keras===3.15.1", "has no exact version"),
        ("keras~=3.15", "has no exact version"),
        ("keras", "has no exact version"),
        ("keras==3.15.1", "is no name with an exact version and the digest of its RECORD"),
        (f"keras==3.15.1  # {B} --hash=sha256:00", "is no name with an exact version and the digest of its RECORD"),
        (f"keras==3.15.1 --hash=sha256:00  # {B}", "is an option"),
        (f"Keras==3.15.1  # {B}", "is no name with an exact version and the digest of its RECORD"),
        (f"keras==3.15.1.  # {B}", "is no name with an exact version and the digest of its RECORD"),
        (f"keras==3.15.01  # {B}", "is no name with an exact version and the digest of its RECORD"),
        (f"-keras==3.15.1  # {B}", "is an option"),
        (f" keras==3.15.1  # {B}", "is no name with an exact version and the digest of its RECORD"),
        (f"keras==3.15.1 \\  # {B}", "names a path"),
        ("# a word", "is a comment that no stack has"),
        ("${KERAS}", "is no name with an exact version and the digest of its RECORD"),
    ],
)
def test_a_line_that_no_stack_has(line, what):
    text = TEXT.replace(f"keras==3.15.1  # {B}", line)
    with pytest.raises(BadStack) as error:
        parse(text.encode(), "stacks/it.txt")
    assert str(error.value).startswith(f"stacks/it.txt:6: {what}, ")
    assert str(error.value).endswith(
        ", so nothing is installed from it; restore it with git checkout, or find a whole one with git log"
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("# The packages", "# Packages", 1),
        ("# python cpython 3.11", "# python /usr/bin/python3", 2),
        ("# platform linux x86_64 glibc, 2.28 or later", "--index-url x", 3),
        ("absl-py", "zzz", 5),
        ("torch==", "keras==", 8),
        ("absl-py", "absl-pÿ", 4),
        ("absl-py", "absl\0py", 4),
        (A, A[:-1], 4),
    ],
)
def test_any_other_text(old, new, line):
    with pytest.raises(BadStack, match=rf"^it:{line}: "):
        parse(TEXT.replace(old, new, 1).encode(), "it")


@pytest.mark.parametrize(
    "text", ["", "\n", TEXT + "\n", TEXT[:-1], TEXT.replace("keras==3.15.1", "keras==3.14.0"), TEXT + "\n" + TEXT]
)
def test_text_that_is_not_its_hashs(text):
    with pytest.raises(BadStack, match=r"^it:"):
        parse(text.encode(), "it", hash_of(STACK))


def test_an_edited_file_is_refused_by_its_name(tmp_path):
    name = write(tmp_path, STACK)
    path = path_of(tmp_path, name)
    path.write_text(TEXT.replace("keras==3.15.1", "keras==3.14.0"))
    with pytest.raises(BadStack) as error:
        read(tmp_path, name)
    assert str(error.value).startswith(f"{path}: was edited: its text does not have the hash that is its name; ")


@pytest.mark.parametrize("name", ["../../etc/passwd", "0123456789ABCDEF", "0123", "", "0123456789abcdef\n"])
def test_what_is_no_hash_names_no_file(tmp_path, name):
    with pytest.raises(BadStack, match="is no name of a stack"):
        read(tmp_path, name)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(BadStack, match="is not there, though an entry refers to it"):
        read(tmp_path, "0" * 16)
    path_of(tmp_path, "0" * 16).mkdir(parents=True)
    with pytest.raises(BadStack, match="cannot be read"):
        read(tmp_path, "0" * 16)
    with pytest.raises(BadStack, match="is longer than any stack"):
        parse(b"#" * (LONGEST + 1), "it")


def test_requirements_that_a_person_names(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("# old ones\n\nKeras==3.14.0   # a word\n  absl_py == 2.3.1\ntorch==2.12.0+CPU\n")
    found = read_requirements(path, STACK)
    named = (Package("absl-py", "2.3.1"), Package("keras", "3.14.0"), Package("torch", "2.12.0+cpu"))
    assert found == Stack(STACK.python, STACK.platform, "", named)
    assert not any(one.is_seen for one in found.packages)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("-e git+https://example/x#egg=x", "is an option"),
        ("x @ file:///x", "names a URL"),
        ("keras>=3", "has no exact version"),
        ("keras==3.*", "has no exact version"),
        ("keras==3 --hash=sha256:0", "is an option"),
        ("keras==3; python_version < '3'", "has a marker"),
        ("keras==three", "is no name with an exact version"),
        ("absl-py==2", "names absl-py a second time"),
    ],
)
def test_requirements_that_are_no_stack(tmp_path, line, what):
    path = tmp_path / "old.txt"
    path.write_text(f"absl_py==2.3.1\n{line}\n")
    with pytest.raises(BadStack) as error:
        read_requirements(path, STACK)
    assert str(error.value).startswith(f"{path}:2: {what}")


def test_a_stacks_own_file_by_its_path(tmp_path):
    path = path_of(tmp_path, write(tmp_path, STACK))
    assert read_requirements(path, STACK) == STACK
    renamed = path.rename(path.with_name("0" * 16 + ".txt"))
    with pytest.raises(BadStack, match="was edited"):
        read_requirements(renamed, STACK)
    assert read_requirements(renamed.rename(path.with_name("copy.txt")), STACK) == STACK
    for text in ("", "# nothing\n"):
        (tmp_path / "empty.txt").write_text(text)
        with pytest.raises(BadStack, match="names no package"):
            read_requirements(tmp_path / "empty.txt", STACK)
    with pytest.raises(BadStack, match="cannot be read"):
        read_requirements(tmp_path / "none.txt", STACK)


def test_unused_is_what_no_baseline_names(tmp_path):
    assert unused(tmp_path) == []
    used = write(tmp_path, STACK)
    other = write(tmp_path, Stack("cpython 3.12", STACK.platform, "", STACK.packages))
    (tmp_path / "stacks" / "notes.txt").write_text("a person's own")
    (tmp_path / "machine.json").write_text(f'<<<<<<< damaged "stack": "{used}"')
    assert unused(tmp_path) == [path_of(tmp_path, other)]
    assert remove_unused(tmp_path) == [path_of(tmp_path, other)]
    assert sorted(path.name for path in (tmp_path / "stacks").iterdir()) == [f"{used}.txt", "notes.txt"]
    shutil.rmtree(tmp_path / "stacks")
    assert remove_unused(tmp_path) == []


def test_pytests_process_reads_none_of_it_at_its_start():
    code = "import sys, pytest_metalperf.plugin; print([m for m in sys.modules if 'references.' in m or 'worker.stack' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"stack", "stack_file", "collected"} & set(re.findall(r"\w+", done.stdout))
