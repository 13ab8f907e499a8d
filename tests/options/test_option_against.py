"""--metal-against: another interpreter, or a revision of the repository."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fake_distributions import put

from pytest_metalperf.references.environment import Environment, Environments

pytestmark = pytest.mark.processes

AGAINST_ITSELF = f"--metal-against={sys.executable}"
OWN = """
from own import build

def test_it(metal_bench):
    metal_bench(build, name='own')
"""
BUILDER = """
from fake_backend import FakeModel

def build():
    return FakeModel({seconds})
"""


@pytest.fixture
def repository(suite):
    """A suite under git, whose committed builder takes 0.1 virtual seconds a batch."""
    suite.write(OWN)
    (suite.pytester.path / "own.py").write_text(BUILDER.format(seconds=0.1))
    git(suite, "init", "-q")
    git(suite, "add", ".")
    git(suite, "commit", "-q", "-m", "first")
    return suite


def git(suite, *words: str) -> str:
    own = ["git", "-C", str(suite.pytester.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run([*own, *words], check=True, capture_output=True, text=True).stdout.strip()


def slow(suite, seconds: object = 0.12) -> None:
    file = suite.pytester.path / "own.py"
    then = file.stat().st_mtime
    file.write_text(BUILDER.format(seconds=seconds))
    os.utime(file, (then, then))  # as if within one second of the commit, where bytecode would stand for what was there


def test_an_interpreter_with_itself(suite):
    result = suite.run(AGAINST_ITSELF)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["workload*reference*", "fake-model*within", f"in turn with {sys.executable}: fake 1.0", "1 gated: 1 within"]
    )
    assert not suite.file.exists()


def test_a_virtual_environment_is_named_by_its_folder(suite):
    bin_ = suite.pytester.path / "venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").symlink_to(sys.executable)
    # a link is no environment of its own: the interpreter's packages must come by PYTHONPATH
    suite.monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    suite.run("--metal-against=venv").assert_outcomes(passed=1)


def test_a_slowdown_names_the_command_that_tells_whether_it_is_the_code(repository):
    repository.run("--metal-update-baselines").assert_outcomes(passed=1)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "baselines")
    (run, *_) = next(iter(repository.stored.values()))["runs"]
    slow(repository, 0.3)
    result = repository.run("--metal-max-runs=2", "--metal-confirm=stored")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"  compare it with the code of then by  pytest *test_it* --metal-against={run['commit'][:10]}"]
    )


def test_a_slower_working_tree_fails(repository):
    slow(repository)
    result = repository.run("--metal-against=HEAD")
    result.assert_outcomes(failed=1)
    commit = git(repository, "rev-parse", "HEAD")[:10]
    result.stdout.fnmatch_lines(
        [
            f"own on cpu (fake) is * slower than with HEAD ({commit})*test_suite.py::test_it[[]cpu[]]",
            "  now * s/batch   * runs of *",
            "  reference * s/batch   in turn, 95 % interval of the change +* to +*",
            "  allowed *pairs differ by * slowdowns from * are seen 9 times in 10",
        ]
    )
    result.stdout.no_fnmatch_line("*accept it with*")


def test_the_same_code_is_within_and_nothing_is_left_in_the_repository(repository):
    repository.run("--metal-against=HEAD").assert_outcomes(passed=1)
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_faster_working_tree_is_told(repository):
    slow(repository, 0.05)
    result = repository.run("--metal-against=HEAD")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["own *faster"])


def test_no_baseline_is_read(repository):
    repository.file.parent.mkdir()
    repository.file.write_text("broken")
    repository.run("--metal-against=HEAD").assert_outcomes(passed=1)


def test_a_file_that_the_revision_has_not(repository):
    (repository.pytester.path / "later.py").write_text(BUILDER.format(seconds=0.1))
    repository.write(OWN.replace("own import", "later import"))
    result = repository.run("--metal-against=HEAD")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*own: HEAD (*) has no file later.py, so there is nothing to compare with*"])


def test_a_revision_that_does_not_import(repository):
    slow(repository)
    (repository.pytester.path / "own.py").write_text("import nothing_of_this_name\n")
    git(repository, "commit", "-q", "-a", "-m", "broken")
    slow(repository, 0.1)
    result = repository.run("--metal-against=HEAD")
    assert "with HEAD (" in result.stdout.str()
    result.stdout.fnmatch_lines(
        ["*build cannot be loaded*ModuleNotFoundError: No module named 'nothing_of_this_name'*"]
    )


def test_a_closure_cannot_come_from_a_revision(repository):
    repository.write(
        """
