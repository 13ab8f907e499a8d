"""Workers that break: an error with phase and cause for that one test, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="ends by signals"), pytest.mark.processes]

HEAD = """
import ctypes, os, pathlib, signal, subprocess, sys, time
import pytest
from fake_backend import FakeModel, build

def note():
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")

def hang_in_native_code():
    note()
    ctypes.PyDLL(None).sleep(3600)  # never lets Python run
"""

EACH = """
@pytest.mark.parametrize("builder", ALL, ids=lambda builder: builder.__name__)
def test_broken(metal_bench, builder):
    metal_bench(builder)

def test_good(metal_bench):
    metal_bench("fake-model")
"""


class Broken:
    """A session in which measurements broke, as its JUnit XML tells it."""

    def __init__(self, suite, *arguments: str) -> None:
        self.result = suite.run("--junitxml=out.xml", *arguments)
        self.terminal = self.result.stdout.str()
        self.cases = {case.get("name"): case for case in ET.parse(suite.pytester.path / "out.xml").iter("testcase")}

    def text(self, test: str) -> str:
        """The failure text of `test`."""
        return self.cases[test].findtext("failure")

    def property(self, test: str, name: str) -> list[str]:
        return [p.get("value") for p in self.cases[test].iter("property") if p.get("name") == name]

    def check(self, test: str) -> None:
        """`test` is an ERROR, never a FAILED, and `error` in its properties."""
        assert f"ERROR test_suite.py::{test}" in self.terminal
        assert "FAILED" not in self.terminal
        assert self.property(test, "metal_verdict") == ["error"]
        assert self.property(test, "metal_error")
        assert self.result.ret == 1

    def others_went_on(self) -> None:
        assert self.property("test_good[cpu]", "metal_verdict") == ["no baseline"]


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs; a zombie that nobody collects runs no more."""
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True


