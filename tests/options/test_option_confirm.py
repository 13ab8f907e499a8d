"""--metal-confirm: what a first look leaves open, the baseline's own code answers, trained in turn with today's."""

from __future__ import annotations

import pytest
from own_project import BUILDER, TEST, Project

pytestmark = pytest.mark.processes


def test_a_recording_keeps_the_recipe(project):
    accepted = project.entry["accepted"]
    assert accepted["file"] == "own.py"
    assert accepted["qualified_name"] == "build"
    assert accepted["axes"] == {"batch_size": 8}
    assert len(accepted["digest"]) == 64
    stack = project.path / "baselines" / "stacks" / f"{accepted['stack']}.txt"
    assert "# python cpython" in stack.read_text()


def test_slower_code_is_slower_beside_its_own_baseline(project):
    project.write(0.115)
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "own* is 1?.? % slower than its baseline, trained in turn*",
            "  now       0.1* s/batch   * pairs, each in turn with the baseline's own code",
            "  replayed  0.* s/batch   its baseline (*); change +1?.? % (+* % to +* %)",
            "  stored    0.* s/batch   3 runs of 1 session, last * at *; by it +1?.? % (*)",
            "  allowed   +5.0 % *",
            "  differs   code",
            "  accept it with  pytest *",
        ]
    )


def test_a_machine_that_is_slow_today_is_no_slower_code(project):
    """Both sides take twice as long: so says the baseline's own code."""
    project.suite.set(machine=2.0)
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    result = project.suite.run("--metal-update-baselines")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["own*machine", "*the baseline's own code takes +*% here today*", "1 gated: 1 machine"])
    assert {run["seconds_per_batch"] > 0.15 for run in project.entry["runs"]} == {False}


def test_the_same_code_on_a_slow_machine_needs_no_pairs(project):
    project.suite.set(machine=2.0)
    result = project.suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["own*machine", "*nothing that can be seen differs*"])
    result.stdout.no_fnmatch_line("*in turn*")


def test_load_excuses_nothing_where_nothing_differs_and_is_the_machine(project):
    """Competing processes all the while: by the stored figures alone that is `inconclusive`."""
    project.suite.set(machine=2.0, conditions={"other_load": 0.5})
    result = project.suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["own*machine", "*nothing that can be seen differs*"])


def test_a_clear_first_look_spares_the_replay(project):
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.trained()
    project.suite.run("--metal-tolerance=20%").assert_outcomes(passed=1)
    assert len(project.suite.trained()) == 1
    project.suite.run().assert_outcomes(passed=1)  # one session knows so little that twice 5 % might go by unseen
    assert len(project.suite.trained()) >= 1 + 2 * 3


def test_replay_trains_in_turn_whatever_the_first_look_says(project):
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.trained()
    result = project.suite.run("--metal-confirm=replay")
    result.assert_outcomes(passed=1)
    assert len(project.suite.trained()) >= 1 + 2 * 3


def test_stored_trains_nothing_of_the_baseline(project):
    project.write(0.3)
    project.suite.trained()
    result = project.suite.run("--metal-confirm=stored")
    result.assert_outcomes(failed=1)
    assert len(project.suite.trained()) <= 5
    result.stdout.no_fnmatch_line("*replayed*")


def test_a_builder_that_moved_and_takes_other_axes_is_built_as_it_was(project):
    (project.path / "own.py").unlink()
    project.write(0.3, name="models.py", text=BUILDER.replace("batch_size=8", "batch_size, depth=1"))
    project.suite.write(
        "from models import build\n\ndef test_it(metal_bench):\n    metal_bench(build, name='own', batch_size=8)\n"
    )
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* times slower than its baseline, trained in turn*", "  differs   code"])


def test_code_that_was_recorded_before_it_was_committed_is_found(suite):
    """People edit, record, and then commit both together."""
    project = Project(suite)
    project.record_uncommitted(0.2)
    project.commit()
    project.write(0.3)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  replayed *"])


