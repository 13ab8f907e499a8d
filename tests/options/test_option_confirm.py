"""--metal-confirm: what a first look leaves open, the baseline's own code answers, trained in turn with today's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_distributions import put

from pytest_metalperf.references.environment import Environment, Environments, NoEnvironment

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
        self.suite.run("--metal-update-baselines", "--metal-update-mode=all").assert_outcomes(passed=1)

    def record_uncommitted(self, seconds):
        """Edit, and record before anything is committed, as people do."""
        self.commit()
        self.write(seconds)
        self.record()

    @property
    def entry(self):
        (entry,) = self.suite.stored.values()
        return entry


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Where a project that has recorded is kept, since most tests begin with one."""
    return tmp_path_factory.mktemp("recorded") / "project"


@pytest.fixture
def project(suite, recorded):
    if recorded.exists():
        shutil.copytree(recorded, suite.pytester.path, dirs_exist_ok=True)
        made = Project.__new__(Project)
        made.suite, made.path = suite, suite.pytester.path
        return made
    made = Project(suite)
    made.commit()
    made.record()
    made.commit()
    shutil.copytree(made.path, recorded)
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


# packages


class Packages:
    """A suite whose builder takes the seconds of an installed package, recorded with 1.0 and gated with 2.0."""

    def __init__(self, project, folder, monkeypatch):
        self.project, self.old, self.site = project, folder / "old", folder / "site"
        self.asked = []
        put(self.old, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
        put(self.site, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
        monkeypatch.syspath_prepend(self.site)
        monkeypatch.setattr(Environments, "of", self.of)
        project.write("slowlib.SECONDS", text="import slowlib\n" + BUILDER)
        project.record()
        project.commit()
        shutil.rmtree(self.site / "slowlib-1.0.dist-info")
        put(self.site, "slowlib", "2.0", {"slowlib.py": "SECONDS = 0.11500\n"})
        sys.modules.pop("slowlib", None)

    def of(self, stack, tools=()):
        """In uv's place: an interpreter that finds the old version first."""
        self.asked.append([f"{one.name} {one.version}" for one in stack.packages if one.name == "slowlib"])
        python = self.old / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={self.old} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return Environment(python, self.old)


@pytest.fixture
def packages(project, tmp_path_factory, monkeypatch):
    return Packages(project, tmp_path_factory.mktemp("packages"), monkeypatch)


def test_an_upgrade_alone_is_slower_beside_the_packages_of_the_baseline(packages):
    result = packages.project.suite.run()
    assert packages.asked == [["slowlib 1.0"]]
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   slowlib 1.0 -> 2.0"])


def test_packages_that_a_replay_would_not_import_are_no_replay(packages):
    """Whatever puts today's package first would be timed on both sides."""
    shutil.rmtree(packages.old / "slowlib-1.0.dist-info")
    put(packages.old, "slowlib", "3.0", {"slowlib.py": "SECONDS = 0.1\n"})
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines(
        ["*not replayed: its baseline would import slowlib 3.0 instead of 1.0: look what PYTHONPATH *"]
    )
    result.stdout.no_fnmatch_line("*1 machine*")


def test_code_of_the_baseline_that_does_not_run_any_more_is_no_replay(suite, monkeypatch):
    """Such as for data that are gone: the stored figures decide, as without a replay."""
    project = Project(suite)
    project.write(
        0.1, text="import os\n" + BUILDER.replace("def build", "assert 'GONE' not in os.environ\n\ndef build")
    )
    project.commit()
    project.record()
    project.commit()
    monkeypatch.setenv("GONE", "1")
    project.write(0.3)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* is *times slower than its baseline *", "*not replayed: with its baseline (*AssertionError*"]
    )


def test_packages_that_cannot_be_installed_leave_nothing_to_train_in_turn(packages, monkeypatch):
    def none(environments, stack, tools=()):
        raise NoEnvironment("no network")

    monkeypatch.setattr(Environments, "of", none)
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines(["*not replayed: only its packages differ (slowlib 1.0 -> 2.0): no network"])


def test_code_on_today_s_packages_says_nothing_of_the_packages(packages, monkeypatch):
    def none(environments, stack, tools=()):
        raise NoEnvironment("no network")

    monkeypatch.setattr(Environments, "of", none)
    project = packages.project
    project.write("slowlib.SECONDS", text="import slowlib\n" + BUILDER + "# nothing\n")
    result = project.suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["own*inconclusive", "inconclusive: not replayed, and the same on both sides: slowlib 1.0 -> 2.0 (no network)"]
    )
    project.write("slowlib.SECONDS * 2", text="import slowlib\n" + BUILDER)
    result = project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  the same  slowlib 1.0 -> 2.0 (no network) was not replayed"])


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda text: text + "evil==1.0\n", "*not replayed: *.txt*"),
        (lambda text: text + "--index-url https://example.org\n", "*not replayed: *.txt*"),
        (lambda text: None, "*not replayed: *.txt: is not there*"),
    ],
)
def test_a_stack_that_somebody_edited_is_refused(packages, edit, sentence):
    (file,) = (packages.project.path / "baselines" / "stacks").glob("*.txt")
    text = edit(file.read_text())
    file.unlink()
    if text is not None:
        file.write_text(text)
    result = packages.project.suite.run()
    result.stdout.fnmatch_lines([sentence])
    assert packages.asked == []


