"""--metal-strict-work, and the fingerprint that every verdict is told with."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

WORK = {"operations": {"Mul": 1622, "Pow": 344, "Add": 10}, "flop": 4.1e9, "traces": 1, "parameters": 25_600_000}
FALLBACK = {**WORK, "operations_on_cpu": {"ResizeBilinearGrad": 37}}
CLAUSE = "operations on the CPU 0 -> 37 (ResizeBilinearGrad 37)"
LABEL = "fake-model[[]b8[]]"


@pytest.fixture
def stored(suite):
    """A baseline with its fingerprint."""
    suite.set(work=WORK)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    return suite


def properties(suite) -> dict[str, str]:
    tree = ElementTree.parse(suite.pytester.path / "out.xml")
    return {one.get("name"): one.get("value") for one in tree.iter("property")}


def test_the_fingerprint_is_stored(stored):
    (entry,) = stored.stored.values()
    assert entry["fingerprint"] == {**WORK, "operations_on_cpu": {}, "memory_bytes": None, "varying": []}


def test_unchanged_work_passes_and_says_nothing(stored):
    result = stored.run("--metal-strict-work")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*work*: *")
    result.stdout.no_fnmatch_line("*strict-work*")


def test_changed_work_passes_by_default_and_is_told_below_the_table(stored):
    stored.set(work=FALLBACK)
    result = stored.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["fake-model* within", f"fake-model[[]b8[]]@cpu:fake: other work: {CLAUSE}"])
    assert (properties(stored)["metal_verdict"], properties(stored)["metal_work"]) == ("within", CLAUSE)


@pytest.mark.parametrize("flags", [[], ["--metal-update-baselines", "--metal-update-mode=missing"]], ids=str)
def test_changed_work_without_consequences_costs_no_second_run(stored, flags):
    stored.set(work=FALLBACK)
    stored.trained()
    stored.run(*flags).assert_outcomes(passed=1)
    assert len(stored.trained()) == 1


def test_it_fails_where_that_is_asked_and_the_verdict_stays_the_times(stored):
    stored.set(work=FALLBACK)
    result = stored.run("--metal-strict-work", "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} on cpu (fake) does other work than its baseline, and --metal-strict-work is on *",
            "  now       * s/batch   *",
            "  baseline  * s/batch   *",
            f"  work      {CLAUSE}",
            '  accept it with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-update-baselines',
            "1 gated: 1 within",
        ]
    )
    assert properties(stored)["metal_verdict"] == "within"


def test_it_fails_on_a_machine_that_can_tell_nothing_by_the_clock(suite):
    suite.set(work=WORK)
    suite.noisy()
    suite.set(work=FALLBACK, seconds=0.16)
    suite.run().assert_outcomes(passed=0, failed=0)
    result = suite.run("--metal-strict-work")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"  work      {CLAUSE}", "fake-model* inconclusive"])


def test_a_slower_test_tells_code_from_weather(stored):
    stored.set(work={**WORK, "operations": {"Mul": 3100, "Pow": 690, "Add": 11}, "traces": 2}, seconds=0.15)
    result = stored.run("--metal-strict-work")
    result.assert_outcomes(failed=1)
    told = "operations 1,976 -> 3,801 (Mul 1,622 -> 3,100, Pow 344 -> 690 and 1 more); traced 1 -> 2 times"
    result.stdout.fnmatch_lines(["fake-model* slower than its baseline *", f"  work      {told}"])
    result.stdout.no_fnmatch_line("*other work*")  # one text is enough
    stored.set(work=WORK, seconds=0.15)
    result = stored.run()
    result.stdout.fnmatch_lines(["fake-model* slower than its baseline *", "  work      unchanged"])


def test_one_process_alone_convinces_nobody(stored):
    stored.set(work={**WORK, "flop": "pid"})  # another figure in each
    result = stored.run("--metal-strict-work")
    result.assert_outcomes(passed=1)
    stored.trained()
    stored.run("--metal-strict-work")
    assert len(stored.trained()) == 2


def test_of_ini_marker_and_call(stored):
    stored.set(work=FALLBACK)
    stored.ini(metal_strict_work="true")
    stored.run().assert_outcomes(failed=1)
    stored.ini()
    stored.write(
        "import pytest\n@pytest.mark.metal_bench(strict_work=True)\ndef test_it(metal_bench): metal_bench('fake-model')"
    )
    stored.run().assert_outcomes(failed=1)
    stored.write("def test_it(metal_bench): metal_bench('fake-model', strict_work=True)")
    stored.run().assert_outcomes(failed=1)
    stored.write("def test_it(metal_bench): metal_bench('fake-model', strict_work=False)")
    stored.run("--metal-strict-work").assert_outcomes(passed=1)


def test_an_update_accepts_it(stored):
    (before,) = stored.stored.values()
    stored.set(work=FALLBACK)
    result = stored.run("--metal-strict-work", "--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"fake-model[[]b8[]]@cpu:fake: other work: {CLAUSE}", "*1 recorded"])
    (after,) = stored.stored.values()
    assert after["fingerprint"]["operations_on_cpu"] == {"ResizeBilinearGrad": 37}
    assert after["anchor"] == before["anchor"]
    stored.run("--metal-strict-work").assert_outcomes(passed=1)


def test_an_update_of_what_is_the_same_changes_no_byte(stored):
    before = stored.file.read_bytes()
    stored.run("--metal-strict-work", "--metal-update-baselines")
    assert stored.file.read_bytes() == before


def test_facts_in_which_runs_differ_are_left_out_and_named(suite):
    suite.set(work={**WORK, "operations": {"Mul": 1, "Random": "pid"}, "memory_bytes": "pid"})
    result = suite.run("--metal-update-baselines")
    result.stdout.fnmatch_lines(
        [
            "  fake-model[[]b8[]]@cpu:fake: runs disagree in memory_bytes, operations Random, which is no fact of the work"
        ]
    )
    (entry,) = suite.stored.values()
    assert (entry["fingerprint"]["operations"], entry["fingerprint"]["memory_bytes"]) == ({"Mul": 1}, None)
    suite.run("--metal-strict-work").assert_outcomes(passed=1)


def test_a_baseline_without_a_fingerprint_is_said_to_have_none_and_gets_one(suite):
    suite.run("--metal-update-baselines")
    suite.set(work=WORK)
    result = suite.run("--metal-strict-work")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["--metal-strict-work has nothing to compare for fake-model[[]b8[]]@cpu:fake: *"])
    suite.run("--metal-strict-work", "--metal-update-baselines").assert_outcomes(passed=1)
    suite.set(work=FALLBACK)
    suite.run("--metal-strict-work").assert_outcomes(failed=1)


def test_extending_keeps_what_is_known(stored):
    stored.set(work=WORK)
    stored.run("--metal-update-baselines", "--metal-update-mode=extend")
    (entry,) = stored.stored.values()
    assert (len(entry["runs"]), entry["fingerprint"]["operations"]) == (6, WORK["operations"])


def test_other_work_is_not_stored_beside_what_is_there(stored):
    before = stored.file.read_bytes()
    stored.set(work=FALLBACK)
    result = stored.run("--metal-update-baselines", "--metal-update-mode=extend")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            f"*not recorded, and nothing stored: beside 3 stored runs it would be other work ({CLAUSE}); put it in their"
            " place by leaving --metal-update-mode out, or beside them all the same with --metal-force"
        ]
    )
    assert stored.file.read_bytes() == before
    stored.run("--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = stored.stored.values()
    assert (len(entry["runs"]), entry["fingerprint"]["operations_on_cpu"]) == (3, FALLBACK["operations_on_cpu"])


def test_other_work_that_another_session_stores_meanwhile_is_told(stored):
    stored.set(work=WORK)
    stored.write(
        """
        import json
        from pathlib import Path

        def test_it(metal_bench):
            (file,) = Path("baselines").glob("*.json")
            plain = json.loads(file.read_text())
            (entry,) = plain["workloads"].values()
            entry["work"]["flop"] = 1.0
            file.write_text(json.dumps(plain))
            metal_bench("fake-model")
        """
    )
    result = stored.run("--metal-update-baselines", "--metal-update-mode=extend")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*beside 3 stored runs it would be other work (FLOP *"])


def test_other_work_is_stored_beside_it_by_force(stored):
    stored.set(work=FALLBACK)
    stored.run("--metal-update-baselines", "--metal-update-mode=extend", "--metal-force").assert_outcomes(passed=1)
    (entry,) = stored.stored.values()
    assert (len(entry["runs"]), entry["fingerprint"]["operations_on_cpu"]) == (6, FALLBACK["operations_on_cpu"])


def test_another_days_peak_of_the_allocator_is_no_other_work_but_no_fact_any_more(suite):
    suite.set(work={**WORK, "memory_bytes": 1000})
    suite.run("--metal-update-baselines")
    suite.set(work={**WORK, "memory_bytes": 1100})
    suite.run("--metal-update-baselines", "--metal-update-mode=extend").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert (len(entry["runs"]), entry["fingerprint"]["varying"]) == (6, ["memory_bytes"])
    suite.run("--metal-strict-work").assert_outcomes(passed=1)


def test_the_result_and_its_row_tell_it(stored):
    stored.set(work=FALLBACK)
    stored.write(f"def test_it(metal_bench): assert metal_bench('fake-model').fingerprint_changes == [{CLAUSE!r}]")
    path = stored.pytester.path / "rows.json"
    stored.run(f"--benchmark-json={path}").assert_outcomes(passed=1)
    assert json.loads(path.read_text())["benchmarks"][0]["extra_info"]["metal_work"] == [CLAUSE]


def test_both_sides_of_against_are_compared(suite):
    suite.write("from own import build\n\ndef test_it(metal_bench):\n    metal_bench(build, name='own')\n")
    own = suite.pytester.path / "own.py"
    builder = "from fake_backend import FakeModel\n\ndef build():\n    return FakeModel(0.1{work})\n"
    own.write_text(builder.format(work=""))
    git = ["git", "-C", str(suite.pytester.path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    suite.set(work=WORK)
    suite.run("--metal-against=HEAD", "--metal-strict-work").assert_outcomes(passed=1)
    own.write_text(builder.format(work=f", work={FALLBACK!r}"))
    result = suite.run("--metal-against=HEAD", "--metal-strict-work")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own on cpu (fake) does other work than with HEAD*, and --metal-strict-work is on *", f"  work      {CLAUSE}"]
    )
    result.stdout.no_fnmatch_line("*accept it*")


def test_an_interpreter_with_itself_does_the_same(suite):
    suite.set(work=WORK)
    result = suite.run(f"--metal-against={sys.executable}", "--metal-strict-work")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*other work*")


@pytest.mark.parametrize(
    "arguments", [(), ("--metal-update-baselines",), (f"--metal-against={sys.executable}",), ("--metal-sustained=3",)]
)
def test_what_is_no_fingerprint_is_an_error_in_one_sentence(suite, arguments):
    suite.set(work={"operatoins": {"Mul": 1}})
    result = suite.run(*arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the backend gives a fingerprint that cannot be read: *operatoins*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_fingerprint_that_cannot_be_taken_is_a_note_beside_a_good_measurement(suite):
    suite.set(work="raises")
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]]@cpu:fake: its work was not looked at: *failed in its fingerprint: ValueError: no graph here"
        ]
    )
    assert next(iter(suite.stored.values()))["fingerprint"] is None
