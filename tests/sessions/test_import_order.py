"""Workers import what pytest imports: the checkout, not a copy of it that is installed, wherever pytest was started."""

from __future__ import annotations

import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import CONFTEST, INI

pytestmark = pytest.mark.processes

TEST = """
import mynet
from fake_backend import FakeModel

def build():
    return FakeModel(mynet.SECONDS)

def test_tests_see_the_checkout():
    assert "site-packages" not in mynet.__file__

def test_speed(metal_bench):
    metal_bench(build)
"""


PATIENCE = "pytest_metalperf.suspects.PATIENCE = 0.0  # no waiting for a slow minute to pass"


class Project:
    """A project, the virtual environment that tests it, and an old copy of its package that is installed there."""

    def __init__(self, suite, folder: Path, environment: Path) -> None:
        self.folder, self.suite = folder, suite
        venv.create(environment, with_pip=False, symlinks=True)
        self.python = environment / "bin" / "python"
        self.installed = next(environment.glob("lib/python*/site-packages"))
        here = [*site.getsitepackages(), *(entry for entry in sys.path if Path(entry, "pytest_metalperf").is_dir())]
        (self.installed / "all.pth").write_text("\n".join([*here, str(suite.pytester.path)]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tests").mkdir()
        (folder / "conftest.py").write_text(f"{CONFTEST}\nimport pytest_metalperf.suspects\n{PATIENCE}\n")
        (folder / "tests" / "test_speed.py").write_text(TEST)

    def package(self, where: Path, seconds: float) -> None:
        (where / "mynet").mkdir(parents=True, exist_ok=True)
        (where / "mynet" / "__init__.py").write_text(f"SECONDS = {seconds}\n")

    def ini(self, **more: str) -> None:
        lines = [*INI.strip().splitlines(), *(f"{key} = {value}" for key, value in more.items())]
        (self.folder / "pytest.ini").write_text("\n".join(lines))

    def run(self, *arguments: str, start: str = ".") -> str:
        command = [str(self.python), "-m", "pytest", *arguments]
        done = subprocess.run(
            command, cwd=self.folder / start, capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr


@pytest.fixture
def project(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    return Project(suite, folder / "p", folder / "env")


@pytest.mark.parametrize(
    ("layout", "ini", "start", "arguments"),
    [
        ("src", {"pythonpath": "src", "testpaths": "tests"}, ".", ()),
        ("src", {"pythonpath": "src", "testpaths": "tests"}, "tests", ()),
        ("src", {"pythonpath": "src"}, ".", ("--import-mode=importlib",)),
        (".", {}, ".", ()),  # by the conftest.py of rootdir, whose folder pytest puts first
        (".", {}, "tests", ()),
    ],
)
def test_the_checkout_is_timed_and_not_an_installed_copy(project, layout, ini, start, arguments):
    project.package(project.installed, 0.1)
    project.package(project.folder / layout, 0.1)
    project.ini(**ini)
    assert "2 passed" in project.run("--metal-update-baselines", "--metal-runs=2", *arguments, start=start)
    project.package(project.folder / layout, 0.3)
    found = project.run("--metal-runs=2", "--metal-max-runs=2", *arguments, start=start)
    assert "1 gated: 1 slower" in found, found


def test_a_project_below_its_own_environment_is_found(suite, tmp_path_factory):
    environment = tmp_path_factory.mktemp("below") / "env"
    project = Project(suite, environment / "p", environment)
    project.package(project.folder / "src", 0.1)
    project.ini(pythonpath="src")
    assert "2 passed" in project.run("--metal-update-baselines", "--metal-runs=1")


def test_a_module_that_the_worker_has_from_elsewhere_is_an_error_with_both_files(suite):
    inside = suite.pytester.mkdir("inside")
    (inside / "helper.py").write_text("SECONDS = 0.1\n")
    suite.pytester.makepyfile(helper="SECONDS = 0.2\n")
    suite.write(
        """
        import sys
        from fake_backend import FakeModel
        import helper

        def build():
            import pathlib, sys
            sys.path.insert(0, str(pathlib.Path(__file__).parent / "inside"))
            sys.modules.pop("helper", None)
            import helper
            return FakeModel(helper.SECONDS)

        def test_it(metal_bench):
            metal_bench(build)
        """
    )
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*helper is imported from {inside}*helper.py in the worker, and from *helper.py by pytest*"]
    )
    assert not suite.file.exists()
