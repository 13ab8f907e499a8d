"""A suite beside other plugins, hooks and flags: a command that prints what was measured, gated and refused.

    python tests/attacks/company.py [PATTERN]

The suite has a test that is within its baseline, one that became twice as slow, a live step, a speedup and a test that is no
concern of ours. Whatever stands beside them, the same verdicts come of them and the store stays as it was, or a sentence says
why not. Plugins that are not installed are left out by name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from suites import CONFTEST

BUILDERS = """
import os
from fake_backend import FakeModel

def steady():
    return FakeModel(0.1)

def moving():
    return FakeModel(float(os.environ.get("MOVING", "0.1")))
"""
TESTS = """
import time
import pytest
from builders import moving, steady

def test_steady(metal_bench):
    metal_bench(steady)

def test_moving(metal_bench):
    metal_bench(moving)

def test_live(metal_live):
    metal_live(lambda: sum(range(20_000)) * 0.0, name="live step", tolerance="400%")

def test_pays(metal_speedup):
    metal_speedup(steady, at_least=2.0)

def test_other():
    assert 1 + 1 == 2
"""
UNITTEST = """
import unittest
class TestOwn(unittest.TestCase):
    def test_own(self):
        with self.subTest("one"):
            assert True
"""
EXPECTED = {"moving": "slower", "steady": "within", "live step": "within|inconclusive", "steady over cpu": "within"}


@dataclass(frozen=True)
class Company:
    """What stands beside the suite: flags, variables, files, and the packages that it needs."""

    name: str
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    git: bool = True
    chosen: tuple[str, ...] = tuple(EXPECTED)
    read_only: bool = False


COMPANY = (
    Company("nothing"),
    Company("xdist -n 2", ("-n", "2"), ("xdist",), chosen=()),
    Company("xdist -n 0", ("-n", "0"), ("xdist",)),
    Company("timeout 5", ("--timeout=5",), ("pytest_timeout",)),
    Company("cov", ("--cov=builders", "--cov-branch"), ("pytest_cov",)),
    Company("randomly", ("-p", "randomly"), ("pytest_randomly",)),
    Company("rerunfailures", ("--reruns=1",), ("pytest_rerunfailures",)),
    Company("codspeed", ("--codspeed",), ("pytest_codspeed",)),
    Company("asyncio", ("--asyncio-mode=auto",), ("pytest_asyncio",)),
    Company("split", ("--splits=1", "--group=1"), ("pytest_split",)),
    Company("repeat", ("--count=2",), ("pytest_repeat",)),
    Company("memray", ("--memray",), ("pytest_memray",)),
    Company("html", ("--html=report.html", "--self-contained-html"), ("pytest_html",)),
    Company("order", (), ("pytest_order",)),
    Company("socket", ("--disable-socket",), ("pytest_socket",)),
    Company("profiling", ("--profile",), ("pytest_profiling",)),
    Company("typeguard", ("--typeguard-packages=builders",), ("typeguard",)),
    Company("jaxtyping", ("--jaxtyping-packages=builders,beartype.beartype",), ("jaxtyping", "beartype")),
    Company("subtests and unittest", (), (), files={"test_own.py": UNITTEST}),
    Company("benchmark off", ("-p", "no:benchmark"), ()),
    Company("benchmark disabled", ("--benchmark-disable",), ("pytest_benchmark",)),
    Company("benchmark json", ("--benchmark-json=out.json",), ("pytest_benchmark",)),
    Company("no cacheprovider", ("-p", "no:cacheprovider")),
    Company("assert plain", ("--assert=plain",)),
    Company("-s", ("-s",)),
    Company("-x", ("-x", "-p", "no:randomly"), chosen=("steady", "moving")),
    Company("--lf", ("--lf",)),
    Company("-k", ("-k", "moving or other"), chosen=("moving",)),
    Company("-W error", ("-W", "error", "-p", "no:asyncio")),  # which warns of its own
    Company("importlib", ("--import-mode=importlib",), environment={"PYTHONPATH": "."}),
    Company("strict markers", ("--strict-markers", "--strict-config")),
    Company("tb=no -qq", ("--tb=no", "-qq")),
    Company("durations", ("--durations=3",)),
    Company("junit", ("--junitxml=out.xml",)),
    Company("no git", git=False),
    Company("read-only rootdir", read_only=True),
    # whose folder of baselines is another one
    Company("another rootdir", ("--rootdir=elsewhere", "-c", "tox.ini"), files={"elsewhere/.keep": ""}, chosen=()),
    Company("frozen clock", (), ("freezegun",), files={"conftest.py": CONFTEST + """
