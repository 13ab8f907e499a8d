"""A suspected test goes to the end of the session, where it is measured again."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import CONFTEST

from pytest_metalperf import suspects

HEARD = """
def pytest_metalperf_measured(measurement):
    with open("heard", "a") as file:
        file.write(measurement.workload.label + "\\n")
"""
TWO = """
import pytest

def build_other():
    from fake_backend import FakeModel
    return FakeModel(0.1)

def test_first(metal_bench):
    assert metal_bench('fake-model').verdict in ('recorded', 'within')

def test_second(metal_bench):
    metal_bench(build_other, name='other')

def test_plain():
    pass
"""


@pytest.fixture
def suspicious(suite):
    """A suite of two workloads, whose first has become a little slower than is allowed: one look cannot tell."""
    suite.write(TWO)
    suite.set(jitter=0.01)
    suite.run("--metal-update-baselines")
    suite.set(seconds=0.12, jitter=0.001)
    return suite


def test_a_suspected_test_runs_again_at_the_end(suspicious):
    result = suspicious.run("-v")
    lines = [
        line.split(" ")[0] + " " + line.split(" ")[1]
        for line in result.outlines
        if line.startswith("test_suite.py::") and "%" in line
    ]
    assert [line.partition("::")[2] for line in lines] == [
        "test_first[cpu] SUSPECTED",
        "test_second[cpu] PASSED",
        "test_plain PASSED",
        "test_first[cpu] FAILED",
    ]
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["fake-model* on cpu (fake) is * slower than its baseline*"])
    result.stdout.fnmatch_lines(["2 gated: 1 within, 1 slower"])
    result.stdout.no_fnmatch_line("*not confirmed*")


def test_its_first_run_counts(suspicious):
    suspicious.trained()
    suspicious.run()
    assert len(suspicious.trained()) <= 1 + 1 + 2  # first look, the other test's, two beside each other at the end


def test_the_last_test_is_confirmed_at_once(suspicious):
    result = suspicious.run("-v", "-k", "first or plain")
    result.stdout.no_fnmatch_line("*SUSPECTED*")
    result.assert_outcomes(passed=1, failed=1)


def test_one_test_case_in_junit_and_none_for_the_first_attempt(suspicious):
    suspicious.run("--junitxml=out.xml")
    cases = ElementTree.parse(suspicious.pytester.path / "out.xml").getroot().findall(".//testcase")
    assert [case.get("name") for case in cases].count("test_first[cpu]") == 1
    (failed,) = [case for case in cases if case.find("failure") is not None]
    assert failed.get("name") == "test_first[cpu]"
    assert failed.find("properties/property[@name='metal_verdict']").get("value") == "slower"


def test_a_session_that_ends_early_says_what_was_not_confirmed(suspicious):
    source = TWO.replace("def test_plain():\n    pass", "def test_plain():\n    pytest.exit('enough')")
    suspicious.write(source)
    result = suspicious.run()
    result.stdout.fnmatch_lines(["not confirmed: fake-model* on cpu (fake) looks * slower (*test_first[[]cpu[]])"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_fixtures_of_a_suspected_test_are_made_anew(suspicious):
    source = TWO.replace("def test_first(metal_bench):", "def test_first(metal_bench, fresh):").replace(
        "def test_plain", "@pytest.fixture\ndef fresh():\n    return []\n\ndef test_plain"
    )
    suspicious.write(
        source.replace(
            "    assert metal_bench('fake-model')",
            "    fresh.append(1)\n    assert fresh == [1]\n    assert metal_bench('fake-model')",
        )
    )
    suspicious.run().assert_outcomes(passed=2, failed=1)


def test_no_row_of_the_first_attempt_in_pytest_benchmark(suspicious):
    result = suspicious.run("--benchmark-columns=rounds")
    rows = [line for line in result.outlines if line.startswith("test_first[cpu]")]
    assert len(rows) == 1


def test_two_calls_in_a_suspected_test_are_two_rows(suspicious):
    suspicious.write(
        """
def build_other():
    from fake_backend import FakeModel
    return FakeModel(0.1)

def test_both(metal_bench):
    metal_bench(build_other, name='other')
    metal_bench('fake-model')

def test_last(metal_bench):
    metal_bench(build_other, name='other')
