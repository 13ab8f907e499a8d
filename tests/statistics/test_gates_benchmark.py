"""The benchmark of gates: it runs, its rules behave on samples made by hand, and recorded files are read strictly."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.gate

for name in ("asv", "pyperf", "matplotlib"):
    pytest.importorskip(name, reason=f"the extra 'gate' installs {name}: tox -e frameworks")

GATES_FOLDER = Path(__file__).parents[1] / "gates"
sys.path.insert(0, str(GATES_FOLDER))

import benchmark  # noqa: E402
import estimators  # noqa: E402
from covariates import shrunk_slopes  # noqa: E402
from peers import GATES, OUR_GATE, PEERS  # noqa: E402
from recordings import BadRecording, Store, read_runs  # noqa: E402
from simulated import Machine  # noqa: E402
from trial import Trial, TrialRun  # noqa: E402

from pytest_metalperf.gate import RunFigure, estimate_run  # noqa: E402

NAMES = [gate.name for gate in GATES]


def a_run(scale: float, session: str, seed: int) -> TrialRun:
    samples = scale * (1 + 0.01 * np.random.default_rng(seed).random(20))
    return TrialRun(samples, RunFigure(estimate_run(samples).seconds, session), 20)


@pytest.fixture
def trial() -> Trial:
    """Stored runs of three sessions, and fresh runs with the very samples of stored ones."""
    stored = [a_run(0.1, f"session {seed // 2}", seed) for seed in range(5)]
    peers = [[run.slower(level).figure for run in stored] for level in (2.0, 3.0, 4.0, 5.0)]
    fresh = [TrialRun(run.samples, RunFigure(run.figure.seconds, "now"), 20) for run in reversed(stored)]
    return Trial(stored, peers, fresh)


@pytest.mark.parametrize("gate", GATES, ids=NAMES)
def test_a_gate_is_silent_on_identical_runs_and_sees_half_as_slow_again(gate, trial) -> None:
    assert gate.judge(trial, 1.0).verdict == "within"
    assert gate.judge(trial, 1.5).verdict == "slower"


@pytest.mark.parametrize("gate", GATES, ids=NAMES)
def test_a_gate_does_not_call_faster_slower(gate, trial) -> None:
    assert gate.judge(trial, 0.5).verdict in ("within", "faster")


def test_costs_are_fresh_runs_and_their_batches(trial) -> None:
    spent = {gate.name: (gate.judge(trial, 1.0).runs, gate.judge(trial, 1.0).batches) for gate in GATES}
    assert spent[OUR_GATE.name] == (1, 20)
    assert spent["asv compare"] == (2, 40)
    assert spent["pyperf compare_to"] == (5, 100)
    assert OUR_GATE.judge(trial, 1.5).runs == 3


def test_runs_of_different_length_are_judged(trial) -> None:
    shorter = [TrialRun(run.samples[: 20 - i], run.figure, 20 - i) for i, run in enumerate(trial.fresh)]
    for gate in PEERS:
        assert gate.judge(Trial(trial.stored, trial.peers, shorter), 1.0).verdict == "within"


@pytest.mark.parametrize("run_sd", [0.003, 0.05])
def test_a_simulated_run_has_the_noise_that_its_row_names(run_sd) -> None:
    figures = [[run.figure.seconds for run in trial.fresh] for trial in Machine(run_sd).trials("noise", 2000)]
    assert np.log(figures).std() == pytest.approx(run_sd, rel=0.03)


def test_sessions_differ_by_the_noise_that_their_row_names() -> None:
    stored = [trial.stored for trial in Machine(0.01, 0.05).trials("sessions", 2000)]
    between = [np.log(runs[0].figure.seconds / runs[-1].figure.seconds) for runs in stored]
    within = [np.log(runs[0].figure.seconds / runs[1].figure.seconds) for runs in stored]
    assert np.std(between) == pytest.approx(np.sqrt(2) * np.hypot(0.01, 0.05), rel=0.05)
    assert np.std(within) == pytest.approx(np.sqrt(2) * 0.01, rel=0.05)


def test_simulated_figures_are_the_plugins_own() -> None:
    trial = next(Machine(0.02).trials("own", 1))
    for run in (*trial.stored, *trial.fresh):
        assert run.figure.seconds == pytest.approx(estimate_run(run.samples).seconds)


def test_slow_minutes_meet_consecutive_runs() -> None:
    trials = list(Machine(0.003, slow_minutes=True).trials("slow", 1000))
    slow = np.array([[run.figure.seconds for run in trial.fresh] for trial in trials])
    slow = slow > 1.15 * np.median(slow)
    assert 0.02 < slow.mean() < 0.06
    assert slow[:, 1:][slow[:, :-1]].mean() > 0.4


def test_the_same_trials_every_time() -> None:
    first, second = ([t.fresh[0].figure for t in Machine(0.02).trials("x", 3)] for _ in range(2))
    assert first == second != [t.fresh[0].figure for t in Machine(0.02).trials("y", 3)]


def line(workload: str = "a@cpu", session: str = "s0", level: float = 0.1, **changes) -> str:
    random = np.random.default_rng(len(session + workload))
    run = {
        "workload": workload,
        "session": session,
        "batches_per_block": 2,
        "samples": (level * (1 + 0.01 * random.random(12))).tolist(),
        "first_batch_seconds": 1.0,
        "conditions": {"stolen": 0.0, "other_load": 0.1, "load1": 1.0},
        "versions": {},
    }
    return json.dumps({**run, **changes})


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A folder with one file: two workloads, four sessions of five runs."""
    lines = [
        line(workload, f"s{session}", 0.1 + 0.001 * session + 0.0001 * run)
        for session in range(4)
        for workload in ("a@cpu", "b@cpu")
        for run in range(5)
    ]
    (tmp_path / "machine.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("layout", [(5,), (2, 2, 1)])
def test_fresh_runs_come_from_a_session_that_is_not_stored(recorded, layout) -> None:
    for trial in Store(read_runs(recorded / "machine.jsonl"), layout).trials("x", 50):
        assert len(trial.stored) == len(trial.fresh) == 5
        stored, (now,) = ({run.figure.session for run in runs} for runs in (trial.stored, trial.fresh))
        assert len(stored) == len(layout)
        assert now not in stored
        assert [len(peer) for peer in trial.peers] == [5]
        assert {run.session for peer in trial.peers for run in peer} == stored
        assert trial.fresh[0].batches == 24


def test_the_quick_command_prints_all_gates_and_draws(recorded, tmp_path, capsys) -> None:
    plot = tmp_path / "gates.svg"
    benchmark.main(["--quick", "--runs", str(recorded), "--plot", str(plot)])
    output, _, replays = capsys.readouterr().out.partition("\nin turn: ")
    assert [line for line in replays.splitlines() if line.startswith("  simulated, 4 %")]
    assert (
        output.index("\n0.3 %, 0\n") < output.index("\n10 %, 5 %\n") < output.index("\nmachine, one session stored\n")
    )
    rows = [text for text in output.splitlines()[2:] if not text.startswith(" ")]
    assert len(rows) == len(set(rows)) == 7 + 20 - 5 + 5 + 2
    for gate in NAMES:
        assert output.count(f"\n  {gate:24}") == len(rows)
    assert output.count("to reach") == len(benchmark.TO_REACH)
    assert all(gate in plot.read_text() for gate in NAMES)


def test_rows_are_chosen_by_a_pattern(recorded, tmp_path, capsys) -> None:
    plot = tmp_path / "gates.svg"
    benchmark.main(["--quick", "--rows", "three sessions stored$", "--runs", str(recorded), "--plot", str(plot)])
    assert capsys.readouterr().out.count("metalperf") == 1
    assert not plot.exists()


def test_the_quick_command_of_estimates(recorded, capsys) -> None:
    estimators.main(["--quick", "--runs", str(recorded)])
    output = capsys.readouterr().out
    for name in (*estimators.ESTIMATES, "nothing", "stolen + other_load + load1"):
        assert f"\n{name}" in output


def test_components_are_those_of_the_analysis_of_variance() -> None:
    random = np.random.default_rng(1)
    sessions = [0.05 * random.standard_normal() + 0.02 * random.standard_normal(5) for _ in range(2000)]
    assert estimators.components(sessions) == pytest.approx((0.02, 0.05), rel=0.03)
    assert estimators.components([[0.0, 0.1], [0.0, 0.1]])[1] == 0.0


def test_slopes_shrink_to_zero_where_nothing_is_explained() -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((200, 1))
    slope, shrinkage = shrunk_slopes(x, 0.3 * x[:, 0] + 0.01 * random.standard_normal(200), 1)
    assert slope[0] == pytest.approx(0.3, rel=0.02)
    assert shrinkage > 0.99
    assert shrunk_slopes(np.zeros((200, 1)), x[:, 0], 1)[1] == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no runs"),
        ("{", "1: Input data was truncated"),
        (line() + "\n" + line(samples=[0.1, "x"]), "2: Expected `float`, got `str` - at `$.samples[1]`"),
        (line(samples=[]), "1: samples must be positive finite numbers, at least one"),
        (line(samples=[0.1, -1.0]), "1: samples must be positive finite numbers, at least one"),
        (line(batches_per_block=0), "1: batches_per_block must be at least 1, not 0"),
        (line(surprise=1), "1: Object contains unknown field `surprise`"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, message) -> None:
    file = tmp_path / "machine.jsonl"
    file.write_text(text)
    with pytest.raises(BadRecording) as caught:
        read_runs(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [benchmark, estimators])
def test_too_few_sessions_are_one_sentence(tmp_path, command) -> None:
    (tmp_path / "machine.jsonl").write_text("\n".join([line()] * 5 + [line(session="s1")] * 3))
    with pytest.raises(SystemExit, match="machine: needs two sessions with 4 runs of every workload, has 1"):
        command.main(["--quick", "--runs", str(tmp_path)])


def test_three_stored_sessions_need_a_fourth(tmp_path) -> None:
    (tmp_path / "machine.jsonl").write_text("\n".join(line(session=f"s{i % 3}") for i in range(15)))
    assert [name for name in benchmark.rows(tmp_path) if "machine" in name] == ["machine, one session stored"]


def test_no_recorded_runs_are_one_sentence(tmp_path) -> None:
    with pytest.raises(SystemExit, match="no recorded runs"):
        estimators.main(["--runs", str(tmp_path)])