@pytest.fixture(autouse=True)
def frozen():
    from freezegun import freeze_time
    with freeze_time("2012-01-14"):
        yield
"""}),
    Company("PYTHONDEVMODE", environment={"PYTHONDEVMODE": "1"}),
    Company("PYTHONOPTIMIZE", environment={"PYTHONOPTIMIZE": "1"}),
    Company("PYTHONDONTWRITEBYTECODE", environment={"PYTHONDONTWRITEBYTECODE": "1"}),
    Company("LC_ALL=C", environment={"LC_ALL": "C", "PYTHONUTF8": "0"}),
    Company("no HOME", environment={"HOME": "/nonexistent"}),
    Company("COLUMNS=20", environment={"COLUMNS": "20"}),
)  # fmt: skip


def run(folder: Path, company: Company, *more: str) -> tuple[int, str]:
    """pytest's exit status and all that it prints."""
    environment = {
        **os.environ,
        "PYTEST_METALPERF_LOCK": str(folder.parent / "lock"),
        "PYTEST_ADDOPTS": "",
        "FAKE": json.dumps({"gpus": ["gpu"]}),
        **company.environment,
        **dict(word.split("=", 1) for word in more if word.isupper() or word.startswith("MOVING=")),
    }
    flags = [word for word in more if not word.startswith("MOVING=")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *company.flags, *flags],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        timeout=300,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def suite(folder: Path, company: Company) -> None:
    files = {
        "conftest.py": CONFTEST,
        "builders.py": BUILDERS,
        "test_suite.py": TESTS,
        "tox.ini": "[pytest]\nmetal_backend = fake\nmetal_machine = here\nmetal_baselines = kept\nmetal_devices = cpu\n",
        **company.files,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    if company.git:
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
            subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def verdicts(output: str) -> dict[str, str]:
    """Of the closing table, by workload."""
    table = output.partition("training performance")[2]
    words = "within|slower|faster|inconclusive|no baseline|recorded|error"
    return {
        re.sub(r"\[.*?\]", "", name).strip(): verdict
        for name, verdict in re.findall(rf"^(\S.*?)  +\S+.*?({words})\s*$", table, re.MULTILINE)
    }


def tried(company: Company, parent: Path) -> tuple[str, str, str]:
    """What came of it: the verdicts, what became of the store, and a line where it is not as without company."""
    folder = parent / re.sub(r"\W+", "-", company.name)
    folder.mkdir()
    suite(folder, company)
    plain = Company("plain", files=company.files)
    code, output = run(folder, plain, "--metal-update-baselines", "--metal-force", "-p", "no:cacheprovider")
    if code:
        return "not recorded", "", output.splitlines()[-1]
    stored = {path: path.read_bytes() for path in folder.glob("**/kept/*.json")}
    if company.read_only:
        for path in [*folder.rglob("*"), folder]:
            path.chmod(path.stat().st_mode & ~0o222)
    code, output = run(folder, company, "MOVING=0.2")
    found = verdicts(output)
    same = {path: path.read_bytes() for path in folder.glob("**/kept/*.json")} == stored
    wanted = {name: verdict for name, verdict in EXPECTED.items() if name in company.chosen}
    differ = [
        f"{name}: {found.get(name, 'not measured')}"
        for name, verdict in wanted.items()
        if not re.fullmatch(verdict, found.get(name, ""))
    ]
    if "INTERNALERROR" in output or "Traceback" in output.partition("training performance")[2]:
        differ.append("INTERNALERROR")
    if "test_other" in output and not differ and code not in (0, 1):
        differ.append(f"exit status {code}")
    said = next((line for line in output.splitlines() if "metalperf" in line and "about" not in line), "")
    counts = ", ".join(f"{name} {verdict}" for name, verdict in found.items()) or said[:90]
    return counts, "as it was" if same else "CHANGED", "; ".join(differ)


def main() -> int:
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="company-") as name:
        for company in COMPANY:
            if not pattern.search(company.name):
                continue
            missing = [package for package in company.needs if importlib.util.find_spec(package) is None]
            if missing:
                print(f"{company.name:24} left out: no {', '.join(missing)}")
                continue
            counts, store, differ = tried(company, Path(name))
            wrong += bool(differ) or store == "CHANGED"
            print(f"{company.name:24} {counts}; store {store}{f'  <- {differ}' if differ else ''}", flush=True)
    print(f"{wrong} of them not as without company")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