"""
    )
    suspicious.pytester.makeconftest(CONFTEST + HEARD)
    result = suspicious.run("--benchmark-columns=rounds")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["3 gated: 2 within, 1 slower"])
    rows = [line.split(" ")[0] for line in result.outlines if line.startswith(("test_both", "test_last"))]
    assert sorted(rows) == ["test_both[cpu]", "test_last[cpu]"]
    heard = (suspicious.pytester.path / "heard").read_text().split()
    assert sorted(heard) == ["fake-model[b8]", "other", "other"]


@pytest.mark.parametrize("flags", [["-x"], ["--pdb"]])
def test_who_wants_each_failure_at_once_gets_it(suspicious, flags):
    result = suspicious.run("-v", *flags)
    result.stdout.no_fnmatch_line("*SUSPECTED*")
    assert "test_suite.py::test_first[cpu] FAILED" in result.stdout.str()


def test_what_others_hung_on_the_test_stays(suspicious):
    suspicious.pytester.makeconftest(
        CONFTEST
        + "\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        + "        item.user_properties.append(('own', item.name))\n"
    )
    suspicious.run("--junitxml=out.xml")
    (case,) = [
        case
        for case in ElementTree.parse(suspicious.pytester.path / "out.xml").getroot().findall(".//testcase")
        if case.get("name") == "test_first[cpu]"
    ]
    properties = [(one.get("name"), one.get("value")) for one in case.findall("properties/property")]
    assert properties.count(("own", "test_first[cpu]")) == 1
    assert [name for name, _ in properties].count("metal_verdict") == 1


def test_a_fixture_taken_by_name_is_confirmed_at_once(suspicious):
    suspicious.write(
        TWO.replace("def test_first(metal_bench):", "def test_first(request):").replace(
            "    assert metal_bench('fake-model')",
            "    metal_bench = request.getfixturevalue('metal_bench')\n    assert metal_bench('fake-model', device='cpu')",
        )
    )
    suspicious.run("--metal-devices=cpu").assert_outcomes(passed=2, failed=1)


def test_a_test_that_will_be_skipped_is_nothing_to_wait_for(suspicious):
    suspicious.ini(metal_devices="cpu,gpu")
    suspicious.write(
        "def test_other(metal_bench):\n    metal_bench('fake-model', batch_size=4)\n\n"
        "def test_first(metal_bench):\n    metal_bench('fake-model')\n"
    )
    result = suspicious.run("-v")
    result.stdout.no_fnmatch_line("*test_first[[]cpu[]] SUSPECTED*")
    result.stdout.fnmatch_lines(["*test_first[[]cpu[]] FAILED*"])


def test_the_next_look_waits_for_a_slow_minute_to_pass(suspicious):
    suspicious.monkeypatch.setattr(suspects, "PATIENCE", 1.5)
    since = time.monotonic()
    suspicious.run("-k", "first").assert_outcomes(failed=1)
    assert time.monotonic() - since > 1.5


def test_a_closure_that_holds_something_of_its_test_is_measured_again(suite):
    suite.write(
        """
        from fake_backend import FakeModel, wish

        def test_first(metal_bench, tmp_path):
            def mine():
                return FakeModel(wish("seconds", 0.1) if tmp_path else 0.0)
            metal_bench(mine)

        def test_second(metal_bench):
            metal_bench("fake-model")
        """
    )
    suite.set(jitter=0.01)
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    suite.set(seconds=0.12, jitter=0.001)
    result = suite.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["mine on cpu (fake) is * slower than its baseline*"])
    result.stdout.no_fnmatch_line("*two different builders*")


CAUGHT = {
    "subtests": "def test_first(metal_bench, subtests):\n    with subtests.test(a=1):\n        metal_bench('fake-model')\n",
    "except": (
        "def test_first(metal_bench):\n    try:\n        metal_bench('fake-model')\n"
        "    except pytest.skip.Exception:\n        pass\n"
    ),
}


@pytest.mark.parametrize("how", CAUGHT)
def test_a_suspicion_that_the_test_itself_catches_is_looked_at_again(suspicious, how):
    if how == "subtests" and pytest.version_tuple < (9,):
        pytest.skip("pytest 9 brings subtests")
    before = "    assert metal_bench('fake-model').verdict in ('recorded', 'within')\n"
    suspicious.write(TWO.replace(f"def test_first(metal_bench):\n{before}", CAUGHT[how]))
    result = suspicious.run("-v")
    result.stdout.fnmatch_lines(["*test_first* SUSPECTED*", "fake-model* on cpu (fake) is * slower than its baseline*"])
    assert result.ret == 1 or how == "except"


def test_pytest_rerunfailures_marker_keeps_the_test_with_it(suspicious):
    suspicious.pytester.makeconftest(
        CONFTEST + "\ndef pytest_configure(config):\n    config.addinivalue_line('markers', 'flaky: theirs')\n"
    )
    suspicious.write(TWO.replace("def test_first", "@pytest.mark.flaky(reruns=1)\ndef test_first"))
    result = suspicious.run("-v")
    result.stdout.no_fnmatch_line("*SUSPECTED*")
    result.assert_outcomes(passed=2, failed=1)


def with_first(source):
    """The suite of two workloads, with another first test."""
    return TWO[: TWO.index("def test_first")] + source + "\n" + TWO[TWO.index("def test_second") :]


IN_A_FIXTURE = """
import pytest