def test_it(metal_bench):
    def inner():
        from fake_backend import FakeModel
        return FakeModel(0.1)
    metal_bench(inner)
"""
    )
    result = repository.run("--metal-against=HEAD")
    result.stdout.fnmatch_lines(["*inner is a closure, which travels as it is in the working tree*"])


def test_what_is_not_of_the_revision_is_found(repository):
    """A package that an installation puts before the checkout: both sides would train the same code."""
    elsewhere = repository.pytester.path.parent / "site"
    elsewhere.mkdir()
    (elsewhere / "part.py").write_text("SECONDS = 0.1\n")
    (repository.pytester.path / "part.py").write_text("SECONDS = 0.1\n")
    (repository.pytester.path / "own.py").write_text(
        f"import sys\nsys.path.insert(0, {str(elsewhere)!r})\n"
        + BUILDER.format(seconds="SECONDS").replace("def build", "from part import SECONDS\n\ndef build")
    )
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "part")
    result = repository.run("--metal-against=HEAD")
    result.stdout.fnmatch_lines([f"*part was imported from {elsewhere}/part.py, not from HEAD (*"])
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no-such-thing", "*no-such-thing: is neither an interpreter (there is no such file) nor a revision of a git*"),
        ("./nowhere/bin/python", "*is neither an interpreter (there is no such file) nor a revision*"),
        ("test_suite.py", "*does not run as a Python interpreter (*"),
        ("/tmp", "*/tmp: is a folder without an interpreter (bin/python) in it"),
        ("-x", "*is neither an interpreter*"),
    ],
)
def test_nonsense_is_one_sentence(suite, name, sentence):
    result = suite.run(f"--metal-against={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --metal-against {sentence.lstrip('*') if sentence.startswith('*no-') else sentence}"]
    )
    assert len(result.errlines) <= 2


def test_a_blank_would_mislead_pytest_about_its_rootdir(suite):
    result = suite.run("--metal-against", sys.executable)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: write --metal-against={sys.executable} with an equals sign: after a blank *"])


def test_an_old_python(suite):
    old = suite.pytester.path / "python2"
    old.write_text("#!/bin/sh\necho 3.8.1\n")
    old.chmod(0o755)
    result = suite.run("--metal-against=./python2")
    result.stderr.fnmatch_lines(["ERROR: --metal-against ./python2: is Python 3.8.1; workers need 3.10 or later"])


def test_a_closure_needs_the_same_python(suite):
    other = suite.pytester.path / "python3"
    other.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then echo 3.77.0; else exec {sys.executable} "$@"; fi\n')
    other.chmod(0o755)
    suite.write("def test_it(metal_bench):\n    def inner():\n        pass\n    metal_bench(inner)\n")
    result = suite.run("--metal-against=./python3")
    result.stdout.fnmatch_lines(
        ["*inner is a closure, and its bytecode of Python * does not run on the Python 3.77.0 of*"]
    )


def test_a_reference_without_the_framework_is_an_error_that_names_it(suite):
    """As a bare interpreter is: here one that cannot find the backend's module."""
    bare = suite.pytester.path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    suite.ini(metal_backend="tensorflow")
    suite.write("def test_it(metal_bench):\n    metal_bench('style-transfer', size='quick')\n")
    result = suite.run("--metal-against=./python3")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*with ./python3: *cannot be imported*"])


