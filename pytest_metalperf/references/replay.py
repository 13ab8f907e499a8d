"""A baseline as a recipe: what is kept to train it again, and how its own code is found for a replay.

Theirs are the builder, its code and its packages, as they were recorded; the measuring loop, the backends and the plan are
today's on both sides.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..baselines.errors import BaselineError
from ..baselines.file import Store
from ..baselines.schema import Accepted, Entry
from ..baselines.writing import locked
from ..measure.interpreter import HERE
from ..results.run import Run
from ..worker.backends import is_computing
from ..workloads.workload import Workload
from .code import Code, code_of_tree, commit_with, digest_of_commit, link_data, top_of
from .collected import Collected, collected
from .environment import Environments, NoEnvironment
from .git import is_ancestor, is_shallow
from .history import HEAD, NoHistory, Remote
from .installed import Project
from .installer import EXTRA
from .reference import BadReference, Reference, at_commit
from .stack import Stack, difference
from .stack_file import read, remove_unused, write

_SHALLOW = "; this clone is shallow, so its history was not looked at: "


class NoReplay(Exception):
    """One sentence: why a baseline cannot be trained again here."""


@dataclass(frozen=True)
class Today:
    """What a fresh run of this session trained with, as a recipe names it.

    Attributes:
        file: the builder's, relative to the repository; None for what no repository holds.
        code: of the repository; None outside git.
        packages: that its worker had loaded.
        variables: that say how to compute, by name.
        stale: an installed file of the project that is not what the working tree has; empty for none.
    """

    file: str | None
    code: Code | None
    packages: Collected
    variables: Mapping[str, str]
    stale: str = ""


@dataclass(frozen=True)
class Replay:
    """A baseline that can be trained again.

    Attributes:
        reference: where its code and its packages come from; None where nothing differs, so that there is no other side.
        workload: as it was recorded.
        differs: code, packages and variables that differ from today's, a clause each.
        not_replayed: what of that is today's all the same, a clause each: then `within` says nothing of it.
        accepted_on: another machine, where what it has accepted since takes the place of this one's baseline.
    """

    reference: Reference | None
    workload: Workload
    differs: tuple[str, ...] = ()
    not_replayed: tuple[str, ...] = ()
    accepted_on: str = ""


@dataclass
class Recipes:
    """The recipes of one session, and the checkouts that it needed for them.

    Attributes:
        rootdir: of pytest.
        baselines: the folder of the baseline files.
        environments: where stacks are installed.
    """

    rootdir: Path
    baselines: Path
    environments: Environments
    _codes: dict[tuple[str, ...], Code | None] = field(default_factory=dict)
    _commits: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    _fetched: set[str] = field(default_factory=set)  # commits of which the clone has nothing
    _references: dict[tuple[object, ...], Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._top = top_of(self.rootdir)
        self._remote = None if self._top is None else Remote(self._top)
        self._project = None if self._top is None else Project(self._top)
        self._others: dict[str, dict[str, Entry]] | None = None

    def today(self, workload: Workload, run: Run) -> Today | None:
        """What a run trained with; None where nobody looked, or the builder cannot be built from a file."""
        if run.loaded is None or workload.source.get("kind") not in ("import", "reference"):
            return None
        file = self._of_repository(workload.source)
        if workload.source["kind"] == "import" and file is None:
            return None
        stale = (
            "" if self._top is None or self._project is None else self._project.stale(run.loaded["imports"]["files"])
        )
        code = Code(_own_digest()) if workload.source["kind"] == "reference" else None
        if file is not None and self._top is not None:
            names = tuple(sorted(run.loaded["imports"]["files"].values()))
            if names not in self._codes:
                self._codes[names] = code_of_tree(self._top, self.baselines, names)
            code = self._codes[names]
        return Today(file, code, collected(run.loaded["stack"], self._top), computing(run.versions), stale)

    def accepted(self, workload: Workload, today: Today, commit: str | None) -> Accepted | None:
        """The recipe to store; its stack is written first, so call it under the lock of the baselines' folder.

        None where what was measured is an installed copy of other code than the working tree's.

        Raises:
            OSError: when the stack cannot be written.
        """
        if today.stale:
            return None
        return Accepted(
            commit=commit,
            digest=None if today.code is None else today.code.digest,
            added=[] if today.code is None else list(today.code.added),
            file=today.file,
            qualified_name=str(workload.source["name"]),
            axes=dict(workload.axes),
            variables=dict(today.variables),
            stack=write(self.baselines, today.packages.stack),
        )

    def elsewhere(self, id: str, machine: str) -> tuple[str, Entry] | None:  # noqa: A002
        """A recipe of a workload that another machine has recorded, and that machine: the newest by its date."""
        return max(self._of_others(id, machine), key=lambda one: (_first_date(one[1]), one[0]), default=None)

    def newest(self, id: str, machine: str, entry: Entry) -> tuple[str, Entry]:  # noqa: A002
        """Of all machines' recipes of a workload that whose code came last in the history of HEAD, and its machine.

        A slowdown that was accepted on one machine is no news on another, whose own baseline is older. What git cannot put
        into an order replaces nothing.

        Args:
            id: of the workload.
            machine: whose recipe stands where git knows of none that came later.
            entry: that recipe's.
        """
        found = machine, entry
        for other in self._of_others(id, machine):
            if self._came_later(other, found):
                found = other
        return found

    def _came_later(self, one: tuple[str, Entry], other: tuple[str, Entry]) -> bool:
        later, earlier = (self._commit_of(entry, self.baselines / f"{machine}.json") for machine, entry in (one, other))
        if later is None or earlier is None or later == earlier:
            return False
        assert self._top is not None
        assert self._remote is not None
        if self._fetched.isdisjoint((later, earlier)):
            return is_ancestor(self._top, earlier, later) and is_ancestor(self._top, later, "HEAD")
        history = self._remote.history()  # known by now, since one of them was found there
        return is_ancestor(history, earlier, later) and is_ancestor(history, later, HEAD)

    def _commit_of(self, entry: Entry, store: Path) -> str | None:
        """The commit that holds the code of an entry, where there is one."""
        if self._top is None or entry.accepted is None or entry.accepted.digest is None:
            return None
        return self._found(entry.accepted, store)[0]

    def _of_others(self, id: str, machine: str) -> list[tuple[str, Entry]]:  # noqa: A002
        """The recipes of a workload that other machines have recorded. A file that cannot be read has none."""
        if self._others is None:
            self._others = {}
            for path in sorted(self.baselines.glob("*.json")):
                with contextlib.suppress(BaselineError):
                    self._others[path.stem] = Store(self.baselines, path.stem).workloads
        others = {name: stored[id] for name, stored in self._others.items() if name != machine and id in stored}
        return [(name, entry) for name, entry in others.items() if entry.accepted is not None]

    def replay(self, recipe: Accepted, workload: Workload, today: Today, machine: str) -> Replay:
        """How to train what `recipe` names.

        Args:
            recipe: of a stored entry.
            workload: as it is asked for today.
            today: what it trains with.
            machine: that recorded it.

        Raises:
            NoReplay: in one sentence.
        """
        digest = None if today.code is None else today.code.digest
        if today.stale:
            raise NoReplay(f"{today.stale} is not what the working tree has: install the project again")
        if recipe.stack is None or (recipe.digest is None and digest is not None):
            raise NoReplay("its baseline was recorded without a recipe; record it again, and it is one")
        try:
            theirs = read(self.baselines, recipe.stack)
        except BaselineError as error:
            raise NoReplay(str(error)) from None
        if digest is None and recipe.digest is not None:
            raise NoReplay("git cannot say what the code of today is")
        if recipe.digest != digest and workload.source["kind"] == "reference":
            raise NoReplay(
                "the model is pytest-metalperf's own, and another version of that measures today; record it again"
            )
        commit = (
            None if recipe.digest == digest else self._commit_with(recipe, self.baselines / f"{machine}.json", digest)
        )
        packages = difference(theirs, today.packages.stack, today.packages.installed)
        variables = _changes(recipe.variables or {}, today.variables)
        differs = (*(["code"] if commit else []), *([packages.words()] if packages else []), *variables)
        if not differs:
            return Replay(None, workload)
        python = ""
        left: tuple[str, ...] = ()
        if packages.needs_environment:
            try:
                python = str(self.environments.of(theirs, today.packages.tools).python)
            except NoEnvironment as error:
                if len(differs) == 1:
                    raise NoReplay(f"only its packages differ ({packages.words()}): {error}") from None
                left = (f"{packages.words()} ({error})",)
        then = _set_as_then(recipe.variables or {}, today.variables)
        reference = self._reference(commit, theirs if python else None, python, then)
        own = _own_workload(recipe, workload, reference) if commit else workload
        return Replay(reference, own, differs, left)

    def _commit_with(self, recipe: Accepted, store: Path, digest: str | None) -> str | None:
        """The commit that holds the recipe's code; None where that is the code of today, but for files that nothing imports."""
        assert self._top is not None
        commit, why = self._found(recipe, store)
        if commit is None:
            raise _no_commit(why)
        lies_in = self._with_files(commit)
        return None if digest_of_commit(self._top, commit, self.baselines, (), lies_in) == digest else commit

    def _found(self, recipe: Accepted, store: Path) -> tuple[str | None, str]:
        """The commit that holds the recipe's code, or why there is none."""
        assert self._top is not None
        assert recipe.digest is not None
        if recipe.digest not in self._commits:
            code = Code(recipe.digest, tuple(recipe.added))
            found = commit_with(self._top, code, recipe.commit, store)
            why = ""
            if found is None and is_shallow(self._top):
                found, why = self._from_remote(code, recipe.commit, store)
            self._commits[recipe.digest] = found, why
        return self._commits[recipe.digest]

    def _with_files(self, commit: str) -> Path | None:
        """A repository with the files of a commit that the clone lacks; None where the clone has them.

        Raises:
            NoReplay: where the remote does not give them.
        """
        if commit not in self._fetched:
            return None
        assert self._remote is not None
        try:
            return self._remote.whole(commit)
        except NoHistory as error:
            raise _no_commit(f"{_SHALLOW}{error}") from None

    def _from_remote(self, code: Code, recorded: str | None, store: Path) -> tuple[str | None, str]:
        """A commit that the clone lacks, or why there is none."""
        assert self._top is not None
        assert self._remote is not None
        if not may_fetch():
            return None, f"{_SHALLOW}{EXTRA} lets it be fetched, or `fetch-depth: 0` where CI checks out"
        try:
            commit = commit_with(self._top, code, recorded, store, self._remote.history())
        except NoHistory as error:
            return None, f"{_SHALLOW}{error}"
        self._fetched |= {commit} if commit is not None else set()
        return commit, ""

    def _reference(
        self, commit: str | None, packages: Stack | None, python: str, variables: Mapping[str, str | None]
    ) -> Reference:
        key = (commit, python, *sorted(variables.items(), key=str))
        if key not in self._references:
            found = Reference("its baseline", HERE, "") if commit is None else self._checked_out(commit)
            interpreter = replace(
                found.interpreter, name=found.name, python=python, variables=variables, own_packages=bool(python)
            )
            self._references[key] = replace(found, interpreter=interpreter, packages=packages)
        return self._references[key]

    def _checked_out(self, commit: str) -> Reference:
        assert self._top is not None
        try:
            found = at_commit(f"its baseline ({commit[:10]})", commit, self._top, self._with_files(commit))
        except (BadReference, OSError, subprocess.SubprocessError) as error:
            raise NoReplay(f"the code of its baseline cannot be laid out: {error}") from None
        assert found.interpreter.moved is not None
        link_data(self._top, Path(found.interpreter.moved[1]))
        return found

    def _of_repository(self, source: Mapping[str, Any]) -> str | None:
        if self._top is None or "file" not in source:
            return None
        path = Path(source["file"]).resolve()
        if self._project is not None and not self._project.is_of_tree(path):
            path = self._project.counterpart(source["module"], path) or Path(os.sep)
        return path.relative_to(self._top).as_posix() if path.is_relative_to(self._top) else None

    def close(self, *, unused: bool = False) -> None:
        """Remove the checkouts, and, where entries were replaced, the stacks that no entry needs any more."""
        for reference in self._references.values():
            reference.close()
        if self._remote is not None:
            self._remote.close()
        if unused:
            with contextlib.suppress(OSError), locked(self.baselines.resolve()) as alone:
                if alone:
                    remove_unused(self.baselines)


