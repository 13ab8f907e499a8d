"""What --metal-against points to: another interpreter, or a git revision in a temporary worktree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.version import Version

from ..measure.interpreter import Interpreter
from ..measure.temporary import made, removed
from ..worker.sources import moved
from ..workloads.workload import Workload, WorkloadError
from .collected import collected
from .git import asked, check_out, commit_of, git, is_shallow, refusal
from .installed import modules
from .stack import Stack

Imports = Mapping[str, Any]
OURS = __package__.partition(".")[0]
OLDEST = Version("3.10")
ASK_SECONDS = 60.0
CHECKOUT_SECONDS = 600.0
COMPILED = (".so", ".pyd", ".dylib")
_ASK = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


class BadReference(Exception):
    """One sentence: what --metal-against names cannot be compared with, and why."""


@dataclass(frozen=True)
class Reference:
    """What the working tree, in this interpreter, is compared with.

    Attributes:
        name: as a person wrote it, a revision with its commit.
        interpreter: where its workers' code comes from.
        python: its interpreter's version.
        own_package: whether this package itself is of the repository, so that its models are the revision's too.
        packages: that its workers must load; None where nobody named any.
        built: where the project lies as built from its code; None where the checkout itself is imported.
        project: top-level modules of the project as it is installed here.
    """

    name: str
    interpreter: Interpreter
    python: str
    own_package: bool = False
    packages: Stack | None = None
    built: Path | None = None
    project: frozenset[str] = frozenset()
    _folder: Path | None = field(default=None, repr=False)

    def moved(self, source: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
        """Where the reference finds a backend: in its own checkout, if it is of the repository."""
        return source if isinstance(source, str) else self.interpreter.source(source)

    def workload(self, workload: Workload) -> Workload:
        """`workload`, as the reference builds it.

        Raises:
            WorkloadError: in one sentence, for what is the same there or cannot be sent there.
        """
        source: Mapping[str, Any] = workload.source
        if source["kind"] == "pickle" and self.python.split(".")[:2] != sys.version.split(".")[:2]:
            here = ".".join(sys.version.split(".")[:2])
            raise WorkloadError(
                f"{workload.name} is a closure, and its bytecode of Python {here} does not run on the"
                f" Python {self.python} of --metal-against {self.name}: make it a function of the module with"
                " keyword parameters, which is imported there by name"
            )
        if self.interpreter.moved is None:
            return workload
        if source["kind"] == "pickle":
            raise WorkloadError(
                f"{workload.name} is a closure, which travels as it is in the working tree, so {self.name} would train the"
                " same code: make it a function of the module with keyword parameters"
            )
        if source["kind"] == "reference" and not self.own_package:
            raise WorkloadError(
                f"{workload.name} is a model of pytest-metalperf, which no revision of this repository changes: compare a"
                " builder of your own, or another interpreter"
            )
        if source["kind"] == "import":
            theirs = self.moved(source)
            assert not isinstance(theirs, str)
            if theirs["file"] == source["file"]:
                raise WorkloadError(
                    f"{workload.name} is built by {source['file']}, outside this repository, which no revision of it changes"
                )
            if not Path(theirs["file"]).exists():
                name = Path(source["file"]).relative_to(self.interpreter.moved[0])
                raise WorkloadError(
                    f"{workload.name}: {self.name} has no file {name}, so there is nothing to compare with"
                )
            return replace(workload, source=theirs)
        return workload

    def wrong_imports(self, here: Imports, there: Imports) -> str:
        """What two workers imported that the comparison would be wrong with, in one sentence; empty if there is nothing.

        Args:
            here: of the working tree's worker: `files` of the modules by name, and its interpreter's `prefix`.
            there: of the revision's.
        """
        if self.interpreter.moved is None:
            return ""
        old, new = (Path(folder).resolve() for folder in self.interpreter.moved)
        for name, path, inside in _modules(there, old):
            top_level = "." not in name and name not in sys.stdlib_module_names
            of_repository = top_level and (name in self.project or _holds(new, name))
            if not self._is_theirs(path) and (inside or of_repository):
                return (
                    f"{name} was imported from {path}, not from {self.name}: an editable or compiled installation defeats"
                    " --metal-against with a revision; install each revision into an environment of its own and name its"
                    " interpreter instead"
                )
        for name, path, inside in _modules(here, old):
            if inside and self.built is None and path.suffix in COMPILED and not (new / path.relative_to(old)).exists():
                return (
                    f"{name} is compiled in the working tree and not in {self.name}: build each revision in an environment of"
                    " its own and name its interpreter instead"
                )
        return ""

    def wrong_packages(self, answer: Mapping[str, Any]) -> str:
        """What a worker of theirs has loaded otherwise than named, in one sentence; empty for nothing.

        Args:
            answer: of its `stack`.
        """
        if self.packages is None:
            return ""
        there = {one.name: one for one in collected(answer).installed}
        wrong = [
            f"{one.name} {there[one.name].version if one.name in there else 'none'} instead of {one.version}"
            for one in self.packages.packages
            if one.name not in there or there[one.name].version != one.version
        ]
        first = f"{', '.join(wrong[:3])}{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}"
        return f"{self.name} would import {first}: look what PYTHONPATH and .pth files put first" if wrong else ""

    def _is_theirs(self, path: Path) -> bool:
        assert self.interpreter.moved is not None
        return any(
            path.is_relative_to(folder.resolve())
            for folder in (Path(self.interpreter.moved[1]), self.built)
            if folder is not None
        )

    def missing_module(self, message: str) -> str:
        """Where a module that the checkout lacks lies in the working tree, out of git's sight; empty where it does not."""
        found = re.search(r"No module named '([\w.]+)'", message)
        if found is None or self.interpreter.moved is None:
            return ""
        top, path = Path(self.interpreter.moved[0]), found[1].replace(".", "/")
        for root in (top, top / "src"):
            for file in (root / f"{path}.py", root / path / "__init__.py"):
                if file.exists() and not asked(top, "ls-files", str(file)):
                    return (
                        f"{file.relative_to(top)} is in the working tree and not in git, so a checkout lacks it: commit it,"
                        " or compare with an interpreter that has both installed"
                    )
        return ""

    def close(self) -> None:
        """Remove the checkout, if there is one."""
        if self._folder is not None:
            removed(self._folder)


