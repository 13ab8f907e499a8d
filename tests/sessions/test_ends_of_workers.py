"""How a worker may end: seen by its process, told in texts of any kind, once where it forks; nothing outlives pytest."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.processes

HEAD = """
import os, signal, sys, time
from fake_backend import FakeModel

"""
TEST = "\ndef test_it(metal_bench):\n    metal_bench(build, name='own')\n"


def test_a_worker_that_dies_is_missed_though_a_child_of_it_holds_its_pipes_open(suite):
    """A forked data loader kept the channel open: the worker said nothing for twenty minutes."""
    suite.write(
        HEAD + "def build():\n"
        "    if not os.fork():\n"
        "        time.sleep(60)\n"
        "        os._exit(0)\n"
        "    os._exit(3)\n" + TEST
    )
    started = time.monotonic()
    result = suite.run("--metal-timeout=40")
    assert time.monotonic() - started < 30
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the worker ended with exit code 3 in its phase 'build'*"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [("'half \\ud800 a pair'", r"half \ud800 a pair"), ("'\\udcff' + 'x' * 10_000_000", r"\udcffxxxx")],
)
def test_an_exception_of_any_text_is_told(suite, text, shown):
    suite.write(HEAD + f"def build():\n    raise ValueError({text})\n" + TEST)
    started = time.monotonic()
    result = suite.run("--metal-timeout=40")
    assert time.monotonic() - started < 30
    result.assert_outcomes(errors=1)
    assert f"the builder of own raised ValueError: {shown}" in result.stdout.str()
    assert len(result.stdout.str()) < 100_000


def test_a_step_that_forks_and_returns_twice_is_an_error(suite):
    suite.write(HEAD + "def build():\n    def step():\n        os.fork()\n        return 0.5\n    return step\n" + TEST)
    result = suite.run("--metal-timeout=40")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the step of own forked, and returned in both processes*"])


def test_a_step_whose_children_stay_inside_it_is_measured(suite):
    suite.write(
        HEAD + "def build():\n"
        "    def step():\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            os._exit(0)\n"
        "        os.waitpid(child, 0)\n"
        "        return 0.5\n"
        "    return step\n" + TEST
    )
    suite.run("--metal-timeout=40", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
