"""`metal_live`: a first look in this process, fresh runs from children that run the same test alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_metalperf.measure.arguments import child_arguments

# Which process trained, and what; sleeping, since there is no virtual clock in the pytest process. One step of a
# quick run takes long enough to be its own block, and ten of them the second that a run lasts at least.
LIVE = """
import os
import time
import pytest

@pytest.fixture
def step():
    with open("log", "a") as log:
        log.write(f"built {os.getpid()}\\n")
    def step():
        time.sleep(float(os.environ.get("SLEEP", "0.1")))
        return 0.5
    return step

def test_other():
    with open("log", "a") as log:
        log.write(f"other {os.getpid()}\\n")

def test_live(metal_live, step):
    result = metal_live(step, name="my step")
    assert result.device == "live"
    assert result.seconds_per_batch >= 0.1
    assert any("weights not checked" in note for note in result.notes)
"""
FEW = ["--metal-runs=2", "--metal-batches=3", "--metal-warmup=0", "--metal-tolerance=50%", "--metal-timeout=120"]


def lines() -> list[str]:
    """What happened since the last look, each with its process."""
    text = Path("log").read_text()
    Path("log").unlink()
    return text.splitlines()


# remove with the bug; with it goes all that children do


@pytest.fixture
def live(suite):
    """A suite whose test trains an object of a fixture; how busy the machine is that tests us excuses nothing."""
    for limit in ("OTHER_LOAD_LIMIT", "STOLEN_LIMIT"):
        suite.monkeypatch.setattr(f"pytest_metalperf.worker.machine.conditions.{limit}", 2.0)
    suite.write(LIVE)
    return suite


def test_without_a_baseline_it_is_measured_in_this_process_alone(live):
    result = live.run(*FEW)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["my step*live*no baseline"])
    assert len([line for line in lines() if line.startswith("built")]) == 1


def test_recorded_by_children_that_run_that_test_alone(live):
    live.run(*FEW, "--metal-update-baselines").assert_outcomes(passed=2)
    assert len(live.stored["my step@live"]["runs"]) == 2
    said = lines()
    assert len({line for line in said if line.startswith("built")}) == 3  # this process and two children
    assert len([line for line in said if line.startswith("other")]) == 1  # children run nothing else
    assert live.run(*FEW).ret == 0
    assert len([line for line in lines() if line.startswith("built")]) == 1  # within: believed at the first look


def test_slower_is_confirmed_by_children_and_fails(live):
    live.run(*FEW, "--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=2)
    lines()
    live.monkeypatch.setenv("SLEEP", "0.2")
    result = live.run(*FEW, "--metal-max-runs=2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["my step in the test's own process is * times slower than its baseline*"])
    assert len([line for line in lines() if line.startswith("built")]) == 3


def test_child_that_cannot_reach_the_call_is_told(suite):
    suite.write(
        """
        import os
        state = []
        def test_first():
            state.append(1)
        def test_live(metal_live):
            assert state, "run test_first before"
            metal_live(lambda: 0.5, name="my step")
        """
    )
    result = suite.run(*FEW, "--metal-update-baselines")
    result.stdout.fnmatch_lines(
        [
            "my step@live: a child process that runs this test alone (exit code 1) did not get to metal_live*others*before it*",
            "*run test_first before*",
            "ERROR *test_live*",
        ]
    )
    assert not suite.file.exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("metal_live(lambda: None, name='x')", "the step returned None; it must return a value computed on the device"),
        (
            "metal_live(lambda: 'loss', name='x')",
            "the step returned str; it must return a value computed on the device",
        ),
        (
            "metal_live(lambda: object(), name='x')",
            "the step returned a object, which is no number and no device value",
        ),
        ("metal_live(lambda: float('nan'), name='x')", "the loss became nan in the first batch"),
        ("metal_live(3, name='x')", "metal_live takes a function that trains one batch, got int"),
        ("metal_live(lambda: 1.0, name='')", "a workload's name is printable text"),
        pytest.param(
            "metal_live(lambda: time.sleep(0.1) or 1.0, name='x', batch_size=0)",
            "x: batch_size is a whole number from 1, got 0",
        ),
        pytest.param(
            "metal_live(lambda: time.sleep(0.1) or 1.0, name='x', data=[])",
            "x: data=[] is a list; axes are plain values",
        ),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_sentence(suite, call, sentence):
    suite.write(f"import time\ndef test_it(metal_live):\n    {call}\n")
    result = suite.run(*FEW)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR test_suite.py::test_it*"])
    assert sentence in result.stdout.str()
    assert "pytest_metalperf/" not in result.stdout.str()  # none of our frames


def test_name_is_required(suite):
    suite.write("def test_it(metal_live):\n    metal_live(lambda: 1.0)\n")
    result = suite.run(*FEW)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *TypeError: *missing 1 required keyword-only argument: 'name'"])


def test_step_that_raises_shows_its_own_traceback(suite):
    suite.write(
        """
        def broken():
            raise ValueError("my own mistake")
        def test_it(metal_live):
            metal_live(broken, name="x")
        """
    )
    text = suite.run(*FEW).stdout.str()
    assert "x@live: training x failed in its first batch: ValueError: my own mistake" in text
    assert 'test_suite.py", line 2, in broken' in text
    assert "pytest_metalperf/" not in text


def test_options_of_the_ini_file_do_no_harm_in_children(live):
    ini = live.pytester.path / "tox.ini"
    ini.write_text(
        ini.read_text().replace(
            "addopts = -p no:cacheprovider", "addopts = -ra --ff --junitxml=out.xml\ncache_dir = .c"
        )
    )
    result = live.run(*FEW, "--metal-update-baselines", "-x", "--strict-config")
    result.assert_outcomes(passed=2)
    assert "test_other" in (live.pytester.path / "out.xml").read_text()


def test_parametrised_test_of_a_class_is_run_alone(suite):
    suite.write(
        """
        import pytest, time
        class TestLive:
            @pytest.mark.parametrize("text", ["a b", "c::d[e]"])
            def test_it(self, metal_live, text):
                metal_live(lambda: time.sleep(0.11) or 1.0, name="step " + text[0])
        """
    )
    suite.run(*FEW[1:], "--metal-runs=1", "--metal-update-baselines").assert_outcomes(passed=2)
    assert sorted(suite.stored) == ["step a@live", "step c@live"]


# what is the parent's


def test_files_of_the_session_are_left_alone(live):
    live.write(
        LIVE
        + """

