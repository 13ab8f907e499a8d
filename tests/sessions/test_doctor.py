"""`python -m pytest_metalperf doctor`: the command, and the processes that try backends, played by small scripts."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pytest_metalperf import __main__ as command
from pytest_metalperf.doctor import command as doctor
from pytest_metalperf.doctor.checks import bad, ok
from pytest_metalperf.doctor.environment import Environment, Installed
from pytest_metalperf.worker.machine import MachineFacts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="ends by signals")

ROOT = Path(__file__).parents[2]
MAC = MachineFacts(
    "a-mac", "macos", "Apple M1 Pro", "MacBookPro18,3", "8p2e", 32, ("Apple GPU",), "macOS 15.1", False, False
)
VERSIONS = {"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0", "keras": "3.15.1", "numpy": "2.1.3"}
GPU = {"devices": {"cpu": "", "gpu": "METAL"}, "missing": "", "device": "gpu"}
TRAINED = {"loss": 2.0, "gradient_norm": 1.5, "steps": 9, "precisions": {"float32": ""}, "jit": ""}


def env(**changes):
    packages = {name: [Installed(version, "/x")] for name, version in (VERSIONS | changes).items()}
    return Environment((3, 11, 7), "arm64", MAC, packages, ["/x/libmetal_plugin.dylib"])


@pytest.fixture
def doctor_of(monkeypatch, capsys, tmp_path):
    """The command on a Mac of our own making: exit code, stdout, stderr; children tell `told`, real ones where None."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(doctor, "metal_family", lambda: "metal3")
    monkeypatch.setattr(doctor, "conditions", lambda: {"power": "mains"})

    def run(*arguments, found=None, told=(GPU | TRAINED,)):
        def watched(backends, seconds, tell):
            for backend in backends:
                for one in told:
                    tell(SimpleNamespace(backend=backend, facts=one), True)

        monkeypatch.setattr(doctor, "environment", lambda facts: found or env())
        if told is not None:
            monkeypatch.setattr(doctor, "watched", watched)
        try:
            code = command.main(["doctor", *arguments])
        except SystemExit as end:
            code = end.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


# the command


def test_all_is_well(doctor_of):
    code, out, err = doctor_of()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "ok    python              Python 3.11.7 for arm64"
    assert "ok    tensorflow gpu      trained 9 small steps in a second; jit_compile work" in lines
    assert lines[-1].endswith(" ok, 1 note, nothing to mend")  # no baselines yet


def test_what_is_bad_ends_in_one(doctor_of):
    code, out, _ = doctor_of(found=env(tensorflow="2.20.0"))
    assert code == 1
    assert out.splitlines()[-1].endswith(" ok, 1 note, 1 to mend")
    code, out, _ = doctor_of(told=[GPU | {"error": "died", "log": "No supported GPU was found.\n"}])
    assert code == 1
    assert "bad   tensorflow gpu      died: tensorflow-metal found no GPU" in out


def test_lines_are_aligned(doctor_of):
    _, out, _ = doctor_of(found=env(tensorflow="2.20.0", keras="2.0"))
    *lines, _ = out.splitlines()
    assert sum(line.startswith(" " * 26 + "fix: ") for line in lines) == 3
    assert all(re.match(r"(ok   |note |bad  ) [a-z].{18} \S|.{26}fix: \S", line) for line in lines)


def test_a_finding_that_asks_for_nothing_has_no_second_line():
    assert doctor.shown(ok("keras", "keras 3")) == "ok    keras               keras 3"
    assert doctor.shown(bad("keras", "none", "install")).splitlines()[1] == " " * 26 + "fix: install"


def test_json(doctor_of):
    code, out, err = doctor_of("--json", found=env(tensorflow="2.20.0"))
    report = json.loads(out)
    assert (code, err, report["ok"]) == (1, "", False)
    assert report["machine"] == MAC.as_dict()
    assert {tuple(sorted(one)) for one in report["findings"]} == {("check", "fix", "found", "state")}
    assert [one["check"] for one in report["findings"] if one["state"] == "bad"] == ["plugin"]
    assert json.loads(doctor_of("--json")[1])["ok"] is True


@pytest.mark.parametrize(("arguments", "asked"), [([], "tensorflow"), (["--backend= jax,,torch "], "jax torch")])
def test_backends_are_those_that_are_asked_for_or_installed(doctor_of, arguments, asked):
    _, out, _ = doctor_of(*arguments)
    assert re.findall(r"^ok    (\w+) gpu", out, re.MULTILINE) == asked.split()


