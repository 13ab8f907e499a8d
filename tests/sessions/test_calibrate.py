"""`python -m pytest_metalperf calibrate`: its arithmetic on lists of numbers, and the command on a virtual clock."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import gate_simulation
import psutil
import pytest

from pytest_metalperf import __main__ as command
from pytest_metalperf.calibrate import command as calibrate
from pytest_metalperf.calibrate import simulation
from pytest_metalperf.calibrate.command import parsed
from pytest_metalperf.calibrate.report import advised, report, table
from pytest_metalperf.calibrate.simulation import Choice, Measured, Rates, World, looks, replay, worthwhile
from pytest_metalperf.gate import Noise, Rule
from pytest_metalperf.measure.forecast import Took
from pytest_metalperf.results.run import Run
from pytest_metalperf.workloads.workload import Workload, WorkloadError

HERE = Path(__file__).parents[1] / "support"
FAKE = f"{HERE / 'fake_backend.py'}::Fake"
BUILD = f"{HERE / 'fake_backend.py'}::build"
RULE = Rule()


def noise(run_sd: float, session_sd: float = 0.0, known: bool = True) -> Noise:
    return Noise(run_sd, 20.0, session_sd, 10.0, run_known=known, session_known=known)


def measured(label: str, run_sd: float, sessions: int = 4, runs: int = 5, base: float = 0.1) -> Measured:
    draw = random.Random(label)
    figures = [[base * math.exp(draw.gauss(0.0, run_sd)) for _ in range(runs)] for _ in range(sessions)]
    return Measured(label, figures, Took(label, prepare=9.0, measure=1.0))


# arithmetic


@pytest.mark.parametrize("most", range(1, 13))
@pytest.mark.parametrize("step", range(1, 5))
def test_looks_are_those_of_the_gate(most, step):
    expected = [1]
    while expected[-1] < most:  # as bench does
        expected.append(min(most, expected[-1] + step))
    assert looks(most, step) == expected


def test_quiet_runs_are_replayed_without_alarm_and_every_large_slowdown_is_seen():
    own, peer = measured("own", 0.002).sessions, measured("peer", 0.002).sessions
    for ratio, verdict in ((1.0, "within"), (1.2, "slower"), (1 / 1.2, "faster")):
        rates = replay(own, [peer], ratio, RULE, 2)
        assert rates.verdicts == {verdict: 20}
        assert rates.of(verdict) == "20 of 20"
    assert replay(own, [peer], 1.0, RULE, 2).spent == {1: 20}


def test_one_session_has_no_other_to_be_judged_against():
    assert not replay([[0.1, 0.1]], [], 1.0, RULE, 2).verdicts


def test_a_session_too_short_for_the_gate_leaves_verdicts_open():
    own = measured("own", 0.05, runs=2).sessions
    assert replay(own, [], 1.1, RULE, 1).verdicts["open"]
    assert "open" not in replay(own, [], 1.1, Rule(max_runs=2), 1).verdicts


def test_simulation_is_that_of_the_gate_s_own_tests():
    world = World([noise(0.02)] * 5, sessions=3, runs=2)
    theirs = gate_simulation.World(0.02, layout=(2, 2, 2))
    for ratio in (1.0, 1.08):
        mine = world.simulate(ratio, RULE, 1, 600)
        other = gate_simulation.simulate(theirs, ratio, 600)
        assert mine.verdicts["slower"] / 600 == pytest.approx(other.slower, abs=0.09)
        assert mine.mean(float) == pytest.approx(other.runs, abs=0.25)


def test_simulation_repeats_itself():
    world = World([noise(0.03, 0.02)], sessions=3, runs=5)
    assert world.simulate(1.1, RULE, 2, 50) == world.simulate(1.1, RULE, 2, 50)
    assert world.visible(RULE) == world.visible(RULE)


def test_what_is_visible_grows_with_noise_and_shrinks_with_what_is_stored_and_spent():
    quiet, noisy = World([noise(0.01)], 3, 5), World([noise(0.04)], 3, 5)
    assert 0.05 < quiet.visible(RULE) < noisy.visible(RULE)
    assert World([noise(0.04)], 10, 20).visible(RULE) < noisy.visible(RULE)
    assert noisy.visible(Rule(max_runs=12)) < noisy.visible(RULE)


def test_a_rate_that_was_never_seen_is_a_bound():
    rates = Rates()
    for _ in range(997):
        rates.add("within", 1)
    assert rates.share("slower") == "< 0.3 %"
    for _ in range(3):
        rates.add("slower", 3)
    assert (rates.share("slower"), rates.share("within")) == ("0.3 %", "99.7 %")
    assert rates.mean(float) == pytest.approx(1.006)


def test_a_verdict_s_seconds_are_those_of_its_looks(monkeypatch):
    monkeypatch.setattr("pytest_metalperf.measure.capacity.cpus", lambda: (2, []))
    took = Took("x", prepare=10.0, measure=1.0)
    assert simulation.verdict_seconds(took, 1, 2) == 11.0
    assert simulation.verdict_seconds(took, 5, 2) == 11.0 + 12.0 + 12.0


def choice(visible: float, cost: float, known: Noise | None = None) -> Choice:
    return Choice(World([known or noise(0.01)], 3, 5), RULE, visible, cost, 1.0)


def test_choices_go_up_to_the_first_that_is_enough_and_leave_out_what_hardly_helps():
    offered = [choice(0.30, 1), choice(0.29, 2), choice(0.20, 3), choice(0.099, 4), choice(0.05, 5)]
    assert [one.visible for one in worthwhile(offered, 0.10)] == [0.30, 0.20, 0.099]
    assert [one.visible for one in worthwhile(offered[:3], 0.10)] == [0.30, 0.20]
    assert [one.visible for one in worthwhile([choice(0.101, 1), choice(0.099, 2)], 0.10)] == [0.101, 0.099]


def test_choices_come_cheapest_first(monkeypatch):
    monkeypatch.setattr(simulation, "STORES", 3)
    offered = simulation.choices(World([noise(0.02)], 3, 5), RULE, Took("x", 10.0, 1.0), 2)
    assert len(offered) == 36
    assert all(one.record + one.longest <= other.record + other.longest for one, other in pairwise(offered))


@pytest.mark.parametrize(
    ("visible", "known", "advice"),
    [
        (0.08, noise(0.01), ["--metal-runs 5 --metal-max-runs 5", "3 days", "extend"]),
        (0.20, noise(0.01, 0.03), ["sessions differ by 3.0 %;", "--metal-against", "20.0 %"]),
        (0.20, noise(0.01, 0.03, known=False), ["sessions differ by 3.0 % (assumed)"]),
        (0.20, noise(0.05, 0.01), ["runs differ by 5.0 %", "--metal-batches", "20.0 %"]),
    ],
)
def test_advice(visible, known, advice):
    text = advised(choice(visible, 1.0, known), 0.10)
    assert all(word in text for word in advice)


def test_tables_are_aligned():
    assert table(("name", "a"), [("x", "1.5"), ("longer", "10")]) == ["name      a", "x       1.5", "longer   10"]


def test_times_are_the_workers_own():
    workload = Workload("x", "cpu", "fake")
    run = Run((0.5,) * 10, 2, first_batch_seconds=3.0, session="s", recorded="2026-01-01", prepare_seconds=4.0)
    (one,) = calibrate.gathered([workload], [{workload.id: [run, run]}] * 3, warmup=2)
    assert one.sessions == [[0.5, 0.5]] * 3
    assert one.took == Took(workload.id, prepare=4.0 + 3.0 + 2 * 0.5, measure=10.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet50v2", ("resnet50v2", {})),
        ("x[batch_size=16, precision=mixed_float16]", ("x", {"batch_size": 16, "precision": "mixed_float16"})),
        ("a/b.py::f[jit_compile=True,scale=0.5]", ("a/b.py::f", {"jit_compile": True, "scale": 0.5})),
        ("x[]", ("x", {})),
    ],
)
def test_axes(text, expected):
    assert parsed(text) == expected


def test_axes_that_are_none():
    with pytest.raises(WorkloadError, match=r"'64px' is no axis; write x\[batch_size"):
        parsed("x[64px]")


def few_trials(monkeypatch):
    monkeypatch.setattr(simulation, "TRIALS", {1.0: 40, 1.05: 10, 1.10: 10, 1.20: 10})
    monkeypatch.setattr(simulation, "CHOICE_TRIALS", 5)
    monkeypatch.setattr(simulation, "STORES", 3)


def test_report(monkeypatch):
    few_trials(monkeypatch)
    text = report([measured("one[b8]", 0.01), measured("other", 0.01)], RULE, 2)
    assert "(prior)" not in text
    assert "gate still assumes" not in text
    replayed = text.split("\n\n")[1].splitlines()[2:4]
    assert [row.split()[1:4] + row.split()[-6:-3] for row in replayed] == [["0", "of", "20", "20", "of", "20"]] * 2
    assert text.count("\none[b8]") == text.count("\nother") >= 5
    assert "one[b8]: record and gate with --metal-runs" in text


def test_report_of_one_session_says_what_is_a_prior(monkeypatch):
    few_trials(monkeypatch)
    text = report([measured("one", 0.01, sessions=1)], RULE, 2)
    assert text.count("(prior)") == 2
    assert "One session alone" in text
    assert text.count("(prior)") < report([measured("one", 0.01, 1, 1)], RULE, 2).count("(prior)")


def test_report_does_not_depend_on_the_unit_of_time(monkeypatch):
    few_trials(monkeypatch)
    texts = [report([measured("one", 0.02, 3, base=base)], RULE, 2) for base in (0.1, 1.0)]
    assert texts[0].splitlines()[3:] == texts[1].splitlines()[3:]


# the command


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Sets what the fake models do; measurements elsewhere on the machine are not waited for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    few_trials(monkeypatch)

    def set_(**values):
        monkeypatch.setenv("FAKE", json.dumps(values))

    set_()
    before = set(sys.modules)
    yield set_
    for name in set(sys.modules) - before:  # what the command imported in this process is no later test's
        file = getattr(sys.modules[name], "__file__", None)
        if file and (Path(file).is_relative_to(tmp_path) or Path(file).parent == HERE):
            del sys.modules[name]


@pytest.fixture
def run(fake, capsys):
    """The command with the fake backend, in this process: exit code, stdout, stderr."""

    def run_(*arguments, backend=FAKE):
        try:
            code = command.main(["calibrate", *arguments, "--backend", backend])
        except SystemExit as end:
            code = end.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run_


SHORT = ("--sessions=1", "--runs=2")


def test_measures_sessions_of_all_workloads_in_turn_and_reports(run):
    code, out, err = run(BUILD, f"{BUILD}[batch_size=16,depth=2]", "--sessions=2", "--runs=2", "--max-runs=2")
    assert code == 0
    said = [line for line in err.splitlines() if not line.startswith("about")]
    assert said[0] == "calibrate: 2 workloads on cpu, 2 sessions of 2 runs, 2 of them not timed here before"
    assert [line.partition(" s/batch")[0].rpartition(" ")[0] for line in said[1:5]] == [
        "session 1 of 2: build[b8]",
        "session 1 of 2: build[b16,depth=2]",
        "session 2 of 2: build[b8]",
        "session 2 of 2: build[b16,depth=2]",
    ]
    assert "fake 1.0" in out
    assert "Against 1 session the gate still assumes" in out
    noise_rows = out.split("\n\n")[1].splitlines()[2:4]
    assert [row.split()[0] for row in noise_rows] == ["build[b8]", "build[b16,depth=2]"]
    seconds = [float(row.split()[1]) for row in noise_rows]
    assert seconds == [pytest.approx(0.1, rel=0.05), pytest.approx(0.2, rel=0.05)]


def test_the_share_of_the_peak_is_told_where_it_is_known(run, fake):
    fake(work={"flop": 4e9, "arithmetic": ["float32"]}, products={"float32": 1e11}, jitter=0.0)
    _, out, _ = run(BUILD, f"{BUILD}[batch_size=16,depth=20]", *SHORT)
    assert out.split("\n\n")[1].splitlines() == [
        "Peak: the rate of a large product here, and how much of it training reaches",
        "workload                      a large product  of peak",
        "build[b8]            100.0 GFLOP/s in float32   40.0 %",
        "build[b16,depth=20]  100.0 GFLOP/s in float32    2.0 %",
    ]
    fake(work={"flop": 4e9, "arithmetic": ["float32"]}, jitter=0.0)
    _, out, _ = run(BUILD, *SHORT)
    assert "Peak" not in out


def test_one_workload_named_twice_is_measured_once(run):
    code, _, err = run(BUILD, BUILD, *SHORT)
    assert code == 0
    assert err.startswith("calibrate: 1 workload on cpu, 1 session of 2 runs")


def test_reference_models_are_timed_beforehand(run, fake):
    code, _, err = run("resnet50v2-head", *SHORT)  # which the fake backend cannot train
    assert err.startswith("calibrate: 1 workload on cpu, 1 session of 2 runs, about ")
    assert err.splitlines()[0].endswith(" (a guess)")
    assert "returns a FakeModel" in err or "keras" in err.lower()
    assert code == 1


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such"], "unknown model 'no-such': there are cyclegan, "),
        (["no-such"], "style-transfer; your own is named path/to/file.py::builder"),
        (["missing.py::build"], "there is no file missing.py; a builder is named path/to/file.py::builder"),
        (["missing.py"], "there is no file missing.py"),
        ([f"{HERE / 'fake_backend.py'}::nothing"], "has no function 'nothing'; it has Fake, FakeModel"),
        ([f"{HERE / 'fake_backend.py'}"], "has no function ''; it has Fake"),
        ([f"{BUILD}[colour=1]"], "build does not take colour"),
        ([f"{BUILD}[8]"], "'8' is no axis"),
        ([f"{BUILD}[batch_size=none]"], "batch_size is a whole number from 1, got 'none'"),
        ([BUILD, "--device=tpu"], "unknown device 'tpu': there are cpu, gpu"),
        ([BUILD, "--device=cpu,gpu"], "unknown device 'cpu,gpu'"),
        ([BUILD, "--device=gpu"], "--device gpu: there is no gpu for Fake here (there is cpu)"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(run, arguments, sentence):
    code, out, err = run(*arguments, *SHORT)
    assert (code, out) == (2, "")
    assert sentence in one_line(err)


@pytest.mark.parametrize("backend", ["nope", "missing.py::Fake", f"{HERE / 'fake_backend.py'}::Nope"])
def test_backend_that_is_not_there(run, backend):
    code, out, err = run(BUILD, backend=backend)
    assert (code, out) == (2, "")
    assert "tensorflow" in one_line(err) or "missing.py" in err or "has no function 'Nope'" in err


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--runs=0", "argument --runs: expected at least 1, got 0"),
        ("--sessions=many", "argument --sessions: expected a whole number, got 'many'"),
        ("--tolerance=5", "argument --tolerance: '5' could be 5% or 5 times"),
        ("--tolerance=-5%", "argument --tolerance: expected a share above 0"),
        ("--max-runs=1", "argument --max-runs: expected at least 2"),
        ("--pause=-1", "argument --pause: expected seconds above 0"),
        ("--size=huge", "argument --size: expected one of quick, standard, full"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
    ],
)
def test_numbers_that_make_no_sense(run, argument, sentence):
    code, out, err = run(BUILD, argument)
    assert (code, out) == (2, "")
    assert sentence in one_line(err)


def test_a_file_that_breaks_shows_its_own_traceback(run, tmp_path):
    (tmp_path / "broken.py").write_text("def build():\n    pass\n\nraise RuntimeError('mine')\n")
    code, out, err = run("broken.py::build", *SHORT)
    assert (code, out) == (1, "")
    assert "broken.py cannot be imported: RuntimeError: mine" in err
    assert 'broken.py", line 4' in err


def test_a_builder_that_breaks_shows_its_own_traceback(run, tmp_path):
    (tmp_path / "bad_builder.py").write_text("def build():\n    raise RuntimeError('mine')\n")
    code, out, err = run("bad_builder.py::build", *SHORT)
    assert (code, out) == (1, "")
    assert "the builder of build raised RuntimeError: mine" in err
    assert 'bad_builder.py", line 2' in err


def test_a_builder_of_a_package_finds_its_neighbours(run, tmp_path):
    package = tmp_path / "mine" / "models"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "sizes.py").write_text("SECONDS = 0.3\n")
    (package / "ranker.py").write_text(
        "from fake_backend import FakeModel\nfrom .sizes import SECONDS\n\n"
        "def ranker(batch_size=8):\n    return FakeModel(SECONDS, batch_size)\n"
    )
    code, _, err = run("mine/models/ranker.py::ranker", *SHORT)
    assert code == 0, err
    assert "ranker[b8] 0.3" in err or "ranker[b8] 0.29" in err


AFTER_ONE_SESSION = """
import os, pathlib
from fake_backend import FakeModel