@pytest.mark.parametrize("other", ["--metal-update-baselines", "--metal-host=popen"])
def test_what_it_does_not_go_with(suite, other):
    result = suite.run(AGAINST_ITSELF, other)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --metal-against *: leave {other.partition('=')[0]} out"])


def test_other_fixtures_are_skipped_and_counted(suite):
    suite.write("def test_it(metal_live):\n    metal_live(lambda: 1.0, name='step')\n")
    result = suite.run(AGAINST_ITSELF)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["0 gated; not gated: 1 skipped (--metal-against compares metal_bench alone)"])


def test_smoke(suite):
    result = suite.run(AGAINST_ITSELF, "--metal", "smoke")
    result.assert_outcomes(passed=1)


def test_noise_is_inconclusive_and_says_so(suite):
    suite.set(jitter=0.2)
    result = suite.run(AGAINST_ITSELF, "--metal-max-runs", "2", "--metal-strict")
    text = result.stdout.str()
    assert "slower" not in text.replace("slower than", "") or "inconclusive" in text


def test_two_tests_of_one_workload_are_measured_once(suite):
    suite.write(
        "def test_a(metal_bench):\n    metal_bench('fake-model')\n\ndef test_b(metal_bench):\n    metal_bench('fake-model')\n"
    )
    suite.trained()
    suite.run(AGAINST_ITSELF).assert_outcomes(passed=2)
    assert len(suite.trained()) == 6  # three pairs


def test_a_shallow_clone_is_told_with_the_remedy(repository, tmp_path):
    slow(repository)
    git(repository, "commit", "-qam", "second")
    shallow = tmp_path / "shallow"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", repository.pytester.path.as_uri(), str(shallow)],
        check=True,
        capture_output=True,
    )
    repository.monkeypatch.chdir(shallow)
    result = repository.run("--rootdir", str(shallow), "--metal-against=HEAD~1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*this clone is shallow and may lack it: git fetch --unshallow*fetch-depth: 0*"])


def test_a_repository_that_git_does_not_trust_is_told_in_its_own_words(repository):
    repository.monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    program = repository.pytester.mkdir("bin") / "HEAD"  # libwww-perl brings one, which is no interpreter
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    repository.monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    result = repository.run("--metal-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*git refuses: fatal: detected dubious ownership *safe.directory*"])
    result = repository.run("--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["  no commit is stored with it, since git refuses: *dubious ownership*safe.directory*"]
    )


def test_a_file_that_git_does_not_know_is_named(repository):
    (repository.pytester.path / ".gitignore").write_text("made.py\n")
    (repository.pytester.path / "made.py").write_text("SECONDS = 0.1\n")
    own = repository.pytester.path / "own.py"
    own.write_text("import made\n" + own.read_text())
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    result = repository.run("--metal-against=HEAD")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*known     made.py is in the working tree and not in git, so a checkout lacks it*"])


@pytest.mark.parametrize(("every", "words"), [(4, "1 slower"), (7, "1 inconclusive")])
def test_a_dearer_kth_step_is_never_within(repository, every, words):
    """Of 20 turns of one timed step every 4th or 7th is dearer, such that the mean grows by half."""
    repository.ini(metal_batches=20, metal_max_runs=2)
    slow(repository, 0.3)
    git(repository, "commit", "-q", "-a", "-m", "longer")
    slow(repository, f"0.3, cycle=({every}, {0.5 * every})")
    result = repository.run("--metal-against=HEAD")
    result.stdout.fnmatch_lines([f"1 gated: {words}"])
    if "inconclusive" in words:
        result.stdout.fnmatch_lines(["*the mean of all batches grew by * % beside the figure*"])