def test_a_backend_that_is_named_twice_is_tried_once(doctor_of):
    assert doctor_of("--backend=jax,jax")[1].count("ok    jax gpu") == 1


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--backend=tensorflow,caffe", "doctor: unknown backend 'caffe': there are tensorflow, torch, jax, mlx\n"),
        *(
            (f"--timeout={text}", f"doctor: argument --timeout: expected seconds above 0, got {text!r}\n")
            for text in ("soon", "0", "-1", "nan", "inf", "")
        ),
        ("--nonsense", "doctor: unrecognized arguments: --nonsense\n"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(doctor_of, argument, sentence):
    assert doctor_of(argument) == (2, "", sentence)


def test_baselines_are_looked_for_where_and_for_whom_it_is_said(doctor_of, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "ci.json").write_text("{")
    assert doctor_of("--baselines=there")[0] == 0
    code, out, _ = doctor_of("--baselines=there", "--machine=ci")
    assert (code, "bad   baselines           there/ci.json" in out) == (1, True)


def test_a_measurement_elsewhere_is_waited_for_a_while(doctor_of, tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(1.2, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        code, out, _ = doctor_of()
    assert (code, "not tried" in out) == (0, False)


def test_a_long_measurement_elsewhere_is_not_disturbed(doctor_of, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WAIT_SECONDS", 0.5)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, out, _ = doctor_of()
    assert code == 0
    assert "note  backends            not tried: a measurement runs on this machine\n" in out


def test_ctrl_c(doctor_of, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "watched", interrupted)
    assert doctor_of(told=None)[0] == 130


def test_conditions_are_read(monkeypatch):
    monkeypatch.setattr(doctor, "LOOK_SECONDS", 0.0)
    assert "load1" in doctor.conditions()


# the processes

HEAD = "import json, os, subprocess, sys, time\ndef tell(**facts): print(json.dumps(facts), flush=True)\n"
HEAD += "backend, device = sys.argv[3:]\n"


def watch(monkeypatch, script, seconds=20.0):
    """What children told that run `script`: backend, whether it ended by itself, facts."""
    told = []
    monkeypatch.setattr(doctor, "_CHILD", HEAD + script)
    doctor.watched(["jax"], seconds, lambda child, ended: told.append((child.backend, ended, child.facts)))
    return told


def runs(pid):
    """Whether a process runs; a zombie that nobody collects runs no more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("os.abort()", "a process that tried it was ended by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "a process that tried it was ended by SIGKILL"),
        ("sys.exit(3)", "a process that tried it ended with exit code 3"),
        ("tell(error='no weight changed'); sys.exit(1)", "no weight changed"),
    ],
)
def test_a_crash_keeps_what_was_told_before(monkeypatch, end, error):
    script = f"tell(versions={{}}); tell(device='cpu'); print('last words', file=sys.stderr, flush=True); {end}"
    expected = {"versions": {}, "device": "cpu", "error": error, "log": "last words\n"}
    assert watch(monkeypatch, script) == [("jax", True, expected)]


def test_a_hang_is_ended_at_the_deadline_with_all_that_it_started(monkeypatch):
    script = "child = subprocess.Popen(['sleep', '60']); tell(pids=[os.getpid(), child.pid])\n"
    script += "print('{\"half\": 1}', end='', flush=True); time.sleep(60)"  # a line without its end may not be whole
    start = time.monotonic()
    ((_, ended, facts),) = watch(monkeypatch, script, seconds=2.0)
    assert time.monotonic() < start + 10
    assert (ended, list(facts)) == (False, ["pids"])
    while time.monotonic() < start + 10 and any(map(runs, facts["pids"])):
        time.sleep(0.02)
    assert not any(map(runs, facts["pids"]))


def test_nothing_is_left_when_telling_breaks(monkeypatch, tmp_path):
    script = f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n'); tell(device='gpu')\n"
    script += "time.sleep(60 if device else 0.5)"
    monkeypatch.setattr(doctor, "_CHILD", HEAD + script)
    with pytest.raises(ZeroDivisionError):
        doctor.watched(["jax", "torch"], 20.0, lambda child, ended: 1 / 0)
    assert not any(runs(int(pid)) for pid in (tmp_path / "pids").read_text().split())


DOCTOR = """
from pytest_metalperf.doctor import command as doctor
imports, _, end = doctor._CHILD.partition("; sys.exit")
doctor._CHILD = f"{imports}; import time; checkup.checkup = lambda *_: time.sleep(60); sys.exit{end}"
doctor.watched(["jax"], 60.0, lambda child, ended: None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes by their parent")
def test_children_end_with_a_doctor_that_is_killed():
    busy = subprocess.Popen([sys.executable, "-c", DOCTOR], cwd=ROOT)
    until, children = time.monotonic() + 20, []
    while not children and time.monotonic() < until:
        time.sleep(0.1)
        children = psutil.Process(busy.pid).children()
    time.sleep(1.0)  # until it has tied itself to its parent
    busy.kill()
    busy.wait()
    assert children
    while time.monotonic() < until and any(runs(child.pid) for child in children):
        time.sleep(0.05)
    assert not any(runs(child.pid) for child in children)


def test_sigterm_is_handled_only_while_it_examines(doctor_of):
    before = signal.getsignal(signal.SIGTERM)
    doctor_of()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_doctor_works_where_what_the_plugin_needs_is_broken(tmp_path):
    for name in ("msgspec", "numpy", "scipy", "execnet", "psutil", "pytest", "cloudpickle"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is broken')")
    command = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pytest_metalperf.doctor import command as doctor"
    )
    command += "; doctor.watched = lambda *_: None; sys.exit(doctor.main([]))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "bad   baselines           cannot be read: msgspec is broken\n" in done.stdout


@pytest.mark.parametrize(
    "junk", [b"hello", b"", b"{'a': 1}", b"[]", b"42", b"null", b"\xff\x00", b'[["a", 1]]', b'"ab"']
)
def test_what_others_print_is_skipped(monkeypatch, junk):
    script = f"os.write(1, {junk!r} + b'\\n'); tell(steps=1)"
    assert watch(monkeypatch, script) == [("jax", True, {"steps": 1})]


def test_no_file_of_the_user_s_stands_in_for_a_framework(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ((_, _, facts),) = watch(monkeypatch, "tell(folder=os.getcwd(), stdin=sys.stdin.read())")
    assert Path(facts["folder"]) != tmp_path
    assert facts["stdin"] == ""


@pytest.mark.parametrize(("loss", "code", "state"), [(2.0, 0, "ok   "), (3.0, 1, "bad  "), (float("nan"), 1, "bad  ")])
def test_a_gpu_has_a_cpu_beside_it_that_computes_the_same(doctor_of, monkeypatch, loss, code, state):
    told = {**GPU, **TRAINED, "loss": loss}
    script = f"nan = float('nan'); tell(**({TRAINED!r} | {{'device': 'cpu'}} if device == 'cpu' else {told!r}))"
    monkeypatch.setattr(doctor, "_CHILD", HEAD + script)
    found, out, _ = doctor_of(told=None)
    assert found == code
    assert out.count(" tensorflow gpu ") == out.count(" tensorflow cpu ") == 1
    assert re.findall(r"^(.{5}) tensorflow parity   .*loss (\S+) on the GPU and 2 ", out, re.MULTILINE) == [
        (state, f"{loss:g}")
    ]


def test_without_a_gpu_there_is_one_process_and_no_parity(doctor_of, monkeypatch):
    monkeypatch.setattr(doctor, "_CHILD", HEAD + f"assert not device; tell(**({TRAINED!r} | {{'device': 'cpu'}}))")
    _, out, _ = doctor_of(told=None)
    assert out.count(" tensorflow cpu ") == 1
    assert "parity" not in out


# the script itself

CHECKUP = """
import os, sys
from pytest_metalperf.worker import checkup
from pytest_metalperf.worker.problems import Problem
def fake(name, device):
    print("a framework's words")
    os.write(1, b"and its library's")
    yield {{"asked": [name, device]}}
    {end}
checkup.checkup = fake
sys.exit(checkup.main([str(os.getppid()), *{arguments}]))
"""


@pytest.mark.parametrize(
    ("device", "end", "error"),
    [
        ("", "", {}),
        ("cpu", "raise Problem('device', 'no GPU here')", {"error": "no GPU here", "kind": "device"}),
        ("", "raise ValueError('one\\ntwo')", {"error": "ValueError: one", "kind": "worker"}),
        (
            "",
            "yield {'loss': {1}}",
            {"error": "TypeError: Object of type set is not JSON serializable", "kind": "worker"},
        ),
    ],
)
def test_facts_are_lines_of_json_up_to_the_first_error(device, end, error):
    source = CHECKUP.format(end=end, arguments=["jax", *([device] if device else [])])
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert facts == [{"asked": ["jax", device]}, *([error] if error else [])]
    assert done.returncode == bool(error)
    assert "a framework's words" in done.stderr
    assert "and its library's" in done.stderr


@pytest.mark.tensorflow
def test_nothing_of_the_user_s_is_imported(tmp_path):
    for name in ("conftest.py", "keras.py", "tensorflow.py"):
        (tmp_path / name).write_text("raise RuntimeError('the user\\'s')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_metalperf", "doctor", "--backend=tensorflow", "--timeout=120"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_METALPERF_LOCK": str(tmp_path / "lock")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == any(line.startswith("bad  ") for line in done.stdout.splitlines())
    assert re.search(r"^ok    tensorflow [cg]pu      trained \d+ small steps", done.stdout, re.MULTILINE)
