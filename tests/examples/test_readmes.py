"""Every code block and command of every README and of `.github/*.md`, as it stands there."""

from __future__ import annotations

import configparser
import contextlib
import io
import re
from xml.etree import ElementTree

import pytest
from pages import PAGES, ROOT, Found, anchors, blocks, commands, links, read

from pytest_metalperf import __main__ as package
from pytest_metalperf import settings
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.workloads import models

ENVIRONMENTS = {
    "tests",
    "frameworks",
    "all",
    "oldest",
    "bench",
    "bench-cuda",
    "doctor",
    "speed",
    "gate",
    "company",
    "faults",
    "fuzz",
    "mutation",
    "coverage",
    "extras",
    "lint",
}
SESSION = "import pytest\n"
FAKES = """
import pytest
from fake_backend import Fake, build

class Trained:
    def train_on_batch(self, x, y):
        return 0.5

@pytest.fixture
def model():
    return Trained()

@pytest.fixture
def batch():
    return 0, 0

def pytest_metalperf_backends():
    return {"fake": Fake}

build_ranker = build
"""
REFERENCES = """
def pytest_metalperf_models():
    from pytest_metalperf import Model
    return [Model(name, build, {"standard": {"batch_size": 8}}) for name in %r]
"""


PYTHON = [block for language, block in blocks() if language == "python"]
KERAS = [block for block in PYTHON if "import keras" in block.text]
PLAIN = [(name, block) for name in ("torch", "jax", "mlx") for block in PYTHON if f"import {name}" in block.text]
FAKED = [block for block in PYTHON if block not in KERAS + [block for _, block in PLAIN]]
TYPED = commands()


def of(*start: str) -> list[Found]:
    """The commands that start so, each once."""
    found = [one for one in {one.text: one for one in TYPED[::-1]}.values() if one.words[: len(start)] == list(start)]
    assert found, f"no command starts with {' '.join(start)}"
    return found


@pytest.mark.parametrize("block", FAKED, ids=str)
def test_code_runs_with_fake_models_of_the_reference_models_names(suite, monkeypatch, block):
    monkeypatch.setattr(models, "REFERENCE_MODELS", {})
    hook = "def pytest_metalperf_models" in block.text
    suite.pytester.makeconftest(FAKES + (block.text if hook else REFERENCES % list(REFERENCE_MODELS)))
    suite.write("def test_hook(metal_bench):\n    metal_bench('ranker')\n" if hook else SESSION + block.text)
    suite.set(gpus=["gpu"])
    result = suite.run("--metal", "smoke", "--metal-devices", "cpu,gpu")
    assert set(result.parseoutcomes()) == {"passed"}, result.stdout.str()


@pytest.mark.tensorflow
@pytest.mark.parametrize("block", KERAS, ids=str)
def test_code_that_needs_keras_trains(suite, block):
    suite.write(block.text)
    suite.run("--metal", "smoke", "--metal-backend", "tensorflow").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "block", [pytest.param(block, marks=getattr(pytest.mark, name), id=str(block)) for name, block in PLAIN]
)
def test_code_without_keras_trains(suite, block):
    if "def pytest_metalperf" in block.text:
        suite.pytester.makeconftest(FAKES + block.text)
        suite.write("from fake_backend import build\ndef test_hook(metal_bench):\n    metal_bench(build)\n")
    else:
        suite.write(block.text)
    suite.run("--metal", "smoke").assert_outcomes(passed=1)


@pytest.mark.parametrize("command", [*of("pytest"), *of("python", "-m", "pytest")], ids=str)
def test_pytest_takes_the_command(suite, command):
    if "-n" in command.words:
        pytest.importorskip("xdist")
    arguments = command.words[3 if command.words[0] == "python" else 1 :]
    for n, argument in enumerate(arguments):
        if argument.startswith("tests/"):
            assert (ROOT / argument).exists()
            arguments[n] = "test_suite.py"
    result = suite.run(*arguments, "--collect-only")
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), result.stderr.str()


@pytest.mark.parametrize("command", of("python", "-m", "pytest_metalperf"), ids=str)
def test_the_package_takes_the_command(command):
    name, *rest = command.words[3:]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as end:
        package.main([name, "--help"])
    assert end.value.code == 0
    assert all(word in said.getvalue() for word in rest if word.startswith("--"))


@pytest.mark.parametrize("command", [one for one in TYPED if one.text.startswith("python tests/")], ids=str)
def test_the_script_exists_and_knows_its_options(command):
    script, *rest = command.words[1:]
    texts = "".join(read(file) for file in (ROOT / script).parent.glob("*.py"))
    assert (ROOT / script).is_file()
    assert all(f'"{word.partition("=")[0]}"' in texts for word in rest if word.startswith("--"))


@pytest.mark.parametrize("command", of("tox"), ids=str)
def test_the_tox_environment_exists(command):
    words = command.words
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    name = words[words.index("-e") + 1]
    assert name in ENVIRONMENTS
    known = [section.removeprefix("testenv:") for section in tox.sections()]
    assert name in known


@pytest.mark.parametrize("command", of("pip", "install"), ids=str)
def test_the_extras_exist(command):
    known = re.findall(
        r"^([\w-]+) = \[", read(ROOT / "pyproject.toml").partition("[project.optional-dependencies]")[2], re.MULTILINE
    )
    asked = {name for extras in re.findall(r"pytest-metalperf\[(.*?)\]", command.text) for name in extras.split(",")}
    assert asked <= {*known}


def _shown(default: object, parse: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    if parse is settings.share and isinstance(default, float):
        return f"{100 * default:g}%"
    return f"{default:g}" if isinstance(default, float) else "off" if default in (False, None) else str(default) or "-"


def test_the_table_of_options_is_that_of_the_settings():
    """After a change of settings.py: the rows that a failure shows belong into the page."""
    rows = []
    for option in settings.options():
        of_option = option.metadata
        flag = f"`{settings.flag(option)}{' ' + of_option['metavar'] if of_option['metavar'] else ''}`"
        cells = [flag + (" *" if of_option["marker"] else ""), f"`{_shown(option.default, of_option['parse'])}`"]
        cells += [f"`{settings.ini_key(option)}`", of_option["help"]]
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    page = read(ROOT / "pytest_metalperf" / "README.md")
    assert [line for line in page.splitlines() if line.startswith("| `--metal")] == rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_first_page_is_short_and_shows_a_failing_test():
    lines = read(ROOT / "README.md").splitlines()
    assert len(lines) <= 230
    assert lines.index("```python") < 40
    assert "is 21.0 % slower" in "".join(ElementTree.parse(ROOT / ".github" / "failing-test.svg").getroot().itertext())