# a machine never seen


@pytest.fixture
def elsewhere(project):
    """The same suite on another machine, which has no baseline of its own; a flag changes no file of the repository."""
    run = project.suite.run
    project.suite.run = lambda *arguments: run("--metal-machine=other-machine", *arguments)
    return project


def test_a_machine_never_seen_compares_with_what_another_recorded(elsewhere):
    elsewhere.write(0.115)
    result = elsewhere.suite.run("--metal-confirm=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])
    result.stdout.no_fnmatch_line("  stored *")


def test_in_ci_it_does_so_by_itself_where_the_extra_is_installed(elsewhere, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("pytest_metalperf.references.replay.importlib.util.find_spec", lambda name: name == "uv")
    elsewhere.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    elsewhere.suite.run().assert_outcomes(passed=1)
    elsewhere.write(0.115)
    elsewhere.suite.run().assert_outcomes(failed=1)


def test_the_very_code_of_the_baseline_needs_no_training_in_turn(elsewhere):
    elsewhere.suite.trained()
    result = elsewhere.suite.run("--metal-confirm=replay")
    result.assert_outcomes(passed=1)
    assert len(elsewhere.suite.trained()) == 1
    result.stdout.fnmatch_lines(["*nothing that can be seen differs from what test-machine recorded*"])


def test_without_consent_it_has_no_baseline(elsewhere):
    elsewhere.write(0.115)
    result = elsewhere.suite.run()
    result.stdout.fnmatch_lines(["own*no baseline"])


# sides that do not fit together, and pairs that do


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


# what another machine has accepted since


@pytest.fixture
def accepted(project):
    """A slowdown that another machine has accepted, with the code that brought it."""
    project.write(0.115)
    project.suite.run("--metal-machine=theirs", "--metal-update-baselines", "--metal-update-mode=all")
    project.commit()
    return project


def test_what_another_machine_has_accepted_since_is_no_news(accepted):
    accepted.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    result = accepted.suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own* within", "1 gated: 1 within"])
    accepted.write(0.135)
    result = accepted.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* is 1?.? % slower than its baseline*", "  accepted  on theirs, later than this machine's own"]
    )


def test_the_very_code_that_another_machine_has_accepted_is_within(accepted):
    result = accepted.suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own* within", "*nothing that can be seen differs from what theirs recorded*"])


def test_what_another_machine_has_accepted_beside_this_one_s_history_is_not_taken(project):
    """On a branch of its own, as after a cherry-pick of its baselines."""
    project.git("checkout", "-q", "-b", "theirs")
    project.write(0.115)
    project.suite.run("--metal-machine=theirs", "--metal-update-baselines", "--metal-update-mode=all")
    project.commit()
    project.git("checkout", "-q", "-")
    project.git("checkout", "-q", "theirs", "--", "baselines")
    project.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    project.suite.run().assert_outcomes(failed=1)


def test_a_total_is_counted_from_this_machine_s_own_figures(accepted):
    accepted.write(0.115, text=BUILDER + "# nothing of it changes what is computed\n")
    accepted.suite.run("--metal-total-tolerance=50%").assert_outcomes(failed=1)


# a clone without its history


@pytest.fixture
def shallow(elsewhere, tmp_path, monkeypatch):
    """What CI checks out: one commit of a project that has gone on since it recorded."""
    elsewhere.write(0.1, text=BUILDER + "# nothing of it changes what is computed\n")
    elsewhere.commit()
    origin = tmp_path / "origin"
    shutil.move(elsewhere.path, origin)
    subprocess.run(["git", "clone", "-q", "--depth=1", origin.as_uri(), str(elsewhere.path)], check=True)
    monkeypatch.chdir(elsewhere.path)
    return elsewhere


def consent(monkeypatch, given=True):
    monkeypatch.setattr("pytest_metalperf.references.replay.may_fetch", lambda: given)


def test_the_code_of_the_baseline_is_fetched_beside_a_shallow_clone(shallow, monkeypatch):
    consent(monkeypatch)
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])
    assert shallow.git("rev-parse", "--is-shallow-repository") == "true"
    assert shallow.git("rev-list", "--all", "--count") == "1"


def test_without_consent_nothing_is_fetched_and_the_remedy_is_said(shallow, monkeypatch):
    consent(monkeypatch, given=False)
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(["*not replayed: no commit *; this clone is shallow*replay*fetch-depth: 0*"])