def _no_commit(why: str) -> NoReplay:
    return NoReplay(
        "no commit holds the code of its baseline as it was measured: commit code and baseline together, or record"
        f" it again{why}"
    )


def _first_date(entry: Entry) -> str:
    """When it was accepted: further sessions that extend it come later."""
    return min(run.recorded for run in entry.runs)


def may_fetch() -> bool:
    """Whether code and packages may be fetched: the extra `[replay]` is the consent."""
    return importlib.util.find_spec("uv") is not None


@functools.cache
def _own_digest() -> str:
    """Of what we train reference models with: a slowdown that our own upgrade brought is no machine's."""
    found = hashlib.sha256()
    package = HERE.package
    for path in sorted((package / "worker").rglob("*.py")):
        found.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def computing(versions: Mapping[str, str]) -> dict[str, str]:
    """Of what a run tells of its versions: the variables that say how to compute, and not where."""
    return {name: value for name, value in versions.items() if is_computing(name)}


def _changes(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {theirs.get(name, 'unset')} -> {ours.get(name, 'unset')}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]


def _set_as_then(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str | None]:
    """What to set and to unset, so that they are as recorded. A file may name any variable; one that loads code is not set."""
    return {name: theirs.get(name) for name in sorted({*theirs, *ours}) if is_computing(name)}


def _own_workload(recipe: Accepted, workload: Workload, reference: Reference) -> Workload:
    """What to train there: the builder where it was and by the name that it had, with the axes that it took."""
    if workload.source["kind"] != "import" or recipe.file is None or reference.interpreter.moved is None:
        return workload
    top, tree = reference.interpreter.moved
    file = Path(tree, *recipe.file.split("/"))
    if ".." in recipe.file.split("/") or not file.is_file():
        raise NoReplay(f"{reference.name} has no file {recipe.file}")
    same = Path(os.path.relpath(workload.source["file"], top)).as_posix() == recipe.file
    source = reference.moved(workload.source) if same else _source_of(file)
    assert not isinstance(source, str)
    axes = {**workload.axes, **(recipe.axes or {})} if recipe.axes is not None else workload.axes
    return replace(workload, source={**source, "name": recipe.qualified_name or source["name"]}, axes=axes)


def _source_of(file: Path) -> dict[str, Any]:
    """How a worker imports a file: by the name that its packages give it."""
    names, root = [file.stem], file.parent
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    return {"kind": "import", "module": ".".join(names), "file": str(file), "root": str(root)}