def test_files(metal_live, step, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    metal_live(step, name="again")
    assert mine.read_text() == "mine"
"""
    )
    arguments = "--metal-runs=1", "--metal-update-baselines", "--basetemp=base", "--log-file=run.log"
    live.run(*FEW, *arguments).assert_outcomes(passed=3)


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "pytest.skip('enough')"])
def test_what_ends_a_test_or_the_session_goes_through(live, how):
    live.write(
        f"""
        import pytest
        def test_live(metal_live):
            def step():
                {how}
            metal_live(step, name="interrupted")
        def test_next():
            pass
        """
    )
    result = live.pytester.runpytest_subprocess(*FEW)
    if "skip" in how:
        result.assert_outcomes(passed=1, skipped=1)
    else:
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["!*KeyboardInterrupt*!"])


@pytest.mark.parametrize("at", range(1, 5))
def test_a_step_that_fails_at_any_time_is_an_error_in_one_sentence(live, at):
    live.write(
        f"""
        def test_live(metal_live):
            values = iter([0.5] * {at - 1})
            metal_live(lambda: next(values), name="short")
        """
    )
    result = live.run(*FEW)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*training short failed in its *: StopIteration*"])
    result.stdout.no_fnmatch_line("*serve.py*")


def test_children_do_not_measure_what_else_their_test_asks_for(live):
    live.set(log=str(Path("steps").resolve()))
    live.write(
        """
        import time
        def test_both(metal_bench, metal_live):
            metal_bench("fake-model")
            metal_live(lambda: time.sleep(0.1) or 0.5, name="my step")
        """
    )
    live.run(*FEW, "--metal-update-baselines").assert_outcomes(passed=1)
    ran = Path("steps").read_text().split()
    batches = sorted(ran.count(pid) for pid in set(ran))
    assert len(batches) == 4  # two runs that are stored, and a short one in each of two children
    assert batches[1] < batches[2]


KNOWN = {
    "-p": "one", "-k": "one", "-n": "one", "-q": "none", "-x": "none", "-v": "none", "-W": "one", "-o": "one",
    "--rootdir": "one", "--cov": "maybe", "--splits": "one", "--count": "one", "--metal-size": "one", "--html": "one",
    "--verbose": "none", "--basetemp": "one", "--pair": "many",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "files", "kept"),
    [
        (["tests", "--cov", "--metal-size", "quick"], ["tests"], ["--metal-size", "quick"]),
        (["--cov", "package", "tests"], ["tests"], []),
        ([".", "--rootdir", "."], ["."], ["--rootdir", "."]),
        (["--rootdir", ".", "."], ["."], ["--rootdir", "."]),
        (["--verbose", "tests"], ["tests"], []),
        (["--basetemp", "base", "--html=log", "-p", "no:x"], [], ["-p", "no:x"]),
        (["--splits", "4", "--count=3", "-n4", "-k", "a or b"], [], []),
        (["-xvk", "name", "-qp", "no:x", "-qWerror"], [], ["-p", "no:x", "-Werror"]),
        (["--pair", "1", "2", "--rootdir=."], [], ["--rootdir=."]),
        (["--accelerator", "cuda", "--fast", "tests"], ["tests"], ["--accelerator", "cuda", "--fast"]),
    ],
)
def test_arguments_of_a_child(arguments, files, kept):
    """Of what pytest and installed plugins know, a child gets what is listed; what nobody knows is the suite's own."""
    given = child_arguments(arguments, files, KNOWN, {"-p", "-o", "-W", "--rootdir", "--metal-size"})
    assert given == [*kept, "-o", "addopts="]


@pytest.mark.parametrize("keyword", ["tolerence='3%'", "device='cpu'"])
def test_a_misspelt_setting_is_no_part_of_a_name(live, keyword):
    live.write(f"def test_live(metal_live):\n    metal_live(lambda: 0.5, name='mine', {keyword})\n")
    result = live.run(*FEW)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*metal_live: {keyword.partition('=')[0]} is no setting of a call: there are *tolerance*"]
    )