def test_a_remote_that_gives_nothing_is_a_sentence(shallow, monkeypatch):
    consent(monkeypatch)
    shallow.git("remote", "set-url", "origin", "/nowhere")
    shallow.write(0.115)
    result = shallow.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(
        ["*not replayed: no commit *; this clone is shallow*git fetch: fatal: '/nowhere' does *"]
    )


# a project that is installed


class Installed:
    """A suite whose builder lies in the repository's own project, which is installed as a copy, as tox does it."""

    def __init__(self, suite, site, monkeypatch):
        self.project, self.site, self.monkeypatch = Project(suite), site, monkeypatch
        self.project.suite.write(TEST.replace("from own import", "from ownproj.models import"))
        (suite.pytester.path / "pyproject.toml").write_text("[project]\nname = 'ownproj'\nversion = '1.0'\n")
        (suite.pytester.path / "src" / "ownproj").mkdir(parents=True)
        monkeypatch.syspath_prepend(site)
        self.write(0.1)
        self.install()
        self.project.commit()
        self.project.record()
        self.project.commit()

    def write(self, seconds):
        self.project.write(seconds, name="src/ownproj/speed.py", text="SECONDS = {seconds}\n")
        self.project.write("SECONDS", name="src/ownproj/models.py", text="from .speed import SECONDS\n" + BUILDER)
        self.project.write("", name="src/ownproj/__init__.py", text="")

    def install(self):
        shutil.rmtree(self.site, ignore_errors=True)
        source = self.project.path / "src"
        files = {f"ownproj/{one.name}": one.read_text() for one in (source / "ownproj").glob("*.py")}
        put(self.site, "ownproj", "1.0", files, url={"url": self.project.path.as_uri(), "dir_info": {}})
        for name in [one for one in sys.modules if one.partition(".")[0] == "ownproj"]:
            del sys.modules[name]

    def uv(self, command):
        self.monkeypatch.setattr("pytest_metalperf.references.project.find_uv", lambda: command)


@pytest.fixture
def installed(suite, tmp_path, monkeypatch):
    return Installed(suite, tmp_path / "site", monkeypatch)


FAKE_UV = [sys.executable, str(Path(__file__).parents[1] / "support" / "fake_uv.py")]


def test_a_project_that_is_installed_is_built_from_the_code_of_the_baseline(installed):
    assert installed.project.entry["accepted"]["file"] == "src/ownproj/models.py"
    installed.uv(FAKE_UV)
    installed.write(0.115)
    installed.install()
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])


def test_a_copy_that_is_not_what_the_working_tree_has_is_not_replayed(installed):
    """It would be timed under the name of code that it is not."""
    installed.write(0.115)
    result = installed.project.suite.run("--metal-confirm=replay")
    result.stdout.fnmatch_lines(["own*within", "*ownproj* is not what the working tree has: install the project again"])
    result = installed.project.suite.run("--metal-update-baselines", "--metal-update-mode=all")
    result.assert_outcomes(passed=1)
    assert installed.project.entry.get("accepted") is None


def test_a_project_that_is_installed_here_alone_is_lent_to_the_packages_of_the_baseline(
    installed, tmp_path, monkeypatch
):
    old, numbers = tmp_path / "old", "import slowlib\n\nSECONDS = slowlib.SECONDS\n"
    for where in (old, installed.site):
        put(where, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
    installed.project.write(0, name="src/ownproj/speed.py", text=numbers)
    installed.install()
    put(installed.site, "slowlib", "1.0", {"slowlib.py": "SECONDS = 0.1\n"})
    installed.project.record()
    installed.project.commit()
    shutil.rmtree(installed.site / "slowlib-1.0.dist-info")
    put(installed.site, "slowlib", "2.0", {"slowlib.py": "SECONDS = 0.11500\n"})
    sys.modules.pop("slowlib", None)
    python = old / "python"
    without = f"import sys; sys.path[:] = [one for one in sys.path if one != {str(installed.site)!r}]"
    (old / "sitecustomize.py").write_text(without)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={old} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(Environments, "of", lambda environments, stack, tools=(): Environment(python, old))
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   slowlib 1.0 -> 2.0"])


@pytest.mark.parametrize("why", ["uv is not installed", "it has no src"])
def test_a_project_that_cannot_be_built_is_not_replayed_and_the_reason_is_said(installed, why):
    if "src" in why:
        installed.uv([*FAKE_UV[:1], "-c", f"import sys; print('error: {why}'); sys.exit(1)"])
    else:
        installed.monkeypatch.setitem(sys.modules, "uv", None)
    installed.write(0.3)
    installed.install()
    result = installed.project.suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"*not replayed: ownproj* was imported from *; it was not built for a comparison: {why}*"]
    )
