"""--metal-budget: what a session may spend on what first looks leave open, the most suspicious first."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.processes

TESTS = """
import own

def test_a(metal_bench):
    metal_bench(own.a, name='a')

def test_b(metal_bench):
    metal_bench(own.b, name='b')

def test_c(metal_bench):
    metal_bench(own.c, name='c')
"""
BUILDERS = """
from fake_backend import FakeModel

def a():
    return FakeModel({a})

def b():
    return FakeModel({b})

def c():
    return FakeModel({c})
"""


@pytest.fixture
def three(suite):
    """Three recorded workloads, of which the second has become the slowest."""
    path = suite.pytester.path
    suite.write(TESTS)
    (path / ".gitignore").write_text("steps.log\nlock*\n__pycache__\n.pytest_cache\n")
    (path / "own.py").write_text(BUILDERS.format(a=0.1, b=0.1, c=0.1))
    own = ["git", "-C", str(path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*own, *words], check=True)
    suite.run("--metal-update-baselines").assert_outcomes(passed=3)
    (path / "own.py").write_text(BUILDERS.format(a=0.14, b=0.2, c=0.100001))
    return suite


def test_the_most_suspicious_comes_first_and_what_is_left_is_inconclusive(three):
    """Each is looked at once; then the budget is over after the first pair of the first that waits."""
    three.trained()
    result = three.run("--metal-budget=0.001s", "-v")
    result.stdout.fnmatch_lines(
        [
            "*test_c* SUSPECTED*",
            "*test_b* INCONCLUSIVE*",
            "*test_a* INCONCLUSIVE*",
            "*test_c* INCONCLUSIVE*",
            "inconclusive: the session's --metal-budget of * is spent",
        ]
    )
    assert len(three.trained()) == 3 + 2
    assert result.ret == 0


def test_under_strict_what_was_not_answered_fails(three):
    three.run("--metal-budget=0.001s", "--metal-strict").assert_outcomes(failed=3)


def test_within_the_budget_everything_is_answered(three):
    three.run("--metal-budget=1h").assert_outcomes(passed=1, failed=2)


def test_in_the_ini_file(three):
    three.ini(metal_budget="0.001s")
    assert three.run().ret == 0


def test_what_is_no_time_is_refused(suite):
    result = suite.run("--metal-budget=soon")
    result.stderr.fnmatch_lines(["*--metal-budget: expected a time such as 180 (seconds), 3min or 1h*"])
