"""What is shipped to a worker: its interpreter, our own code as one zip, the import path of the user's."""

from __future__ import annotations

import functools
import importlib.util
import io
import marshal
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..worker.sources import interpreter_folders, is_below, moved

# A worker's stdout is /dev/null and its stderr is pytest's capture file: both go to a log of its own, first thing.
BOOTSTRAP = """
import os, sys
channel.send(os.getpid())
setup = channel.receive()
folder = setup["folder"]
if folder is None:
    import atexit, shutil, tempfile
    folder = tempfile.mkdtemp(prefix="metalperf-")
    atexit.register(shutil.rmtree, folder, True)
    with open(os.path.join(folder, setup["zip"]), "wb") as file:
        file.write(setup["archive"])
setup["log"] = os.path.join(folder, setup["log"])
log = os.open(setup["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.dup2(log, 1)
os.dup2(log, 2)
import faulthandler
faulthandler.enable(file=2)
sys.path.insert(0, os.path.join(folder, setup["zip"]))
from pytest_metalperf.worker.serve import serve
serve(channel, setup)
"""


@dataclass(frozen=True)
class Interpreter:
    """Where a worker's code comes from.

    Attributes:
        name: for messages; empty for this interpreter and the working tree.
        python: its interpreter; empty for this one.
        package: this package, as the worker gets it.
        moved: a folder and the one that stands instead of it, such as a repository and a checkout of another revision;
            None where nothing is moved.
        variables: environment variables that its workers start with; None is unset.
        own_packages: whether it has all packages that its workers need, so that folders of this process's packages are left
            out of their import path.
        first: folders that its workers import from before any other, but for our own code.
    """

    name: str = ""
    python: str = ""
    package: Path = Path(__file__).parents[1]
    moved: tuple[str, str] | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)
    own_packages: bool = False
    first: tuple[str, ...] = ()

    def source(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        """Where this interpreter finds what `source` describes: in its own checkout, if it is of the repository."""
        if self.moved is None or "file" not in source:
            return source
        return {**source, **{key: moved(source[key], *self.moved) for key in ("file", "root") if source.get(key)}}


HERE = Interpreter()


@functools.cache
def archive(package: Path) -> bytes:
    """`worker/` below the package's own name, as one zip.

    Beside each source lies what this interpreter compiles it to, which a worker would need a tenth of a second for. Other
    interpreters' imports see that it is not theirs and compile the source.

    A user's backend or builder that imports `pytest_metalperf.worker` gets what was shipped, also where the plugin is
    not installed; where it is, the rest of the package comes from there.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in [package / "__init__.py", *sorted((package / "worker").rglob("*.py"))]:
            name = f"{package.name}/{path.relative_to(package).as_posix()}"
            source = path.read_bytes()
            for file, data in ((f"{name}c", _compiled(source, f"worker.zip/{name}")), (name, source)):
                dated = zipfile.ZipInfo(file)  # in 1980, whatever a test has made of today
                zipped.writestr(dated, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _compiled(source: bytes, name: str) -> bytes:
    """A .pyc that is taken without a look at its source (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def import_path(path: Sequence[str], own: Sequence[str]) -> tuple[list[str], list[str]]:
    """What of an import path is the user's, in its order: what stands before the interpreter's own folders, and the rest.

    Args:
        path: an import path.
        own: the folders of its interpreter, see `worker.sources.interpreter_folders`.
    """
    before: list[str] = []
    after: list[str] = []
    seen = before
    for entry in path:
        if is_below(entry, own):
            seen = after
        else:
            seen.append(whole(entry))
    return before, after


def holds_packages(entry: str) -> bool:
    """Whether something was installed into that folder, as with `pip install --target`."""
    return any(Path(entry).glob("*.dist-info"))


def whole(entry: str) -> str:
    """An entry of an import path as another process understands it: an empty one is this folder.

    What is no file or folder stays as it is: editable installations put names there that a hook of theirs knows.
    """
    return str(Path(entry).resolve()) if Path(entry).exists() else entry


def user_modules(modules: Mapping[str, Any]) -> dict[str, str]:
    """The files of imported modules that are neither the interpreter's nor ours, by the module's name."""
    files = {name: getattr(module, "__file__", None) for name, module in list(modules.items())}
    ours = __name__.partition(".")[0]
    return {
        name: file
        for name, file in files.items()
        if isinstance(file, str) and name.partition(".")[0] != ours and _is_of_the_user(file)
    }


@functools.cache  # every workload asks for all modules
def _is_of_the_user(file: str) -> bool:
    return file.endswith(".py") and Path(file).is_absolute() and not is_below(file, interpreter_folders())