def test_a_file_with_the_name_of_a_revision_is_not_run(repository):
    """A pull request could bring one, and its gate would compare the file's code with itself."""
    git(repository, "branch", "origin/main")
    folder = repository.pytester.path / "origin"
    folder.mkdir()
    (folder / "main").write_text(f'#!/bin/sh\ntouch ran\nexec {sys.executable} "$@"\n')
    (folder / "main").chmod(0o755)
    result = repository.run("--metal-against=origin/main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--metal-against origin/main: is a revision and a file or folder; write *"])
    assert not (repository.pytester.path / "ran").exists()
    repository.run("--metal-against=refs/heads/origin/main").assert_outcomes(passed=1)


# baselines, and packages


def test_each_baseline_is_trained_in_turn_by_hand(repository):
    """Nobody stores anything, and what the first look says is no answer."""
    (repository.pytester.path / ".gitignore").write_text("steps.log\nlock*\n__pycache__\n.pytest_cache\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    repository.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = repository.file.read_bytes()
    slow(repository, 0.1001)
    repository.trained()
    result = repository.run("--metal-against=baseline")
    result.assert_outcomes(passed=1)
    assert len(repository.trained()) >= 1 + 2 * 3
    slow(repository, 0.115)
    result = repository.run("--metal-against=baseline")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* slower than its baseline, trained in turn*", "  differs   code"])
    assert repository.file.read_bytes() == before


def test_baselines_are_compared_or_stored(repository):
    result = repository.run("--metal-against=baseline", "--metal-update-baselines")
    result.stderr.fnmatch_lines(["*--metal-against compares and stores no baselines*"])


@pytest.fixture
def slowlib(suite, tmp_path, monkeypatch):
    """A suite that imports an installed package; the folder where another version lies."""
    for version, seconds in (("1.0", 0.1), ("2.0", 0.12)):
        put(tmp_path / version, "slowlib", version, {"slowlib.py": f"SECONDS = {seconds}\n"})
    monkeypatch.syspath_prepend(tmp_path / "2.0")
    suite.write(OWN)
    (suite.pytester.path / "own.py").write_text("import slowlib\n" + BUILDER.format(seconds="slowlib.SECONDS"))
    sys.modules.pop("slowlib", None)

    def of(environments, stack, tools=()):
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "1.0"} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return Environment(python, tmp_path)

    monkeypatch.setattr(Environments, "of", of)
    return suite


def test_the_packages_of_a_requirements_file_are_installed_and_compared_with(slowlib):
    (slowlib.pytester.path / "old.txt").write_text("slowlib==1.0  # as last year\n")
    result = slowlib.run("--metal-against=old.txt")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["own* is * % slower than with old.txt*"])


def test_another_version_than_the_file_says_is_an_error(slowlib):
    (slowlib.pytester.path / "old.txt").write_text("slowlib==1.5\n")
    result = slowlib.run("--metal-against=old.txt")
    result.stdout.fnmatch_lines(["*old.txt would import slowlib 1.0 instead of 1.5: look what PYTHONPATH *"])


@pytest.mark.parametrize("line", ["slowlib>=1.0", "--index-url https://example.org", "./slowlib"])
def test_a_file_that_says_more_than_versions_is_refused(slowlib, line):
    (slowlib.pytester.path / "old.txt").write_text(f"{line}\n")
    result = slowlib.run("--metal-against=old.txt")
    result.stderr.fnmatch_lines(["*old.txt:1: *names with exact versions can be compared*"])


def test_a_module_that_another_interpreter_lacks_is_an_error_of_its_side(slowlib):
    """There is no checkout of which a project could be built."""
    slowlib.write(
        OWN.replace("from own import build", "import sys; sys.modules['nowhere_at_all'] = sys\nfrom own import build")
    )
    (slowlib.pytester.path / "own.py").write_text("import nowhere_at_all\n\ndef build():\n    return None\n")
    (slowlib.pytester.path / "old.txt").write_text("slowlib==1.0\n")
    result = slowlib.run("--metal-against=old.txt")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*No module named 'nowhere_at_all'*"])
    result.stdout.no_fnmatch_line("*AssertionError*")