def find(text: str, rootdir: Path) -> Reference:
    """The reference that `text` names: an interpreter, a virtual environment's folder, or a revision.

    Raises:
        BadReference: in one sentence.
    """
    try:
        path = Path(text).expanduser()
        path = path if path.is_absolute() else Path.cwd() / path
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a user whom nobody knows
        if not commit_of(rootdir, text):
            raise BadReference(f"--metal-against {text[:100]}: {getattr(error, 'strerror', None) or error}") from None
    if _exists(path) and os.sep in text and commit_of(rootdir, text):
        raise BadReference(
            f"--metal-against {text}: is a revision and a file or folder; write --metal-against=./{text} for the file, or"
            f" the whole name of the revision (git rev-parse --symbolic-full-name {text})"
        )
    if path.is_dir() and (os.sep in text or not commit_of(rootdir, text)):
        inside = [path / "bin" / "python", path / "Scripts" / "python.exe"]
        python = next((candidate for candidate in inside if candidate.exists()), None)
        if python is None:
            raise BadReference(f"--metal-against {text}: is a folder without an interpreter (bin/python) in it")
        return _interpreter(text, python)
    if path.is_file():
        return _interpreter(text, path)
    commit = commit_of(rootdir, text)
    if commit:
        return _revision(text, commit, rootdir)
    found, why = shutil.which(text), refusal(rootdir)
    if found and os.sep not in text and (not why or "py" in text):  # libwww-perl brings a program of the name HEAD
        return _interpreter(text, Path(found))
    if why:
        raise BadReference(f"--metal-against {text}: is no interpreter (there is no such file), and git refuses: {why}")
    shallow = (
        "; this clone is shallow and may lack it: git fetch --unshallow, or `fetch-depth: 0` where CI checks out"
        if is_shallow(rootdir)
        else ""
    )
    raise BadReference(
        f"--metal-against {text}: is neither an interpreter (there is no such file)"
        f" nor a revision of a git repository at {rootdir}{shallow}"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _interpreter(text: str, python: Path) -> Reference:
    try:  # not resolved: a virtual environment's python is a link to another environment's
        done = subprocess.run(
            [str(python), "-c", _ASK],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        version = done.stdout.strip()
        theirs = Version(version)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BadReference(
            f"--metal-against {text}: {python} does not run as a Python interpreter ({_short(error)})"
        ) from None
    if theirs < OLDEST:
        raise BadReference(f"--metal-against {text}: is Python {version}; workers need {OLDEST} or later")
    return Reference(text, Interpreter(name=text, python=str(python)), version)


def _revision(text: str, commit: str, rootdir: Path) -> Reference:
    try:
        top = Path(git(rootdir, "rev-parse", "--show-toplevel")).resolve()
        return at_commit(text if commit.startswith(text) else f"{text} ({commit[:10]})", commit, top)
    except (BadReference, OSError, subprocess.SubprocessError) as error:
        raise BadReference(f"--metal-against {text}: {_short(error)}") from None


def at_commit(name: str, commit: str, top: Path, repository: Path | None = None) -> Reference:
    """A commit of a repository, laid out in a folder of its own.

    Args:
        name: for messages.
        commit: as hexadecimal digits.
        top: of the working tree.
        repository: that has the commit, where it is not the working tree's.

    Raises:
        BadReference: where it cannot be checked out.
    """
    folder = made()
    tree = folder.resolve() / top.name
    try:
        check_out(repository or top, commit, tree, CHECKOUT_SECONDS)
    except BaseException as error:
        removed(folder)
        if isinstance(error, (OSError, subprocess.SubprocessError)):
            raise BadReference(f"cannot be checked out ({_short(error)})") from None
        raise
    package = Path(__file__).parents[1].resolve()
    theirs = Path(moved(str(package), str(top), str(tree)))
    own = theirs != package and (theirs / "worker" / "serve.py").exists()
    interpreter = Interpreter(name=name, package=theirs if own else package, moved=(str(top), str(tree)))
    python = sys.version.split()[0]
    return Reference(name, interpreter, python, own, project=frozenset() if own else modules(top), _folder=folder)


def _modules(imports: Imports, repository: Path) -> Iterator[tuple[str, Path, bool]]:
    """Name and file of each module that is not ours, and whether it lies in the repository, outside the interpreter."""
    prefix = Path(imports["prefix"]).resolve()
    for name, file in sorted(imports["files"].items()):
        if name.partition(".")[0] != OURS and ".zip" not in file:
            path = Path(file).resolve()
            yield name, path, path.is_relative_to(repository) and not path.is_relative_to(prefix)


def _holds(tree: Path, name: str) -> bool:
    """Whether a checkout has a module or package of this name, at its top or below `src`."""
    return any(
        (root / f"{name}.py").exists() or (root / name / "__init__.py").exists() for root in (tree, tree / "src")
    )


def _short(error: BaseException) -> str:
    stderr = getattr(error, "stderr", None)
    lines = stderr.strip().splitlines() if isinstance(stderr, str) else []
    plain = str(error) if isinstance(error, BadReference) else f"{type(error).__name__}: {error}"
    return (lines[-1] if lines else plain)[:200]
