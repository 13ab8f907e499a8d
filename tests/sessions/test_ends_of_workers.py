"""How a worker may end: seen by its process, told in texts of any kind, once where it forks; nothing outlives pytest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pytest_metalperf.measure.temporary import made, removed
from pytest_metalperf.measure.watcher import Watcher

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


FORKS = """
def build():
    steps = [0]
    def step():
        steps[0] += 1
        if steps[0] == STEP:
            os.fork()
        time.sleep(0.001)
        return 0.5
    return step
"""


@pytest.mark.parametrize("step", [1, 2, 12])
def test_a_step_that_forks_and_returns_twice_is_an_error(suite, step):
    suite.write(HEAD + FORKS.replace("STEP", str(step)) + TEST)
    result = suite.run("--metal-timeout=40", "--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the code of own forked, and returned in both processes*"])


def test_a_builder_that_forks_and_returns_twice_is_an_error(suite):
    suite.write(HEAD + "def build():\n    os.fork()\n    return FakeModel(0.1)\n" + TEST)
    result = suite.run("--metal-timeout=40")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the code of own forked, and returned in both processes*"])


def test_a_watcher_that_somebody_stopped_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr("pytest_metalperf.measure.watcher.SECONDS", 2.0)
    watcher = Watcher()
    with subprocess.Popen(["sleep", "300"], env={**os.environ, **watcher.variables()}) as left:
        os.kill(watcher._process.pid, signal.SIGSTOP)
        started = time.monotonic()
        watcher.end()
        assert time.monotonic() - started < 12
        assert left.wait(5) == -signal.SIGKILL


def test_a_child_with_an_environment_and_a_group_of_its_own_ends_with_its_worker(suite):
    suite.write(
        HEAD + "import subprocess\n\ndef build():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], env={}, start_new_session=True)\n"
        "    open('left', 'a').write(f'{child.pid}\\n')\n    return FakeModel(0.1)\n" + TEST
    )
    suite.run("--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=1)
    assert len(pids(suite)) == 1
    assert not alive(pids(suite))


def test_the_working_folder_is_no_place_that_workers_import_from(suite, tmp_path):
    """`pytest` has it not on its path either, and whoever may write there would run code in every worker."""
    for name in ("queue", "random", "platform", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name}\\n')\n")
    script = Path(sys.executable).with_name("pytest")
    suite.write(HEAD + "import queue, platform\n\ndef build():\n    return FakeModel(0.1)\n" + TEST)
    command = [str(script), str(suite.pytester.path / "test_suite.py"), "--metal-update-baselines", "--metal-runs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout
    assert not (tmp_path / "ran").exists()


def test_a_working_folder_that_is_gone_keeps_nobody_from_measuring(suite):
    suite.write(
        HEAD
        + "import tempfile\n\ndef build():\n    folder = tempfile.mkdtemp()\n    os.chdir(folder)\n    os.rmdir(folder)\n"
        "    return FakeModel(0.1)\n" + TEST
    )
    suite.run("--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=1)


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


LEAVES = (
    HEAD
    + """
def left(how):
    if how == "spawned":
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid
    else:
        child = os.fork()
        if not child:
            if how == "setsid":
                os.setsid()
            time.sleep(300)
            os._exit(0)
    with open("left", "a") as file:
        file.write(f"{child}\\n")

def leave():
    for how in ("forked", "setsid", "spawned"):
        left(how)
"""
)
BENCH = LEAVES + "\ndef build():\n    leave()\n    END\n    return FakeModel(0.1)\n" + TEST


def alive(pids: list[int]) -> list[int]:
    """Those that still run, after five seconds at most."""
    until = time.monotonic() + 5
    while (left := [pid for pid in pids if psutil.pid_exists(pid) and runs(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(suite) -> list[int]:
    file = suite.pytester.path / "left"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show no environments: groups alone end there")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "well"])
def test_what_a_builder_started_ends_with_pytest(suite, end):
    suite.write(BENCH.replace("END", "pass" if end == "well" else "time.sleep(300)"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--metal-devices=cpu", "--metal-runs=1"]
    with subprocess.Popen(command, cwd=suite.pytester.path, stdout=subprocess.DEVNULL) as session:
        until = time.monotonic() + 60
        while len(pids(suite)) < 3 and time.monotonic() < until and session.poll() is None:
            time.sleep(0.02)
        if end == "well":
            session.wait(60)
        else:
            session.send_signal(getattr(signal, end))
    assert len(pids(suite)) >= 3
    assert not alive(pids(suite))


def test_a_cancelled_ci_job_prints_what_it_has_measured(suite):
    """They end by SIGTERM, after which pytest itself says nothing."""
    suite.write(
        HEAD + "def build(number):\n"
        "    if number:\n"
        "        open('second', 'w').close()\n"
        "        time.sleep(300)\n"
        "    return FakeModel(0.1)\n\n"
        "def test_first(metal_bench):\n    metal_bench(build, name='first', number=0)\n\n"
        "def test_second(metal_bench):\n    metal_bench(build, name='second', number=1)\n"
    )
    command = [sys.executable, "-m", "pytest", "--metal-update-baselines", "--metal-runs=1", "--metal-devices=cpu"]
    with subprocess.Popen(command, cwd=suite.pytester.path, stdout=subprocess.PIPE, text=True) as session:
        until = time.monotonic() + 60
        while not (suite.pytester.path / "second").exists() and time.monotonic() < until:
            time.sleep(0.02)
        session.send_signal(signal.SIGTERM)
        out, _ = session.communicate(timeout=30)
    pytest.LineMatcher(out.splitlines()).fnmatch_lines(
        [
            "*= training performance =*",
            "first*recorded",
            "stored in test-machine.json:",
            "*KeyboardInterrupt*",
            "*1 passed*",
        ]
    )
    assert session.returncode == pytest.ExitCode.INTERRUPTED


def test_the_next_session_removes_the_folder_of_a_killed_one(suite, monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    suite.write(BENCH.replace("END", "time.sleep(300)"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--metal-devices=cpu", "--metal-runs=1"]
    with subprocess.Popen(command, cwd=suite.pytester.path, stdout=subprocess.DEVNULL) as session:
        until = time.monotonic() + 60
        while len(pids(suite)) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        held = set(temporary.glob("pytest-metalperf-session-*"))
        living = made()  # by a session that goes on, while the other does
        assert held <= set(temporary.glob("pytest-metalperf-session-*"))
        session.kill()
    alive(pids(suite))
    removed(made())
    assert held
    assert set(temporary.iterdir()) == {living}
    removed(living)
    assert not list(temporary.iterdir())
