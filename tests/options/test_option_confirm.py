"""--metal-confirm: what a first look leaves open, the baseline's own code answers, trained in turn with today's."""

from __future__ import annotations

import os
import subprocess

import pytest

pytestmark = pytest.mark.processes

TEST = """
from own import build

def test_it(metal_bench):
    metal_bench(build, name='own')
"""
BUILDER = """
from fake_backend import FakeModel, wish

def build(batch_size=8):
    return FakeModel({seconds} * wish("machine", 1.0), batch_size)
"""


class Project:
    """A suite under git; its builder takes 0.1 virtual seconds a batch times what the machine makes of it."""

    def __init__(self, suite):
        self.suite = suite
        self.path = suite.pytester.path
        suite.write(TEST)
        (self.path / ".gitignore").write_text("steps.log\nlock*\n__pycache__\n.pytest_cache\n")
        self.write(0.1)
        self.git("init", "-q")

    def git(self, *words):
        own = ["git", "-C", str(self.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
        return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self):
        self.git("add", ".")
        self.git("commit", "-q", "-m", "m")
        return self.git("rev-parse", "HEAD")

    def write(self, seconds, name="own.py", text=BUILDER):
        path = self.path / name
        path.write_text(text.format(seconds=seconds))
        past = path.stat().st_mtime - 100 * len(list(self.path.glob("*")))
        os.utime(path, (past, past))

    def record(self):
        self.suite.run("--metal-update-baselines").assert_outcomes(passed=1)

    @property
    def entry(self):
        (entry,) = self.suite.stored.values()
        return entry


@pytest.fixture
def project(suite):
    made = Project(suite)
    made.commit()
    made.record()
    made.commit()
    return made


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


def test_a_clear_first_look_spares_the_replay(project):
    project.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.trained()
    project.suite.run("--metal-tolerance=10%").assert_outcomes(passed=1)
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
    result.stdout.fnmatch_lines(["own* is 3.0* times slower than its baseline, trained in turn*", "  differs   code"])


def test_code_that_was_recorded_before_it_was_committed_is_found(suite):
    """People edit, record, and then commit both together."""
    project = Project(suite)
    project.commit()
    project.write(0.2)
    project.record()
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
    project.commit()
    project.write(0.2)
    project.record()
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


# packages


@pytest.fixture
def packages(project, tmp_path_factory, monkeypatch):
    """A suite whose builder takes the seconds of an installed package, in version 1.0, recorded; uv is a fake one."""
    site, index = (tmp_path_factory.mktemp(name) for name in ("site", "index"))
    monkeypatch.syspath_prepend(site)
    for version, seconds in (("1.0", 0.1), ("2.0", 0.2)):
        put(index / f"slowlib=={version}", "slowlib", version, {"slowlib.py": f"SECONDS = {seconds}\n"}, installer="uv")
    shutil.copytree(index / "slowlib==1.0", site, dirs_exist_ok=True)
    project.write("slowlib.SECONDS", text="import slowlib\n" + BUILDER)
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("PYTEST_METALPERF_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("pytest_metalperf.references.environment.find_uv", lambda: UV)
    project.record()
    project.commit()
    stack = (project.path / "baselines" / "stacks" / f"{project.entry['accepted']['stack']}.txt").read_text()
    for line in stack.splitlines():  # what else the worker had loaded is there to be copied too
        if not line.startswith(("#", "slowlib")):
            name = line.split()[0]
            (index / name).mkdir()
    shutil.rmtree(site / "slowlib-1.0.dist-info")
    shutil.copytree(index / "slowlib==2.0", site, dirs_exist_ok=True)
    monkeypatch.delitem(sys.modules, "slowlib", raising=False)
    return project