def flaky():
    with open({counter!r}, "a") as file:
        file.write("x")
    if pathlib.Path({counter!r}).stat().st_size > 2:
        raise RuntimeError("mine")
    return FakeModel(0.1)
"""


def test_what_breaks_later_loses_its_session_alone(run, tmp_path):
    (tmp_path / "later.py").write_text(AFTER_ONE_SESSION.format(counter=str(tmp_path / "count")))
    code, out, err = run("later.py::flaky", "--sessions=3", "--runs=2")
    assert code == 1
    assert "raised RuntimeError: mine" in err
    assert "1 session of 2 runs of each workload" in out
    assert "(prior)" in out


@pytest.mark.skipif(os.name != "posix", reason="ends by signals")
@pytest.mark.parametrize("training", [False, True], ids=["while one starts", "while one trains"])
def test_ctrl_c_ends_workers_and_reports_complete_sessions(fake, tmp_path, training):
    log = tmp_path / "steps"
    fake(sleep=0.1 if training else 0.02, log=str(log))
    arguments = ["calibrate", BUILD, "--backend", FAKE, "--sessions=50", "--runs=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_metalperf", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    with process:
        while not process.stderr.readline().startswith("about"):
            assert process.poll() is None
        deadline, children = time.monotonic() + 30, []
        before = len(log.read_text().split())  # 16 steps a run, 5 of them before it measures
        while not children or (training and len(log.read_text().split()) < before + 12):
            assert time.monotonic() < deadline
            children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after 1 complete session\n" in err
    assert not training or "Traceback" not in err  # of an interpreter that had not yet heard what it is for
    assert "1 session of 2 runs of each workload" in out
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["nonsense"], 2), (["--help"], 0)])
def test_usage(arguments, code, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == code
    out = capsys.readouterr()
    assert "python -m pytest_metalperf COMMAND" in out.out + out.err
    assert "calibrate" in out.out + out.err or not arguments


def test_help_of_the_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "--tolerance" in out