def eventually(condition, seconds: float = 60.0):
    """Wait for `condition` to be true; return what it says."""
    end = time.monotonic() + seconds
    while not (said := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return said


# the worker dies


DEATHS = """
def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)
def segfault():
    ctypes.string_at(0)
def abort():
    os.abort()
def exit_code():
    print("my last words")
    os._exit(3)
ALL = [sigkill, segfault, abort, exit_code]
"""


def test_worker_that_dies_is_an_error_with_phase_and_cause(suite):
    suite.write(HEAD + DEATHS + EACH)
    broken = Broken(suite)
    for name, cause in {
        "sigkill": "was ended by SIGKILL",
        "segfault": "was ended by SIGSEGV",
        "abort": "was ended by SIGABRT",
        "exit_code": "ended with exit code 3",
    }.items():
        test = f"test_broken[cpu-{name}]"
        broken.check(test)
        assert cause in broken.text(test)
        assert "in its phase 'build'" in broken.text(test)
    assert "memory runs out" in broken.text("test_broken[cpu-sigkill]")
    assert broken.text("test_broken[cpu-exit_code]").endswith("\n\nmy last words")
    broken.others_went_on()


def test_worker_that_dies_in_native_code_shows_where_the_user_was(suite):
    suite.write(HEAD + DEATHS.replace("[sigkill, segfault, abort, exit_code]", "[segfault]") + EACH)
    text = Broken(suite).text("test_broken[cpu-segfault]")
    assert "test_suite.py" in text
    assert "Segmentation fault" in text
    assert ".zip" not in text


# steps of a fake run: the first batch, one of warm-up and one to time the fence with, ten that are measured, the last
@pytest.mark.parametrize(("step", "phase"), [(1, "first batch"), (2, "warm-up"), (6, "measure")])
def test_worker_that_dies_while_training_is_an_error_with_its_phase(suite, step, phase):
    suite.set(die="fake-model", signal="SIGTERM", from_step=step)
    broken = Broken(suite)
    broken.check("test_it[cpu]")
    assert f"was ended by SIGTERM in its phase '{phase}'" in broken.text("test_it[cpu]")


# the worker hangs


def test_hung_worker_is_killed(suite):
    suite.write(HEAD + "ALL = [hang_in_native_code]" + EACH)
    broken = Broken(suite, "--metal-timeout=6")
    test = "test_broken[cpu-hang_in_native_code]"
    broken.check(test)
    assert "said nothing for 6 s in its phase 'build' and was killed" in broken.text(test)
    assert "--metal-timeout" in broken.text(test)
    broken.others_went_on()
    assert gone([int(pid) for pid in Path("pids").read_text().split()])


# the builder breaks


MISTAKES = """
def raises():
    def inner():
        raise ValueError("my own mistake")
    inner()
def chained():
    try:
        raises()
    except ValueError as error:
        raise RuntimeError("because of it") from error
def number():
    return 42
def nothing():
    pass
def asks():
    input()
def needs(x):
    return FakeModel(0.1)
ALL = [raises, chained, number, nothing, asks, needs]
"""


def test_builder_that_breaks_is_an_error_with_its_own_traceback(suite):
    suite.write(HEAD + MISTAKES + EACH)
    broken = Broken(suite)
    for name, sentence in {
        "raises": "the builder of raises raised ValueError: my own mistake",
        "chained": "the builder of chained raised RuntimeError: because of it",
        "number": "the builder of number returned a int; it returns a FakeModel",
        "nothing": "the builder of nothing returned a NoneType; it returns a FakeModel",
        "asks": "the builder of asks raised EOFError: EOF when reading a line",
        "needs": "the builder of needs raised TypeError: needs() missing 1 required positional argument: 'x'",
    }.items():
        test = f"test_broken[cpu-{name}]"
        broken.check(test)
        assert broken.text(test).splitlines()[0].endswith(f": {sentence}")
        assert ".zip" not in broken.text(test)  # none of our frames
        assert "execnet" not in broken.text(test)
    raised = broken.text("test_broken[cpu-raises]")
    assert raised.count('test_suite.py", line') == 2  # raises, inner
    assert raised.endswith("ValueError: my own mistake")
    assert "direct cause" in broken.text("test_broken[cpu-chained]")
    broken.others_went_on()


UNUSUAL = """
class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")
def exits():
    sys.exit(4)
def skips():
    pytest.skip("no data here")
def interrupts():
    raise KeyboardInterrupt
def silent():
    raise Silent
ALL = [exits, skips, interrupts, silent]
"""


def test_builder_that_raises_what_is_unusual_is_an_error_with_its_own_traceback(suite):
    suite.write(HEAD + UNUSUAL + EACH)
    broken = Broken(suite)
    raised = {"exits": "SystemExit", "skips": "Skipped", "interrupts": "KeyboardInterrupt", "silent": "Silent"}
    for name, error in raised.items():
        text = broken.text(f"test_broken[cpu-{name}]")
        assert f"the builder of {name} raised {error}" in text
        assert ".zip" not in text


def test_module_that_cannot_be_imported_in_a_fresh_process(suite):
    suite.write(
        """
        import os
        if "IMPORTED" in os.environ:
            raise LookupError("only once")
        os.environ["IMPORTED"] = "1"
        def mine(): pass
        def test_broken(metal_bench): metal_bench(mine)
        def test_good(metal_bench): metal_bench("fake-model")
        """
    )
    suite.monkeypatch.delenv("IMPORTED", raising=False)
    try:
        broken = Broken(suite)
    finally:
        os.environ.pop("IMPORTED", None)
    broken.check("test_broken[cpu]")
    first, *traceback = broken.text("test_broken[cpu]").splitlines()
    assert "mine cannot be loaded in a fresh process from " in first
    assert "test_suite.py: LookupError: only once" in first
    assert 'test_suite.py", line 3' in traceback[-2 if "raise" not in traceback[-2] else -3]
    assert not any(".zip" in line for line in traceback)
    broken.others_went_on()


# what it builds does not train


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"nan": "fake-model"}, "the loss became nan in the first batch"),
        ({"nan": "fake-model", "from_step": 2}, "the loss became nan while warming up"),
        ({"nan": "fake-model", "from_step": 7}, "the loss became nan in batch 3"),
        ({"nan": "fake-model", "from_step": 15, "seconds": 0.2}, "the loss became nan in the last batch"),
        ({"frozen_weights": True}, "none of the 1 trainable weights of fake-model changed"),
    ],
)
def test_training_that_does_not_train(suite, wish, sentence):
    suite.set(**wish)
    broken = Broken(suite)
    broken.check("test_it[cpu]")
    assert sentence in broken.text("test_it[cpu]")
    assert ".zip" not in broken.text("test_it[cpu]")