def test_two_steps_of_one_name_in_one_test_are_told(suite):
    suite.write(
        """
        def test_it(metal_live):
            for _ in range(2):
                metal_live(lambda: 1.0, name="step")
        """
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*metal_live was called twice with name='step' in one test: give each its own name"])


def test_a_mode_that_addopts_name_reaches_no_child(suite):
    suite.ini(addopts="-p no:cacheprovider --metal-update-mode=extend")
    suite.write("def test_it(metal_live):\n    metal_live(lambda: 1.0, name='step', batches=1, warmup=0)\n")
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    assert suite.stored


OF_THE_SUITE = """
import os
def pytest_addoption(parser):
    parser.addoption("--accelerator", default="none")
    parser.getgroup("mine").addoption("--fast", action="store_true")
def pytest_configure(config):
    with open("options", "a") as file:
        file.write(f"{config.option.accelerator} {config.option.fast} {config.option.verbose}\\n")
"""
INSTALLED = """
import pytest
def pytest_addoption(parser):
    parser.getgroup("split").addoption("--splits", type=int)
    parser.addoption("--of-fixture", default="nothing")
@pytest.fixture
def given(request):
    return request.config.option.of_fixture
def pytest_collection_modifyitems(config, items):
    if config.option.splits:
        items.reverse()
"""
RUNS_TESTS = """
def pytest_addoption(parser):
    parser.getgroup("timer").addoption("--groups", nargs="?")
def pytest_collection_modifyitems(config, items):
    if config.option.groups and len(items) < 2:
        items.clear()  # a child would have no test
"""


@pytest.mark.parametrize("where", ["typed", "ini", "environment"])
def test_children_get_the_suites_own_options_and_those_of_the_fixtures_they_use(live, where):
    conftest = live.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text() + OF_THE_SUITE)
    folder = live.pytester.mkdir("site-packages")
    (folder / "pytest_given.py").write_text(INSTALLED)
    (folder / "pytest_groups.py").write_text(RUNS_TESTS)
    live.monkeypatch.syspath_prepend(str(folder))
    live.monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    live.write(
        """
        import time
        def test_other():
            pass
        def test_live(metal_live, given):
            assert given == "something"
            metal_live(lambda: time.sleep(0.11) or 0.5, name="mine")
        """
    )
    options = "-p pytest_given -p pytest_groups --accelerator cuda --fast --groups 2 --of-fixture=something -v"
    typed = options.split() if where == "typed" else []
    if where == "ini":
        live.ini(addopts=f"-p no:cacheprovider {options}")
    if where == "environment":
        live.monkeypatch.setenv("PYTEST_ADDOPTS", options)
    live.run(*FEW, "--metal-runs=1", "--metal-update-baselines", *typed).assert_outcomes(passed=2)
    assert Path("options").read_text().splitlines() == ["cuda True 1", "cuda True 0"]
