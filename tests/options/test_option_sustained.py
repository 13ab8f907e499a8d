"""--metal-sustained TIME: minutes of training instead of batches, whose end is judged by its start."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from pytest_metalperf.settings import SettingError, Settings

LABEL = "fake-model[[]b8[]]"
TRACE = [[s, 1980 - s, 600 + s / 2, 50 + s / 10] for s in range(5, 180, 10)]
MINUTES = "--metal-sustained=3min"


def properties(suite) -> dict[str, str]:
    tree = ElementTree.parse(suite.pytester.path / "out.xml")
    return {one.get("name"): one.get("value") for one in tree.iter("property")}


def test_a_steady_run_is_within_in_a_row_of_its_own(suite):
    suite.set(trace=TRACE, jitter=0)
    result = suite.run(MINUTES)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} sustained 3 min  cpu:fake * s * +0.0 % (+0.0 % to +0.0 %) * within",
            "fake-model[[]b8[]]@cpu:fake over 3 min:",
            "            s/batch   MHz    W  °C",
            "  start      0.1000  1950  615  53",
            "  middle     0.1000  1890  645  59",
            "  end        0.1000  1830  675  65",
            "1 gated: 1 within",
        ]
    )


def test_it_is_one_fresh_run(suite):
    suite.trained()
    suite.run("--metal-sustained=30", "--metal-runs=5")
    (steps,) = suite.trained()
    assert 300 <= steps <= 320


def test_a_run_that_slows_down_fails(suite):
    suite.set(slows=[1201, 0.25], trace=TRACE, jitter=0)
    result = suite.run(MINUTES, "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} on cpu (fake) is * % slower at the end of 3 min of training than at its start test_suite.py::*",
            "  last      0.????* s/batch   its last minute",
            "  first     0.????* s/batch   its first minute",
            "  allowed   +10.0 % *  the change is +2?.? %, 95 % interval +2?.? % to +2?.? %",
            "            s/batch   MHz    W  °C",
            "  start      0.1000  1950  615  53",
            "  end        0.1250  1830  675  65",
            '  look again with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-sustained 3min',
            f"{LABEL} sustained 3 min * slower",
            "1 gated: 1 slower",
        ]
    )
    said = properties(suite)
    assert said["metal_verdict"] == "slower"
    assert float(said["metal_sustained_ratio"]) == pytest.approx(1.25, rel=0.02)


def test_what_is_not_measured_has_no_column(suite):
    suite.set(trace=[[s, None, 20.0, None] for s in range(0, 180, 10)], jitter=0)
    suite.run(MINUTES).stdout.fnmatch_lines(["            s/batch   W", "  start      0.1000  20"])
    suite.set(jitter=0)
    suite.run(MINUTES).stdout.fnmatch_lines(["            s/batch", "  start      0.1000"])


def test_its_own_tolerance(suite):
    suite.set(slows=[1201, 0.25])
    suite.run(MINUTES, "--metal-sustained-tolerance=30%").assert_outcomes(passed=1)
    suite.set(slows=[1201, 0.05])
    suite.run(MINUTES).assert_outcomes(passed=1)
    suite.run(MINUTES, "--metal-sustained-tolerance=2%").assert_outcomes(failed=1)
    suite.run(MINUTES, "--metal-tolerance=2%").assert_outcomes(passed=1)


def test_what_cannot_be_told_is_inconclusive(suite):
    suite.set(slows=[1500, 0.2])  # half way through the last minute
    result = suite.run(MINUTES)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} sustained 3 min * inconclusive",
            "inconclusive: what is allowed from start to end, +10.0 %, lies in the 95 % interval +* % to +* %",
            "*1 inconclusive in *",
        ]
    )
    result = suite.run(MINUTES, "--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"{LABEL} on cpu (fake) over 3 min: inconclusive, and --metal-strict is on *", "  why       what is allowed *"]
    )


@pytest.mark.parametrize("conditions", [{"other_load": 0.4}, {"stolen": 0.3}])
def test_a_slowdown_under_load_is_inconclusive(suite, conditions):
    suite.set(slows=[1201, 0.25], conditions=conditions)
    result = suite.run(MINUTES)
    result.assert_outcomes(failed=0)
    result.stdout.fnmatch_lines(
        ["inconclusive: * % of CPU time * in this run, which may be what made its end slower", "*1 inconclusive in *"]
    )
    suite.run(MINUTES, "--metal-strict").assert_outcomes(failed=1)


def test_under_load_a_steady_run_is_within_and_a_throttled_one_is_slower(suite):
    suite.set(conditions={"other_load": 0.4})
    suite.run(MINUTES).stdout.fnmatch_lines(["1 gated: 1 within"])
    suite.set(slows=[1201, 0.25], conditions={"thermal": "heavy"})
    suite.run(MINUTES).assert_outcomes(failed=1)


def test_a_process_that_only_holds_the_gpu_excuses_no_sustained_run(suite):
    suite.ini(metal_devices="gpu")
    suite.set(slows=[4801, 0.25], conditions={"gpu_processes": 1.0}, gpus=["gpu"])
    suite.run(MINUTES).assert_outcomes(failed=1)


def test_nothing_is_stored_and_no_baseline_is_wanted(suite):
    result = suite.run("--metal-sustained=30", "--metal-update-baselines", "--metal-on-missing=fail")
    result.assert_outcomes(passed=1)
    assert not suite.file.exists()


def test_a_baseline_of_the_same_workload_stays_and_is_no_orphan(suite):
    suite.run("--metal-update-baselines")
    before = suite.file.read_bytes()
    suite.set(seconds=0.2)
    result = suite.run("--metal-sustained=30", "--metal-update-baselines", "--metal-update-mode=all")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*no test asked for*")
    assert suite.file.read_bytes() == before


def test_of_ini_marker_and_call_which_can_take_it_back(suite):
    suite.ini(metal_sustained="30")
    suite.run().stdout.fnmatch_lines(["* sustained 30 s *"])
    suite.ini()
    suite.write(
        "import pytest\n@pytest.mark.metal_bench(sustained='1min')\ndef test_it(metal_bench): metal_bench('fake-model')"
    )
    suite.run("--metal-sustained=30").stdout.fnmatch_lines(["* sustained 60 s *"])
    suite.write("def test_it(metal_bench): metal_bench('fake-model', sustained='off')")
    suite.run("--metal-sustained=30").stdout.no_fnmatch_line("* sustained *")


def test_the_result_tells_its_ends_and_its_trace(suite):
    suite.set(trace=TRACE, slows=[601, 0.05])
    suite.write(
        """
        def test_it(metal_bench):
            result = metal_bench("fake-model", sustained=90)
            found = result.sustained
            assert result.verdict == "within"
            assert abs(found.last / found.first - found.ratio) < 1e-9
            assert found.low <= found.ratio <= found.high
            assert abs(found.ratio - 1.05) < 0.01
            assert found.stretch < 31
            assert result.runs[0].trace[1][:2] == [15, 1965]
        """
    )
    path = suite.pytester.path / "rows.json"
    suite.run(f"--benchmark-json={path}").assert_outcomes(passed=1)
    extra = json.loads(path.read_text())["benchmarks"][0]["extra_info"]
    assert extra["metal_sustained"]["ratio"] == pytest.approx(1.05, rel=0.01)


def test_live_objects_too(suite):
    suite.write(
        """
        import time
        def test_it(metal_live):
            result = metal_live(lambda: time.sleep(0.01) or 1.0, name="live")
            assert result.sustained is not None
            assert 1.5 <= sum(result.samples) * result.runs[0].batches_per_block < 10
        """
    )
    result = suite.run("--metal-sustained=1.5", "--metal-sustained-tolerance=300%")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["live sustained 2 s *"])


def test_it_is_not_compared_with_a_reference(suite):
    result = suite.run(f"--metal-against={sys.executable}", "--metal-sustained=30")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*1 skipped (a sustained run is judged by itself, not by --metal-against)"])


def test_smoke_is_one_batch_all_the_same(suite):
    suite.trained()
    suite.run("--metal=smoke", "--metal-sustained=3min").assert_outcomes(passed=1)
    assert max(suite.trained()) < 10


@pytest.mark.processes
def test_a_worker_that_dies_is_an_error(suite):
    suite.set(die="fake-model", from_step=100)
    suite.run(MINUTES).assert_outcomes(errors=1)


def test_the_plan_knows_how_long_it_takes(suite):
    suite.run("--metal-update-baselines")
    suite.run("--metal-plan", "--metal-sustained=5min").stdout.fnmatch_lines(["*fake-model* 1 sustained * 5.? min *"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("180", 180), (180, 180), (1.5, 1.5), ("3min", 180), ("3 min", 180), ("90s", 90), ("1h", 3600)],
)
def test_times(text, seconds):
    assert Settings().over({"sustained": text}, "here").sustained == seconds


@pytest.mark.parametrize("text", ["off", None, False])
def test_none(text):
    assert Settings().over({"sustained": text}, "here").sustained is None


@pytest.mark.parametrize("text", ["long", "0", "-3", "3 weeks", "", True, "9" * 400])
def test_nonsense_is_one_sentence(text):
    with pytest.raises(
        SettingError, match=r"^here: sustained: expected a time such as 180 \(seconds\), 3min or 1h, or off, got "
    ):
        Settings().over({"sustained": text}, "here")