@pytest.fixture
def measured(metal_bench):
    return metal_bench('fake-model')

def test_first(measured):
    assert measured.verdict in ('recorded', 'within')
"""


def test_a_fixture_that_measures_is_looked_at_again_too(suspicious):
    suspicious.write(with_first(IN_A_FIXTURE))
    result = suspicious.run("-v", "--junitxml=out.xml")
    result.stdout.fnmatch_lines(["*test_first* SUSPECTED*", "*test_first* ERROR*"])
    result.stdout.fnmatch_lines(
        ["fake-model* on cpu (fake) is * slower than its baseline*", "2 gated: 1 within, 1 slower"]
    )
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.assert_outcomes(passed=2, errors=1)


AT_TEARDOWN = """
import pytest

@pytest.fixture
def afterwards(metal_bench):
    yield
    metal_bench('fake-model')

def test_first(afterwards):
    pass
"""


def test_a_fixture_that_measures_when_it_ends_is_looked_at_again_too(suspicious):
    suspicious.write(with_first(AT_TEARDOWN))
    result = suspicious.run("-v")
    result.stdout.fnmatch_lines(["*test_first* SUSPECTED*", "fake-model* on cpu (fake) is * slower than its baseline*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_closure_of_another_test_keeps_its_name_when_a_test_is_put_off(suite):
    """Two closures of one name: the second is refused, whatever was put off between them."""
    suite.write(
        """
        from fake_backend import FakeModel, wish

        def make(seconds):
            def mine():
                return FakeModel(seconds)
            return mine

        def test_mine(metal_bench):
            metal_bench(make(0.1))

        def test_put_off(metal_bench):
            metal_bench("fake-model")

        def test_other(metal_bench):
            metal_bench(make(0.5))
        """
    )
    suite.set(jitter=0.01)
    suite.run("--metal-update-baselines", "-k", "mine or put_off").assert_outcomes(passed=2)
    suite.set(seconds=0.12, jitter=0.001)
    result = suite.run("-v")
    result.stdout.fnmatch_lines(["*test_put_off* SUSPECTED*", "*two different builders are both called mine*"])
    result.assert_outcomes(passed=1, failed=1, errors=1)


def test_runs_of_another_closure_are_never_counted(suite):
    """A closure that captures something else after its test was put off is measured anew, by its own runs alone."""
    suite.write(
        """
        from fake_backend import FakeModel

        calls = []

        def test_first(metal_bench):
            calls.append(1)
            seconds = 0.12 if len(calls) == 1 else 0.1
            def mine():
                return FakeModel(seconds)
            metal_bench(mine)

        def test_second(metal_bench):
            metal_bench("fake-model")
        """
    )
    suite.set(jitter=0.01)
    suite.run("--metal-update-baselines", "-k", "second").assert_outcomes(passed=1)
    suite.write(suite.pytester.path.joinpath("test_suite.py").read_text().replace("0.12 if", "0.1 if"))
    suite.run("--metal-update-baselines", "-k", "first").assert_outcomes(passed=1)
    suite.write(suite.pytester.path.joinpath("test_suite.py").read_text().replace("0.1 if", "0.12 if"))
    suite.set(jitter=0.001)
    result = suite.run("-v")
    result.stdout.fnmatch_lines(["*test_first* SUSPECTED*"])
    result.assert_outcomes(passed=2)


KEYS = """
import enum

class Key(enum.Enum):
    ONE = 1

def test_plain(record_property):
    record_property(1, "x")
    record_property(Key.ONE, "y")
    record_property(None, 3)
    record_property(("metal_", "verdict"), [1])
"""


def test_properties_of_any_type_are_others_own_matter(suite):
    suite.write(KEYS)
    suite.run().assert_outcomes(passed=1)
    suite.write(KEYS + "\ndef test_it(metal_bench):\n    metal_bench('fake-model')\n")
    suite.run("-v", "--metal-update-baselines").assert_outcomes(passed=2)


def test_a_module_that_cannot_be_imported_is_its_own_error(suite):
    suite.write("import no_such_module\n")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
