"""The sessions of a search: what is trained, and the sentence for what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from history import BUILDER, CONFTEST, History

pytest.importorskip("git_bayesect")

from pytest_metalperf.bisect import probe
from pytest_metalperf.bisect.checkout import argument, checked_out, environment
from pytest_metalperf.bisect.likelihood import figure
from pytest_metalperf.bisect.question import question
from pytest_metalperf.report import document

pytestmark = pytest.mark.processes

TEST = """
from own import build

def test_it(metal_bench):
    metal_bench(build, name='own')
"""


@pytest.fixture
def history(suite, monkeypatch):
    """A suite under git; tests write its last commit."""
    made = History(suite.pytester.path)
    suite.pytester.makeconftest(CONFTEST)
    suite.ini(metal_machine=None, pythonpath=".")
    suite.write(TEST)
    (made.path / ".gitignore").write_text("__pycache__\nsteps.log\nlock*\n")
    made.git("init", "--quiet")
    made.commit("first", 0.1)
    monkeypatch.chdir(made.path)
    return made


def compared(history, *arguments, commit=0):
    """One comparison of the last commit with another."""
    asked = question(history.path, history.commits[0], "HEAD", arguments or ("test_suite.py",))
    with checked_out(asked) as tree:
        return probe.Probe(asked, tree).compare(history.commits[commit])


def test_three_pairs_of_what_both_commits_have_and_those_of_an_interrupted_session(history, tmp_path):
    history.commit("slower", 0.12)
    asked = question(history.path, history.commits[0], "HEAD", ("test_suite.py",))
    with checked_out(asked) as tree:
        found = probe.Probe(asked, tree).compare(history.commits[0])
        file = document.read(tree.parent / "sessions" / "session-1.json")
    assert (found.why, found.workload, found.nodeid) == ("", "own[b8]@cpu:fake", "test_suite.py::test_it[cpu]")
    assert len(found.pairs) == 3
    assert all(figure(pair) == pytest.approx(0.182, abs=0.02) for pair in found.pairs)
    assert found.seconds > 0
    (row,) = file.results
    others = [document.OtherRuns(id=row.workload.id, runs=row.runs, reference=row.reference.runs)]
    interrupted = tmp_path / "interrupted.json"
    interrupted.write_bytes(document.encoded(msgspec.structs.replace(file, results=[], other_runs=others)))
    assert probe._read(interrupted, "") == (found.pairs, "own[b8]@cpu:fake", "", "")
    assert probe._read(interrupted, "another")[0] == ()


def test_the_tests_are_those_of_bad(history, suite):
    suite.write(TEST.replace("test_it", "test_new").replace("'own'", "'new', batch_size=16"))
    history.commit("another test", 0.1)
    found = compared(history)
    assert (found.workload, found.nodeid) == ("new[b16]@cpu:fake", "test_suite.py::test_new[cpu]")


def test_of_several_calls_the_one_that_is_slower_most_is_followed(history, suite):
    text = BUILDER + "\ndef other(batch_size=8):\n    return FakeModel({other}, batch_size)\n"
    suite.write(
        TEST.replace("import build", "import build, other") + "    metal_bench(other, name='other')\n",
    )
    history.commit("both", text=text.format(seconds=0.1, other=0.1))
    history.commit("other is slower", text=text.format(seconds=0.1, other=0.2))
    assert compared(history, commit=1).workload == "other[b8]@cpu:fake"


def test_more_than_one_test_is_refused_by_name(history, suite):
    suite.write(TEST + TEST.replace("test_it", "test_that"))
    history.commit("two", 0.1)
    assert compared(history).why == (
        "the arguments after -- select 2 tests, and a search follows one:"
        " test_suite.py::test_it[cpu], test_suite.py::test_that[cpu]"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def test_plain():\n    pass\n", "the arguments after -- select no test of training performance"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (
            "def test_it(metal_speedup):\n    metal_speedup('fake-model')\n",
            "--metal-against compares metal_bench alone",
        ),
    ],
)
def test_what_cannot_be_compared_at_all(history, suite, source, why):
    suite.write(source)
    history.commit("another", 0.1)
    found = compared(history)
    assert found.pairs == ()
    assert why in found.why


def test_a_path_that_is_not_there(history):
    history.commit("second", 0.1)
    assert "file or directory not found: nothing.py" in compared(history, "nothing.py").why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("def build(batch_size=8):\n    raise ValueError('not yet')", "the builder of own raised ValueError: not yet"),
    ],
)
def test_a_commit_that_does_not_build(history, text, why):
    broken = history.commit("broken", text=text)
    history.commit("mended", 0.1)
    found = compared(history, commit=1)
    assert found.pairs == ()
    assert why in found.why
    assert broken not in found.why  # shortened, as everywhere
    assert "pytest-metalperf-session" not in found.why  # nor the folder of the checkout


def test_a_commit_without_the_builders_file(history, suite):
    suite.write(TEST.replace("own import", "later import"))
    (history.path / "later.py").write_text(BUILDER.format(seconds=0.1))
    history.commit("later", 0.1)
    assert compared(history).why.endswith("has no file later.py, so there is nothing to compare with")


def test_a_module_from_elsewhere_defeats_it(history, monkeypatch):
    monkeypatch.setattr(probe, "modules", lambda top: frozenset({"json", "own", "of_nobody"}))
    history.commit("second", 0.1)
    why = compared(history).why
    assert why.startswith("json is imported from ")
    assert "not from the commits: an editable or compiled installation defeats a bisect" in why


def test_an_editable_installation_is_the_checkouts(history, tmp_path, monkeypatch):
    """Its folder comes onto the path by a .pth file, which the path of this process shows."""
    (history.path / "lib").mkdir()
    package = history.path / "lib" / "speed.py"
    package.write_text("SECONDS = 0.1\n")
    history.commit("with a package", text="from speed import SECONDS\n" + BUILDER.format(seconds="SECONDS"))
    package.write_text("SECONDS = 0.2\n")
    history.commit("slower", text="from speed import SECONDS\n" + BUILDER.format(seconds="SECONDS"))
    package.write_text("SECONDS = 9.9\n")  # in the working tree alone
    monkeypatch.syspath_prepend(str(history.path / "lib"))
    found = compared(history, commit=1)
    assert all(figure(pair) == pytest.approx(0.693, abs=0.03) for pair in found.pairs)
    assert len(found.pairs) == 3


def test_paths_and_variables_of_the_checkout(history, tmp_path, monkeypatch):
    top, tree = history.path.resolve(), tmp_path / "tree"
    assert argument(f"{top}/test_suite.py::test_it", top, tree) == f"{tree}/test_suite.py::test_it"
    assert argument(f"--rootdir={top}", top, tree) == f"--rootdir={tree}"
    for word in ("test_suite.py", "-k", "a=b", "--metal-devices=cpu", str(tmp_path / "elsewhere")):
        assert argument(word, top, tree) == word
    monkeypatch.setattr(sys, "path", ["", str(top / "src"), str(tmp_path / "site")])
    found = environment(top, tree, {"PYTHONPATH": f"{top / 'src'}:{tmp_path}", "GITHUB_STEP_SUMMARY": "x", "A": "b"})
    assert found == {"A": "b", "PYTHONPATH": f"{tree / 'src'}:{tmp_path}"}


def test_sigterm_ends_everything(history, suite, tmp_path):
    suite.set(sleep=0.02)
    history.commit("second", 0.12)
    history.commit("third", 0.12)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_metalperf", "bisect", history.commits[0], "HEAD", "--", "test_suite.py"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTEST_METALPERF_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
    )
    folders = []
    while not any((folder / "sessions" / "log").exists() for folder in folders):
        assert process.poll() is None
        time.sleep(0.05)
        folders = list(tmp_path.glob("pytest-metalperf-session-*"))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "interrupted; the same command goes on" in out
    assert not list(tmp_path.glob("pytest-metalperf-session-*"))