def test_error_leaves_the_stored_baseline_alone(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = suite.file.read_bytes()
    suite.set(die="fake-model")
    broken = Broken(suite, "--metal-update-baselines", "--metal-update-mode=all")
    broken.check("test_it[cpu]")
    assert suite.file.read_bytes() == before


# what it prints


def test_prints_do_no_harm_and_are_shown_on_failure_only(suite):
    suite.write(
        HEAD
        + """
def talks():
    print("said to stdout" + "." * 100_000)
    os.write(1, b"raw bytes \\xff\\x00\\n" * 1000)
    sys.stderr.write("said to stderr\\n")
    subprocess.run(["echo", "said by a child"])
    return FakeModel(0.1)
def talks_and_dies():
    talks()
    print("said at the end", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
def test_talks(metal_bench):
    metal_bench(talks)
def test_dies(metal_bench):
    metal_bench(talks_and_dies)
"""
    )
    broken = Broken(suite, "-rA")
    assert broken.property("test_talks[cpu]", "metal_verdict") == ["no baseline"]
    assert "said at the end" in broken.text("test_dies[cpu]")
    assert "said by a child" in broken.text("test_dies[cpu]")
    assert broken.terminal.count("said by a child") == 1


# no process is left


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_no_worker_outlives_pytest(suite, end):
    suite.write(HEAD + "ALL = [hang_in_native_code]" + EACH)
    parent = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-k", "hang"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        pids = Path("pids")
        assert eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
        workers = [int(pid) for pid in pids.read_text().split()]
        assert not gone(workers)
        parent.send_signal(end)
        code = parent.wait(timeout=60)
        assert code == (-end if end == signal.SIGKILL else pytest.ExitCode.INTERRUPTED)
        assert eventually(lambda: gone(workers))
    finally:
        parent.kill()
        parent.wait()


def test_no_worker_outlives_its_run(suite):
    suite.write(
        HEAD
        + """
def forks():
    note()
    child = subprocess.Popen(["sleep", "3600"])  # as a data loader's worker
    with open("pids", "a") as file:
        file.write(f"{child.pid}\\n")
    return FakeModel(0.1)
def test_it(metal_bench):
    metal_bench(forks)
"""
    )
    assert suite.run().ret == 0
    assert gone([int(pid) for pid in Path("pids").read_text().split()])


# the interpreter is none


def run_apart(suite, host: str, *arguments: str) -> pytest.RunResult:
    """pytest in a process of its own: a gateway that failed to start leaves its pipes to the garbage collector."""
    return suite.pytester.runpytest_subprocess(f"--metal-host={host}", *arguments)


@pytest.mark.parametrize("python", ["/does/not/exist", "/bin/cat", "/bin/echo", "/etc/passwd", "'unbalanced"])
def test_host_without_python_is_told_in_one_sentence(suite, python):
    result = run_apart(suite, f"popen//python={python}")
    assert result.ret == 1
    lines = result.stdout.lines
    (start,) = [i for i, line in enumerate(lines) if "ERROR at call of test_it" in line]
    assert f"no worker could be started at popen//python={python}: " in lines[start + 1]
    assert lines[start + 2].startswith(("===", "--- Captured", "----"))  # no traceback


@pytest.mark.parametrize("host", ["nonsense", "socket=127.0.0.1:1"])
def test_host_that_cannot_be_reached_is_told_before_anything_is_measured(suite, host):
    result = run_apart(suite, host)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (sentence,) = [line for line in result.stderr.lines if line]
    assert sentence.startswith(f"ERROR: no worker could be started at {host}: ")


def test_host_that_never_answers_is_given_up(suite):
    silent = suite.pytester.path / "silent"
    silent.write_text("#!/bin/sh\nsh -c 'sleep 12; touch woke'\n")  # a wrapper, as conda's, around what hangs
    silent.chmod(0o755)
    result = run_apart(suite, f"popen//python={silent}", "--metal-timeout=2")
    assert "no worker could be started at" in result.stdout.str()
    assert not Path("woke").exists()


def test_a_temporary_folder_that_is_full_is_told(suite, monkeypatch):
    import errno
    import os

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pytest_metalperf.measure.fleet.Path.write_bytes", full)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*: cannot be written: No space left on device; free space, or set TMPDIR to another"])
