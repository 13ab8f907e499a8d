"""uv, which makes environments: how it is called, what of the environment's variables reaches it, why it fails."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..worker.clock import RealTime
from .pip_settings import of_pip
from .stack import Package

INSTALL_SECONDS = 3600.0
POLL_SECONDS = 0.02
ENVIRONMENT = "environment"
PLAIN = ("--no-progress", "--color", "never")
EXTRA = "pip install 'pytest-metalperf[replay]'"

SETTINGS = {
    "UV_CACHE_DIR", "UV_CONCURRENT_DOWNLOADS", "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT", "UV_INDEX",
    "UV_INDEX_STRATEGY", "UV_INDEX_URL", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_MANAGED_PYTHON", "UV_NATIVE_TLS",
    "UV_NO_CACHE", "UV_NO_CONFIG", "UV_NO_INDEX", "UV_NO_MANAGED_PYTHON", "UV_OFFLINE", "UV_PYTHON_DOWNLOADS",
    "UV_PYTHON_DOWNLOADS_JSON_URL", "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_PREFERENCE",
    "UV_REQUEST_TIMEOUT", "UV_SYSTEM_CERTS", "UV_TORCH_BACKEND",
}  # fmt: skip
"""Where uv finds packages and interpreters; whatever else it could be told, such as overrides and targets, is left out."""

INDEXES = "UV_INDEX"
"""In the order in which uv looks into them."""

VERSIONS = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION")
"""What tells build backends that ask git for a version what to take instead."""

_OF_AN_INDEX = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_NOT_THEIRS = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "_CONDA")
_MARKS = re.compile(r"\x1b\[[0-9;]*m|[×╰─▶│├┬]+")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


class InstallError(Exception):
    """Why nothing was installed, in the installer's own words, shortened; begins in lower case, without a stop."""


def find_uv() -> list[str]:
    """The command of the uv that the extra `[replay]` has installed; one that merely is on the PATH is no consent.

    Raises:
        InstallError: without it, in a sentence that says what installs it.
    """
    try:
        import uv

        return [os.fspath(uv.find_uv_bin())]
    except (ImportError, OSError):
        raise InstallError(f"uv is not installed in this environment; {EXTRA} installs it") from None


def rendered(packages: Sequence[Package]) -> str:
    """What an installer is given of packages: names and exact versions, and nothing else."""
    return "".join(f"{one.name}=={one.version}\n" for one in packages)


