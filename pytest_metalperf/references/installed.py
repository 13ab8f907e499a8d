"""What this interpreter has installed of a repository: its project, as a copy or editable."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from ..worker.distributions import normalised, source
from ..worker.sources import interpreter_folders, is_below
from .collected import OURSELVES, project_names


def installed(top: Path) -> Iterator[Distribution]:
    """The distributions of a repository; this package itself is none.

    Args:
        top: of the repository.
    """
    named = project_names(top)
    for one in distributions():
        name = normalised(one.metadata["Name"] or "")
        made_from = source(one.read_text("direct_url.json") or "")
        if name != OURSELVES and (name in named or (made_from and Path(made_from).is_relative_to(top))):
            yield one


def modules(top: Path) -> frozenset[str]:
    """The top-level modules of those distributions."""
    return frozenset(name for one in installed(top) for name in _of(one))


def _of(one: Distribution) -> Iterator[str]:
    for file in one.files or ():
        first = file.parts[0]
        if len(file.parts) == 1 and first.endswith(".py"):
            yield first.removesuffix(".py")
        elif len(file.parts) > 1 and first.isidentifier():
            yield first


@dataclass(frozen=True)
class Project:
    """A repository's project: which of its installed files are those of the working tree.

    Attributes:
        top: of the repository.
    """

    top: Path

    @functools.cached_property
    def _modules(self) -> frozenset[str]:
        return modules(self.top)

    def is_of_tree(self, file: Path) -> bool:
        """Whether a file lies in the working tree, and in no environment that lies there too, such as tox's."""
        return file.is_relative_to(self.top) and not is_below(str(file), interpreter_folders())

    def counterpart(self, module: str, file: Path) -> Path | None:
        """The file of the working tree that an installed module was made from; None for what is not of the project.

        Args:
            module: its name.
            file: as it was imported.
        """
        if module.partition(".")[0] not in self._modules:
            return None
        parts = module.split(".")[:-1] if file.name != "__init__.py" else module.split(".")
        found = (root.joinpath(*parts, file.name) for root in (self.top, self.top / "src"))
        return next((one for one in found if one.is_file()), None)

    def stale(self, imported: Mapping[str, str]) -> str:
        """An installed file that is not as its counterpart in the working tree is; empty for none.

        Args:
            imported: files by the names of modules.
        """
        for name, path in sorted(imported.items()):
            file = Path(path)
            if file.suffix == ".py" and not self.is_of_tree(file.resolve()):
                own = self.counterpart(name, file)
                if own is not None and own.read_bytes() != file.read_bytes():
                    return path
        return ""
