"""`python -m pytest_metalperf bisect GOOD BAD -- arguments`: what a person sees of a search."""

from __future__ import annotations

import json
import re
import subprocess
from types import SimpleNamespace

import pytest
from history import CONFTEST, History

from pytest_metalperf import __main__ as package

pytest.importorskip("git_bayesect")

from pytest_metalperf.bisect import following, probe, search  # noqa: F401 - all of it, before pytester looks what is loaded
from pytest_metalperf.bisect.probe import Answer, Interrupted

TEST = """
from own import build

def test_it(metal_bench):
    metal_bench(build, name='own')
"""
ARGUMENTS = ("--", "test_suite.py")


@pytest.fixture
def history(suite, monkeypatch, tmp_path):
    """A suite under git that takes 0.1 virtual seconds a step until its third commit, and 0.11 from then on."""
    made = History(suite.pytester.path)
    suite.pytester.makeconftest(CONFTEST)
    suite.ini(metal_machine=None, pythonpath=".")
    suite.write(TEST)
    (made.path / ".gitignore").write_text("__pycache__\nsteps.log\nlock*\n")
    made.git("init", "--quiet")
    for number in range(7):
        made.commit(f"title {number}", 0.1 if number < 3 else 0.11)
    monkeypatch.setenv("PYTEST_METALPERF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(search, "SIMULATED", 10)
    monkeypatch.chdir(made.path)
    return made


@pytest.fixture
def bisect(history, capsys):
    """The command: its exit code, what it printed, and its errors. BAD is the last commit where only GOOD is named."""

    def run(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        mine = arguments or (history.commits[0], "HEAD", *ARGUMENTS)
        code = package.main(["bisect", *mine])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return run


class Comparisons:
    """Answers in the place of sessions: seconds of each commit, or why it cannot be trained."""

    def __init__(self, history):
        self.seconds = {commit: 0.1 if number < 3 else 0.11 for number, commit in enumerate(history.commits)}
        self.why, self.asked, self.interrupt_at = {}, [], None
        self.bad = history.commits[-1]

    def __call__(self, _probe, commit, workload=""):
        self.asked.append(commit)
        if commit in self.why:
            return Answer(why=self.why[commit], seconds=1.0)
        jitter = [1.0, 1.002, 0.998]
        pairs = tuple(([self.seconds[self.bad] * x] * 4, [self.seconds[commit]] * 4) for x in jitter)
        if len(self.asked) == self.interrupt_at:
            raise Interrupted(Answer(pairs[:1], "own@cpu:fake", "", "", 4.0))
        return Answer(pairs, "own@cpu:fake", "test_suite.py::test_it[cpu]", "", 10.0)


@pytest.fixture
def compare(history, monkeypatch):
    """Comparisons without sessions."""
    made = Comparisons(history)
    monkeypatch.setattr(probe.Probe, "compare", lambda self, *words: made(self, *words))
    return made


def state_file(tmp_path):
    (file,) = (tmp_path / "cache" / "bisects").glob("*.json")
    return file


@pytest.mark.processes
def test_the_commit_is_found_by_sessions_in_turn(history, bisect):
    before = history.git("status", "--porcelain"), history.git("worktree", "list")
    found = bisect(history.commits[2], history.commits[4], *ARGUMENTS)  # two candidates: each session takes seconds
    assert found.code == 0, found
    culprit = history.commits[3]
    assert f"\n{culprit[:10]} title 3\nis the first slower commit (" in found.out
    assert re.search(
        r"\n  in all   \+\d+\.\d % \(\+\d.* to \+.* %\) from GOOD to BAD, in own\[b8\]@cpu:fake\n", found.out
    )
    assert found.out.endswith(f"  look at it with  git show {culprit[:10]}\n")
    assert (history.git("status", "--porcelain"), history.git("worktree", "list")) == before


def test_what_is_said(history, bisect, compare):
    found = bisect()
    lines = found.out.splitlines()
    good, *_, bad = history.commits
    assert lines[:3] == [
        f"6 commits from GOOD {good[:10]} title 0",
        f"          to   BAD  {bad[:10]} title 6",
        "first GOOD is trained in turn with BAD: 3 to 15 pairs",
    ]
    assert lines[3:5] == [f"{good[:10]}  BAD takes  +10.0 % beside it  (3 pairs, 10 s)"] * 2
    assert re.fullmatch(r"about \d comparisons? of 3 pairs, \d+ s; 9 in 10 searches take at most \d, .*", lines[5])
    assert re.fullmatch(
        r"[0-9a-f]{10}  BAD takes +[+-]\d+\.\d % beside it  \(3 pairs, 10 s\)  most probable: [0-9a-f]{10} \d+\.\d %",
        lines[6],
    )
    pairs, seconds = 3 * len(compare.asked), 10 * len(compare.asked)
    assert re.fullmatch(
        r"  step     \+10\.0 % \(\+\d.* to \+1\d.* %\) by the pairs right before and after it", lines[-4]
    )
    assert re.fullmatch(r"  in all   \+10\.0 % \(\+\d.* to \+1\d.* %\) from GOOD to BAD, in own@cpu:fake", lines[-3])
    assert re.fullmatch(rf"  pairs    {pairs}, which differ by \d\.\d %; {seconds} s", lines[-2])
    assert lines[-1] == f"  look at it with  git show {history.commits[3][:10]}"


def test_the_same_command_has_the_answer_again(history, bisect, compare):
    first = bisect()
    asked = len(compare.asked)
    second = bisect()
    assert len(compare.asked) == asked
    assert second.code == 0
    assert f"goes on with {3 * asked} pairs that were measured before (--restart begins anew)" in second.out
    assert second.out.splitlines()[-5:] == first.out.splitlines()[-5:]


def test_an_interrupted_search_goes_on(history, bisect, compare):
    compare.interrupt_at = 3
    found = bisect()
    assert found.code == 130
    assert found.out.endswith("-- test_suite.py\n")
    assert "interrupted; the same command goes on" in found.out
    done = list(compare.asked)
    compare.interrupt_at = None
    found = bisect()
    assert found.code == 0
    assert "goes on with 7 pairs" in found.out  # six of GOOD, and the one that was whole
    assert history.commits[0] not in compare.asked[len(done) :]


def test_restart_puts_aside_what_was_measured(history, bisect, compare, tmp_path):
    bisect()
    asked, kept = len(compare.asked), state_file(tmp_path).read_bytes()
    found = bisect("--restart", history.commits[0], "HEAD", *ARGUMENTS)
    assert found.code == 0
    assert len(compare.asked) == 2 * asked
    assert kept in [file.read_bytes() for file in (tmp_path / "cache" / "bisects").glob("*.1.json")]


def test_another_question_has_another_state(history, bisect, compare):
    bisect()
    asked = len(compare.asked)
    bisect(history.commits[0], "HEAD", "--", "test_suite.py::test_it")
    bisect(history.commits[1], "HEAD", *ARGUMENTS)
    assert len(compare.asked) >= 3 * asked - 2


def test_without_a_step_there_is_nothing_to_search(history, bisect, compare):
    compare.seconds = dict.fromkeys(compare.seconds, 0.1)
    found = bisect()
    assert found.code == 1
    assert re.search(
        r"no step to search: beside GOOD, BAD takes [+-]0\.\d % \(-.* %; 15 pairs\), which noise alone explains",
        found.out,
    )
    assert set(compare.asked) == {history.commits[0]}


def test_a_faster_bad_is_told(history, bisect, compare):
    compare.seconds[history.commits[-1]] = 0.08
    found = bisect()
    assert found.code == 1
    assert "BAD is 20.0 % faster than GOOD (" in found.out


def test_a_commit_that_cannot_be_trained_is_skipped_and_told(history, bisect, compare):
    compare.why[history.commits[2]] = "no module named nothing"
    found = bisect()
    assert found.code == 0
    two, three = history.commits[2][:10], history.commits[3][:10]
    assert f"{two}  skipped: no module named nothing\n" in found.out
    assert "the first slower commit is one of 2, of which only the last can be trained (" in found.out
    assert f"\n  {two} title 2\n  {three} title 3\n" in found.out
    assert f"  skipped  {two}: no module named nothing\n" in found.out
    assert found.out.endswith(f"  look at them with  git log --first-parent {history.commits[1][:10]}..{three}\n")


def test_a_good_commit_that_cannot_be_trained_ends_the_search(history, bisect, compare):
    compare.why[history.commits[0]] = "no file own.py"
    found = bisect()
    assert found.code == 2
    assert found.err == f"bisect: GOOD ({history.commits[0][:10]} title 0) and BAD cannot be compared: no file own.py\n"
    del compare.why[history.commits[0]]
    assert bisect().code == 0  # that was not kept


def test_no_answer_is_said_with_what_is_left(history, bisect, compare, monkeypatch):
    monkeypatch.setattr(search, "MOST_COMPARISONS", 1)
    found = bisect()
    assert found.code == 1
    assert "no answer after so many pairs" in found.out
    assert found.out.endswith("  the same command goes on with further pairs\n")
    monkeypatch.setattr(search, "MOST_COMPARISONS", 9)
    assert bisect().code == 0


def test_a_merge_is_one_commit_and_says_how_to_look_into_it(history, bisect, compare):
    history.git("checkout", "--quiet", "-b", "side", history.commits[1])
    (history.path / "other.py").write_text("")
    history.git("add", "other.py")
    history.git("commit", "--quiet", "-m", "on the side")
    side = history.git("rev-parse", "HEAD")
    history.git("checkout", "--quiet", "-")
    history.git("checkout", "--quiet", history.commits[2])
    history.git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    merge = history.git("rev-parse", "HEAD")
    compare.seconds[merge] = 0.11
    compare.bad = merge
    found = bisect(history.commits[0], merge, *ARGUMENTS)
    assert found.code == 0
    assert "3 commits from GOOD" in found.out  # not the one on the side
    assert f"\n{merge[:10]} merged\nis the first slower commit" in found.out
    assert f"from `git merge-base {history.commits[2][:10]} {side[:10]}` to {side[:10]} looks into it" in found.out


def test_changes_in_the_working_tree_are_told_and_left_alone(history, bisect, compare):
    (history.path / "own.py").write_text("broken")
    found = bisect()
    assert found.code == 0
    assert "the working tree has changes that are in no commit; they are left out\n" in found.out
    assert (history.path / "own.py").read_text() == "broken"


def test_a_subject_is_shown_as_text(history, bisect, compare):
    bad = history.commit("a \x1b[31m red\ttitle", 0.11)
    compare.seconds[bad] = 0.11
    compare.bad = bad
    assert "a \\x1b[31m red\\ttitle" in bisect().out


# what cannot be asked


@pytest.mark.parametrize(
    ("good", "bad", "rest", "said"),
    [
        ("HEAD~3", "HEAD", (), "which test tells? name it after --, such as: bisect v1.2 HEAD -- "),
        ("nothing", "HEAD", ARGUMENTS, "GOOD nothing is no revision of the repository at "),
        ("HEAD~3", "nothing", ARGUMENTS, "BAD nothing is no revision of the repository at "),
        ("HEAD~1", "HEAD^", ARGUMENTS, "GOOD and BAD are the same commit, "),
        ("HEAD", "HEAD~3", ARGUMENTS, "comes after BAD ("),
        ("HEAD~3", "HEAD", ("--", "x.py", "--metal-against=HEAD"), "--metal-against is not for a bisect"),
        ("HEAD~3", "HEAD", ("--", "x.py", "--metal-json=x"), "--metal-json is not for a bisect"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(bisect, good, bad, rest, said):
    found = bisect(good, bad, *rest)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert found.err.startswith("bisect: ")
    assert found.err.count("\n") == 1


def test_outside_git(bisect, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "lies in no working tree of a git repository" in bisect("a", "b", *ARGUMENTS).err


def test_branches_that_part(history, bisect):
    history.git("checkout", "--quiet", "-b", "side", history.commits[1])
    side = history.commit("on the side", 0.1)
    found = bisect(side, history.commits[5], *ARGUMENTS)
    assert found.code == 2
    assert (
        f"does not lead to BAD ({history.commits[5][:10]}): name where they part, {history.commits[1][:10]}"
        in found.err
    )


def test_a_shallow_clone(history, bisect, tmp_path, monkeypatch):
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=2", history.path.as_uri(), str(tmp_path / "clone")],
        check=True,
        capture_output=True,
    )
    monkeypatch.chdir(tmp_path / "clone")
    found = bisect(history.commits[0], "HEAD", *ARGUMENTS)
    assert "is no revision of the repository" in found.err
    assert "shallow" in found.err
    assert "git fetch --unshallow" in found.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "the state is damaged"),
        (b'{"version": 2}', "the state is damaged"),
        (None, "the state is that of another search (good differs)"),
    ],
)
def test_a_damaged_state_is_told_and_put_aside_on_demand(history, bisect, compare, tmp_path, content, said):
    bisect()
    file = state_file(tmp_path)
    other = json.dumps({**json.loads(file.read_text()), "good": "0" * 40}).encode()
    file.write_bytes(content or other)
    found = bisect()
    assert found.code == 2
    assert said in found.err
    assert "--restart puts it aside and begins anew" in found.err
    assert file.read_bytes() == (content or other)
    assert bisect("--restart", history.commits[0], "HEAD", *ARGUMENTS).code == 0


def test_a_cache_that_cannot_be_written(bisect, compare, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYTEST_METALPERF_CACHE", str(tmp_path / "file"))
    found = bisect()
    assert found.code == 2
    assert "cannot be written" in found.err
    assert "PYTEST_METALPERF_CACHE names another folder" in found.err


def test_two_at_once(history, bisect, compare, monkeypatch):
    found = []

    def beside(self, *words):
        if not found:
            found.append(None)
            found.append(package.main(["bisect", history.commits[0], "HEAD", *ARGUMENTS]))
        return compare(self, *words)

    monkeypatch.setattr(probe.Probe, "compare", beside)
    assert "another process is at work on the same search" in bisect().err
    assert found[1] == 2


def test_a_folder_that_bad_has_not(history, bisect, monkeypatch):
    (history.path / "later").mkdir()
    monkeypatch.chdir(history.path / "later")
    assert "has no folder later: start where it has one" in bisect().err