def variables(environment: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """The variables that uv gets.

    Args:
        environment: those of this process, less what would change what is installed, or where.
        pip: further ones, see `pip_settings.of_pip`.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in SETTINGS or _OF_AN_INDEX.fullmatch(name) or not name.startswith(_NOT_THEIRS)
    }
    return {**kept, **pip}


class Installer:
    """uv, or what a test puts in its place.

    Args:
        command: how it is started.
        waiting: hears about once a second what is done, and the seconds that it has taken.
    """

    def __init__(
        self, command: Sequence[str], waiting: Callable[[str, float], None] = lambda what, seconds: None
    ) -> None:
        self.command, self.waiting = list(command), waiting
        self._process: subprocess.Popen[bytes] | None = None

    def make(self, python: str, folder: Path, held: Sequence[int] = ()) -> None:
        """Make an environment without packages at `folder / ENVIRONMENT`.

        Args:
            python: an interpreter's path, or what uv finds one by: `cpython3.12`.
            folder: empty, of this user alone; uv runs there.
            held: descriptors of locks, which uv keeps held should we be killed.

        Raises:
            InstallError: with uv's own reason.
            OSError: where `folder` cannot be written.
        """
        # without one, uv would go up from here to a project's settings, which may name other packages
        (folder / "pyproject.toml").write_text("[tool.uv]\nmanaged = false\n")
        words = ["venv", *PLAIN, "--relocatable", "--python", python, ENVIRONMENT]
        self._run(words, folder, variables(os.environ, {}), held, "making an environment")

    @property
    def has_indexes(self) -> bool:
        """Whether the user has named more than one place, of which several may have the same version."""
        return len(self._places().get(INDEXES, "").split()) > 1

    def _places(self) -> dict[str, str]:
        return variables(os.environ, of_pip(os.environ))

    def install(
        self,
        packages: Sequence[Package],
        folder: Path,
        held: Sequence[int] = (),
        *,
        last_index_first: bool = False,
    ) -> None:
        """Install exactly these packages, each in its exact version, into what `make` has made.

        Args:
            packages: with exact versions.
            folder: that of `make`.
            held: descriptors of locks, as there.
            last_index_first: look into the user's indexes in the opposite order.

        Raises:
            InstallError: with uv's own reason.
            OSError: where `folder` cannot be written.
        """
        if packages:
            (folder / "packages.txt").write_text(rendered(packages))
            python = str(python_of(Path(ENVIRONMENT)))
            words = [
                "pip",
                "install",
                *PLAIN,
                "--python",
                python,
                "--no-deps",
                "--only-binary",
                ":all:",
                "-r",
                "packages.txt",
            ]
            found = self._places()
            if last_index_first and INDEXES in found:
                found[INDEXES] = " ".join(reversed(found[INDEXES].split()))
            self._run(words, folder, found, held, f"installing {len(packages)} packages")

    def build(self, tree: Path, target: Path, python: str, version: str) -> None:
        """Build the project in `tree` as any `pip install` of it does, and install it, and nothing else, into `target`.

        Args:
            tree: with a pyproject.toml or setup.py.
            target: a folder that is not there yet, whose parent is of this user alone.
            python: the interpreter to build for.
            version: for a project that asks git for its own: what is built here is no repository.

        Raises:
            InstallError: with uv's own reason.
            OSError: where nothing can be written beside `target`.
        """
        folder = target.parent / f"{target.name}-build"
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text("[tool.uv]\nmanaged = false\n")  # as for `make`
        unfinished = folder / "site"
        words = ["pip", "install", *PLAIN, "--python", python, "--no-deps", "--target", str(unfinished), str(tree)]
        found = {**variables(os.environ, of_pip(os.environ)), **dict.fromkeys(VERSIONS, version)}
        self._run(words, folder, found, (), "building the project")
        unfinished.rename(target)

    def _run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], held: Sequence[int], what: str
    ) -> None:
        start = told = RealTime.monotonic()
        with tempfile.TemporaryFile(dir=folder) as output:
            process = self._process = subprocess.Popen(
                [*self.command, *words],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(held),
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
            try:
                while process.poll() is None:
                    RealTime.sleep(POLL_SECONDS)
                    now = RealTime.monotonic()
                    if now - told > 1.0:
                        told = now
                        self.waiting(what, now - start)
                    if now - start > INSTALL_SECONDS:
                        raise InstallError(f"{what} took more than {INSTALL_SECONDS:.0f} s")
            finally:
                _end(process)
            output.seek(0)
            said = output.read().decode(errors="replace")
        if process.returncode:
            raise InstallError(reason(said) or f"uv ended with exit code {process.returncode} and said nothing")

    def end(self) -> None:
        """End uv, whichever thread waits for it; that gets an error."""
        if self._process is not None:
            _end(self._process)


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reason(said: str) -> str:
    """The reason in what uv printed: what is missing, or its error with the first and the last cause."""
    lines = [_MARKS.sub("", line).strip() for line in _SECRET.sub("", said).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Using ", "Creating ", "Resolved ", "warning:"))]
    text = re.sub(r"^.*?\berror: ", "", " ".join(lines))
    if because := re.search(r"\bBecause (.+?)(?:,? and you require\b|,? we can conclude\b|$)", text):
        return because[1][:300]
    told = " ".join(re.split(r"\bhint:", text)[0].split())
    first, *causes = re.split(r"\s*\bcause: |\s*\bCaused by: ", told)
    return "; ".join([first, *causes[:1], *(causes[-1:] if len(causes) > 1 else [])])[:300]
