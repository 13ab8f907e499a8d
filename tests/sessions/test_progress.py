"""The line that a person watches while a test measures: which run of how many."""

from __future__ import annotations

import sys

import pytest

from pytest_metalperf.measure.plan import Progress
from pytest_metalperf.report.terminal import Live, line
from pytest_metalperf.session import MetalSession

BENCH = "def test_it(metal_bench):\n    metal_bench('fake-model')\n"
SPEEDUP = "def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=3.0)\n"


@pytest.fixture
def shown(suite, monkeypatch) -> list[str]:
    """What stood on that line, in order."""
    said: list[str] = []
    show = MetalSession.on_progress

    def on_progress(session, progress):
        said.append("" if progress is None else line(progress, 0.0))
        show(session, progress)

    monkeypatch.setattr(MetalSession, "on_progress", on_progress)
    return said


def counted(shown: list[str]) -> list[str]:
    """`run 1 of 3`, … in their order; the line must be gone in the end."""
    assert shown[-1] == ""
    return list(dict.fromkeys(part for one in shown for part in one.split(", ") if part.startswith("run ")))


@pytest.mark.parametrize(
    ("test", "flags", "of"),
    [
        (BENCH, ["--metal-update-baselines"], ["run 1 of 3", "run 2 of 3", "run 3 of 3"]),
        (SPEEDUP, [], ["run 1 of 5", "run 2 of 5", "run 3 of 5"]),  # the promise is clear after three pairs of five
        (SPEEDUP, ["--metal-max-runs=2"], ["run 1 of 3", "run 2 of 3", "run 3 of 3"]),
        (SPEEDUP, ["--metal=smoke"], ["run 1 of 1"]),
    ],
)
def test_runs_are_counted_up_to_what_a_test_may_take(suite, shown, test, flags, of):
    suite.set(gpus=["gpu"], jitter=0)
    suite.write(test)
    suite.run(*flags).assert_outcomes(passed=1)
    assert counted(shown) == of


@pytest.mark.processes
def test_so_are_pairs_with_another_interpreter(suite, shown):
    suite.set(jitter=0)
    suite.run(f"--metal-against={sys.executable}").assert_outcomes(passed=1)
    assert counted(shown) == ["run 1 of 15", "run 2 of 15", "run 3 of 15"]


class Terminal:
    """What a reporter has written."""

    def __init__(self) -> None:
        self.text = ""

    def ensure_newline(self) -> None:
        self.text += "\n"

    def write(self, text: str, *, flush: bool) -> None:
        assert flush
        self.text += text


def test_the_line_is_one_that_fits_a_narrow_terminal_and_is_erased_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    live = Live(terminal, None)
    live(Progress("resnet50v2[64px,b8]", "cpu", "measure", 4, 8, 1, 2))
    live(Progress("resnet50v2[64px,b8]", "cpu", "measure", 5, 8, 1, 2))
    live(None)
    live(None)
    first, *lines = terminal.text.split("\r\x1b[K")
    assert (first, lines) == ("\n", ["resnet50v2[64px,b8] on cpu: measure, ba"] * 2 + [""])


def test_it_says_how_much_is_left():
    progress = Progress("model", "cpu", "measure", 5, 10, 1, 2)
    assert line(progress, 60.0) == "model on cpu: measure, batch 6 of 10, run 1 of 2, 60 s left"
    assert line(Progress("model", "cpu", "import"), 3.0) == "model on cpu: import, 3 s"
