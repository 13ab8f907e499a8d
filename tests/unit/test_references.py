"""What a worker of a revision may import, and what it may not."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from pytest_metalperf.measure.interpreter import Interpreter
from pytest_metalperf.references.reference import Reference
from pytest_metalperf.worker.serve import Job


def wrong(reference: Reference, here: dict | None = None, there: dict | None = None, prefix: str = "/usr") -> str:
    sides = ({"files": files or {}, "prefix": prefix} for files in (here, there))
    return reference.wrong_imports(*sides)


@pytest.fixture
def trees(tmp_path):
    """A repository with a package and its checkout elsewhere, and a reference to that."""
    old, new = tmp_path / "repository", tmp_path / "checkout"
    for tree in (old, new):
        (tree / "src" / "package").mkdir(parents=True)
        (tree / "src" / "package" / "__init__.py").write_text("")
        (tree / "module.py").write_text("")
        (tree / "venv" / "lib").mkdir(parents=True)
    return old, new, Reference("v1", Interpreter(moved=(str(old), str(new))), "3.11.7")


@pytest.mark.parametrize(
    ("name", "tree", "file"),
    [
        ("package", "new", "src/package/__init__.py"),
        ("module", "new", "module.py"),
        ("numpy", "old", "venv/lib/numpy.py"),  # a virtual environment inside the repository
        ("numpy", "elsewhere", "numpy.py"),
        ("pytest_metalperf", "elsewhere", "x.zip/pytest_metalperf/__init__.py"),
    ],
)
def test_what_belongs(trees, tmp_path, name, tree, file):
    old, new, reference = trees
    folder = {"old": old, "new": new}.get(tree, tmp_path / tree)
    assert wrong(reference, there={name: str(folder / file)}, prefix=str(old / "venv")) == ""


@pytest.mark.parametrize(
    ("name", "tree", "file"),
    [
        ("package", "old", "src/package/__init__.py"),  # an editable installation
        ("package.compiled", "old", "src/package/compiled.so"),
        ("package", "elsewhere", "site-packages/package/__init__.py"),  # an installation that is no link
        ("module", "elsewhere", "site-packages/module.py"),
    ],
)
def test_what_does_not(trees, tmp_path, name, tree, file):
    old, new, reference = trees
    folder = {"old": old, "new": new}.get(tree, tmp_path / tree)
    found = wrong(reference, there={name: str(folder / file)}, prefix=str(old / "venv"))
    assert found.startswith(f"{name} was imported from {folder / file}, not from v1: ")


def test_a_module_named_as_one_of_pythons_own_is_no_stray(trees, tmp_path):
    _, new, reference = trees
    (new / "queue.py").write_text("")
    assert wrong(reference, there={"queue": str(tmp_path / "lib" / "queue.py")}, prefix="/usr") == ""


def test_what_is_compiled_here_alone_is_told(trees):
    old, new, reference = trees
    files = {"package.fast": str(old / "src" / "package" / "fast.so")}
    assert wrong(reference, here=files).startswith("package.fast is compiled in the working tree and not in v1: ")
    assert wrong(reference, here={"numpy.core": str(old / "venv" / "lib" / "core.so")}, prefix=str(old / "venv")) == ""
    (new / "src" / "package" / "fast.so").write_text("")
    assert wrong(reference, here=files) == ""


def test_an_interpreter_has_no_strays(tmp_path):
    reference = Reference("python", Interpreter(python="python"), "3.11.7")
    assert wrong(reference, there={"x": str(tmp_path / "x.py")}) == ""


@pytest.mark.parametrize("file", ["_classes.py", "/no/such/archive.zip/mod.py", None, 5])
def test_modules_that_were_not_imported_from_a_file_are_of_no_place(monkeypatch, file):
    made = ModuleType("made_by_hand")  # as torch.classes is, whose file is a name without a folder
    made.__file__ = file
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    found = Job(lambda message: None).imports()["files"]
    assert "made_by_hand" not in found
    assert found["pytest"].endswith(".py")