def test_what_was_committed_beside_the_code_is_no_change_of_it(suite):
    """A new file that nothing imports was not tracked when the baseline was recorded."""
    project = Project(suite)
    project.commit()
    project.write(0.2)
    (project.path / "notes.txt").write_text("new")
    project.record()
    project.commit()
    suite.set(machine=2.0)
    result = suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*nothing that can be seen differs*"])


def test_code_that_no_commit_holds_is_not_replayed_and_the_reason_is_said(suite):
    project = Project(suite)
    project.record_uncommitted(0.2)
    project.write(0.3)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not replayed: no commit holds the code of its baseline as it was measured*"])


def test_variables_that_say_how_to_compute_are_set_as_they_were(suite, monkeypatch):
    """Recorded without, gated with one: the replay is without, and what differs is named."""
    project = Project(suite)
    project.write(
        0.1, text="import os\n" + BUILDER.replace("{seconds}", "{seconds} * (1 + ('OMP_NUM_THREADS' in os.environ))")
    )
    project.commit()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    project.record()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* times slower than its baseline, trained in turn*", "  differs   OMP_NUM_THREADS unset -> 1"]
    )


def test_extending_keeps_the_recipe_and_updating_makes_a_new_one(project):
    first = project.entry["accepted"]
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.run("--metal-update-baselines", "--metal-update-mode=extend").assert_outcomes(passed=1)
    assert project.entry["accepted"] == first
    project.suite.run("--metal-update-baselines", "--metal-update-mode=all").assert_outcomes(passed=1)
    assert project.entry["accepted"]["digest"] != first["digest"]


@pytest.mark.parametrize("level", ["marker", "ini"])
def test_as_a_marker_and_in_the_ini_file(project, level):
    project.write(0.3)
    if level == "ini":
        project.suite.ini(metal_confirm="stored")
    else:
        project.suite.write("import pytest\n" + TEST.replace("def", "@pytest.mark.metal_bench(confirm='stored')\ndef"))
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*replayed*")


def refused(monkeypatch, fits):
    """Memory for so many workers at once."""
    from pytest_metalperf.measure.fleet import Fleet, WorkerError

    real = Fleet.prepared

    def prepared(fleet, requests, *rest):
        if len(requests) > fits:
            raise WorkerError("memory", "a GPU of 8 GB is full")
        return real(fleet, requests, *rest)

    monkeypatch.setattr(Fleet, "prepared", prepared)


def test_where_both_sides_do_not_fit_whole_runs_take_turns(project, monkeypatch):
    refused(monkeypatch, 1)
    project.write(0.115)
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "own* slower than its baseline, trained in turn*",
            "  differs   code",
            "  pairs     both sides together do not fit the memory, so whole runs took turns (a GPU of 8 GB is full)",
        ]
    )
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.run("--metal-confirm=replay").assert_outcomes(passed=1)


def test_pairs_prepare_together_where_cores_and_memory_allow(project, monkeypatch):
    """The first is alone: it tells what two sides need."""
    from pytest_metalperf.measure.fleet import Fleet

    monkeypatch.setattr("pytest_metalperf.measure.fleet.side_by_side", lambda: 4)
    real, prepared = Fleet.prepared, []

    def noted(fleet, requests, *rest):
        prepared.append([request.interpreter.name for request in requests])
        return real(fleet, requests, *rest)

    monkeypatch.setattr(Fleet, "prepared", noted)
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    result = project.suite.run("--metal-confirm=replay")
    result.assert_outcomes(passed=1)
    here, (there,) = "", {name for names in prepared for name in names} - {""}
    assert prepared[1:3] == [[here, there], [there, here, here, there]]


def test_pairs_that_do_not_fit_together_are_taken_one_by_one(project, monkeypatch):
    monkeypatch.setattr("pytest_metalperf.measure.fleet.side_by_side", lambda: 4)
    refused(monkeypatch, 2)
    project.write(0.115)
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*"])
    result.stdout.no_fnmatch_line("*do not fit*")
