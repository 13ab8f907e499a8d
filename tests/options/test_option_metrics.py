"""--metal-metrics METRIC=SHARE,…: what is gated beside seconds per batch, each by its own tolerance."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from pytest_metalperf.judge.metrics import metrics_in_turn
from pytest_metalperf.results.run import Run
from pytest_metalperf.settings import Settings

GIGA = 1_000_000_000
WORK = {"operations": {"Mul": 1000}, "flop": 4e9, "traces": 1}
ALL = "--metal-metrics=first_batch=20%,memory=5%,energy=10%"
LABEL = "fake-model[[]b8[]]"


@pytest.fixture
def measured(suite):
    """A baseline that knows every metric."""
    suite.set(peak=GIGA, joules=50, work=WORK)
    suite.run(ALL, "--metal-update-baselines").assert_outcomes(passed=1)
    return suite


def properties(suite) -> dict[str, str]:
    tree = ElementTree.parse(suite.pytester.path / "out.xml")
    return {one.get("name"): one.get("value") for one in tree.iter("property")}


def test_unchanged_metrics_are_within_each_in_a_row_of_its_own(measured):
    result = measured.run(ALL)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "workload * now *baseline *change *visible  verdict",
            f"{LABEL} * within",
            "  first_batch  * 0.?????* s  * % *within",
            "  memory  * 1.000 GB  *1.000 GB * +0.0 % * within",
            "  energy  * 50.00 J/batch  *50.00 J/batch * within",
            "1 gated: 1 within; 3 metrics gated: 3 within",
        ]
    )


def test_none_is_gated_by_default(measured):
    measured.set(peak=2 * GIGA, joules=100, work=WORK)
    result = measured.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 gated: 1 within"])


def test_more_memory_fails_in_its_own_words_and_unit(measured):
    measured.set(peak=1.123 * GIGA, joules=50, work=WORK)
    result = measured.run("--metal-metrics=memory=5%", "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} on cpu (fake) takes 12.3 % more memory than its baseline * test_suite.py::test_it[[]cpu[]]",
            "  now       1.123 GB   ? runs, 95 % interval 1.11* GB to 1.13* GB",
            "  baseline  1.000 GB   3 runs of 1 session, last *",
            "  allowed   +5.0 %     runs differ by * when nothing changes; changes from * % are seen 9 times in 10",
            "  work      unchanged",
            '  accept it with  pytest "test_suite.py::test_it[[]cpu[]]" --metal-metrics memory=5% --metal-update-baselines',
        ]
    )
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} * within",
            "  memory * 1.123 GB * 1.000 GB * +12.3 % * more",
            "1 gated: 1 within; 1 metric gated: 1 more",
        ]
    )
    said = properties(measured)
    assert (said["metal_verdict"], said["metal_memory_verdict"]) == ("within", "more")
    assert (float(said["metal_memory"]), float(said["metal_memory_change"])) == (1.123 * GIGA, pytest.approx(0.123))


@pytest.mark.parametrize(
    ("metric", "wishes", "told", "verdict"),
    [
        ("first_batch", {"first_seconds": 0.1}, "takes * % longer for its first batch than its baseline", "more"),
        ("energy", {"joules": 60}, "takes 20.0 % more energy than its baseline", "more"),
    ],
)
def test_each_can_get_worse(measured, metric, wishes, told, verdict):
    measured.set(**{"peak": GIGA, "joules": 50, "work": WORK, **wishes})
    result = measured.run(f"--metal-metrics={metric}=10%", "--metal-tolerance=50%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{LABEL} on cpu (fake) {told} *", f"  {metric} * {verdict}"])


@pytest.mark.parametrize(
    ("metric", "wishes", "verdict"), [("memory", {"peak": GIGA / 2}, "less"), ("energy", {"joules": 25}, "less")]
)
def test_a_change_for_the_better_passes(measured, metric, wishes, verdict):
    measured.set(**{"peak": GIGA, "joules": 50, "work": WORK, **wishes})
    result = measured.run(f"--metal-metrics={metric}=10%")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  {metric} * {verdict}", f"1 gated: *; 1 metric gated: 1 {verdict}"])


def test_each_has_its_own_tolerance(measured):
    measured.set(peak=1.05 * GIGA, joules=75, work=WORK)
    result = measured.run("--metal-metrics=memory=20%,energy=5%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  memory * within", "  energy * more", "*2 metrics gated: 1 within, 1 more"])


def test_of_ini_marker_and_call(measured):
    measured.set(peak=1.123 * GIGA, joules=50, work=WORK)
    measured.ini(metal_metrics="memory=5%")
    measured.run().assert_outcomes(failed=1)
    measured.ini()
    for asked in ("metrics='memory=5%'", "metrics={'memory': '5%'}", "metrics={'memory': 0.05}"):
        measured.write(
            f"import pytest\n@pytest.mark.metal_bench({asked})\ndef test_it(metal_bench): metal_bench('fake-model')"
        )
        measured.run().assert_outcomes(failed=1)
        measured.write(f"def test_it(metal_bench): metal_bench('fake-model', {asked})")
        measured.run().assert_outcomes(failed=1)
    measured.write("def test_it(metal_bench): metal_bench('fake-model', metrics='')")
    measured.run("--metal-metrics=memory=5%").assert_outcomes(passed=1)


def test_the_result_tells_them(measured):
    measured.write(
        """
        def test_it(metal_bench):
            result = metal_bench("fake-model", metrics="memory=5%")
            (memory,) = result.metrics
            assert (memory.metric.name, memory.verdict, round(memory.now)) == ("memory", "within", 1_000_000_000)
            assert abs(result.joules_per_batch - 50) < 1e-6
            assert abs(result.flop_per_second / 4e10 - 1) < 0.1
            assert result.fingerprint.operations == {"Mul": 1000}
            assert result.fingerprint_changes == []
        """
    )
    measured.run().assert_outcomes(passed=1)


def test_further_runs_are_measured_while_one_is_undecided(measured):
    measured.trained()
    measured.set(peak=1.04 * GIGA, joules=50, work=WORK)
    measured.run("--metal-metrics=memory=20%")
    assert len(measured.trained()) == 1
    measured.set(peak=1.3 * GIGA, joules=50, work=WORK)
    result = measured.run("--metal-metrics=memory=20%")
    result.stdout.fnmatch_lines(["  memory * more"])
    assert len(measured.trained()) > 1  # one run convinces nobody


def test_runs_are_shared_by_all_gates(measured):
    measured.trained()
    measured.run(ALL)
    assert len(measured.trained()) <= 3


def test_first_batches_are_compared_only_where_each_had_the_machine_for_itself(suite):
    suite.monkeypatch.setattr("pytest_metalperf.measure.capacity.cpus", lambda: (4, []))
    suite.set(seconds=0.1)
    suite.run("--metal-update-baselines")
    result = suite.run("--metal-metrics=first_batch=20%")
    result.stdout.fnmatch_lines(["inconclusive: first_batch: unknown in the baseline; add --metal-update-baselines *"])
    suite.run("--metal-metrics=first_batch=20%", "--metal-update-baselines").assert_outcomes(passed=1)
    (entry,) = suite.stored.values()
    assert {run["conditions"]["prepared_beside"] for run in entry["runs"]} == {2.0, 0.0}  # beside what was stored
    result = suite.run("--metal-metrics=first_batch=20%")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  first_batch * within"])


def test_noise_is_inconclusive_and_fails_where_that_is_strict(suite):
    suite.set(peak=GIGA)
    suite.run("--metal-update-baselines")
    whole = json.loads(suite.file.read_text())
    for run, peak in zip(whole["workloads"]["fake-model[b8]@cpu:fake"]["runs"], (0.8, 1.0, 1.25), strict=True):
        run["peak_memory_bytes"] = int(peak * GIGA)
    suite.file.write_text(json.dumps(whole))
    suite.set(peak=1.3 * GIGA)
    result = suite.run("--metal-metrics=memory=5%")
    result.assert_outcomes()
    result.stdout.fnmatch_lines(
        [
            "  memory * inconclusive",
            "inconclusive: memory: *so a change under * % cannot be told from noise",
            "1 gated: 1 within; 1 metric gated: 1 inconclusive",
            "*1 inconclusive in *",
        ]
    )
    result = suite.run("--metal-metrics=memory=5%", "--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"{LABEL} on cpu (fake): memory is inconclusive, and --metal-strict is on *",
            "  why       *",
            "  learn its noise with *",
        ]
    )


@pytest.mark.parametrize("metric", ["energy", "memory"])
def test_unknown_now_is_inconclusive_never_within(measured, metric):
    measured.set(peak=None)
    result = measured.run(f"--metal-metrics={metric}=5%", "--junitxml=out.xml")
    result.stdout.fnmatch_lines(
        [
            f"  {metric} * - * - * - * - * inconclusive",
            f"inconclusive: {metric}: unknown here, since nothing measures it for this workload",
            "*1 inconclusive in *",
        ]
    )
    assert properties(measured)[f"metal_{metric}_verdict"] == "inconclusive"
    result = measured.run(f"--metal-metrics={metric}=5%", "--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["  why       unknown here*", "  leave it out of --metal-metrics where it cannot be known"]
    )


def test_unknown_in_the_baseline_is_inconclusive_until_it_is_stored(suite):
    suite.set(peak=GIGA)
    suite.run("--metal-update-baselines")
    suite.set(peak=GIGA, joules=50)
    result = suite.run("--metal-metrics=energy=5%", "--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "  why       unknown in the baseline; add --metal-update-baselines to store it",
            "  store it with  pytest * --metal-metrics energy=5% --metal-update-baselines",
        ]
    )
    suite.run("--metal-metrics=energy=5%", "--metal-update-baselines").assert_outcomes(passed=1)
    suite.run("--metal-metrics=energy=5%", "--metal-strict").assert_outcomes(passed=1)


def test_an_update_stores_what_changed_and_keeps_the_anchor(measured):
    (before,) = measured.stored.values()
    measured.run("--metal-metrics=memory=5%", "--metal-update-baselines").assert_outcomes(passed=1)
    assert list(measured.stored.values()) == [before]
    measured.set(peak=1.2 * GIGA, joules=50, work=WORK)
    result = measured.run("--metal-metrics=memory=5%", "--metal-update-baselines")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["  memory * 1.200 GB * 1.000 GB * +20.0 % * recorded", "0 gated; not gated: 1 recorded"]
    )
    (after,) = measured.stored.values()
    assert [run["peak_memory_bytes"] for run in after["runs"]] == [1.2 * GIGA] * len(after["runs"])
    assert after["anchor"] == before["anchor"]


def test_missing_mode_leaves_a_changed_metric_alone_and_fails(measured):
    before = measured.file.read_bytes()
    measured.set(peak=1.2 * GIGA, joules=50, work=WORK)
    update = ("--metal-update-baselines", "--metal-update-mode=missing")
    measured.run("--metal-metrics=memory=5%", *update).assert_outcomes(failed=1)
    assert measured.file.read_bytes() == before


def test_a_state_of_the_machine_excuses_energy_and_not_memory(measured):
    measured.set(peak=1.2 * GIGA, joules=80, work=WORK, conditions={"power": "battery"})
    result = measured.run("--metal-metrics=memory=5%,energy=5%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  memory * more", "  energy * inconclusive", "inconclusive: energy: *battery*"])


def test_a_slower_test_tells_both(measured):
    measured.set(seconds=0.14, peak=1.2 * GIGA, joules=50, work=WORK)
    result = measured.run("--metal-metrics=memory=5%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{LABEL} * slower than its baseline *", f"{LABEL} * more memory than its baseline *"])


def test_live_objects_are_judged_by_fresh_processes(suite):
    suite.write(
        """
        import time
        def test_it(metal_live):
            hoard = bytearray(int(HOARD))
            metal_live(lambda: time.sleep(0.001) or 1.0, name="live", metrics="memory=50%")
        """.replace("HOARD", "1e6")
    )
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
    few = "--metal-tolerance=300%", "--metal-max-runs=2"
    result = suite.run(*few)
    result.stdout.fnmatch_lines(["  memory * within"])
    test = suite.pytester.path / "test_suite.py"
    test.write_text(test.read_text().replace("int(1e6)", "b'1' * int(3e8)"))
    result = suite.run(*few)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["live * takes * % more memory than its baseline *"])


def test_under_against_both_sides_are_compared_pair_by_pair(measured):
    import sys

    result = measured.run(f"--metal-against={sys.executable}", "--metal-metrics=memory=5%,energy=10%,first_batch=300%")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["  memory * 1.000 GB * +0.0 % (* to *) * within", "  energy * within", "  first_batch * within"]
    )


def test_under_against_pairs_that_know_a_metric_on_one_side_only_are_left_out():
    def run(joules: float | None) -> Run:
        return Run((0.1,) * 10, 1, 1.0, "s", "2026-01-01", joules_per_batch=joules)

    settings = Settings().over({"metrics": "energy=10%"}, "here")
    now, before = [1.0, None, 1.0, 1.0, 1.0, None], [1.0, 1.0, None, 1.0, 1.0, None]
    (judged,) = metrics_in_turn([run(joules) for joules in now], [run(joules) for joules in before], settings)
    assert (judged.verdict, judged.runs) == ("within", 3)
    (unknown,) = metrics_in_turn([run(None)] * 3, [run(1.0)] * 3, settings)
    assert (unknown.verdict, unknown.reason.partition(",")[0]) == ("inconclusive", "unknown here")
    (unknown,) = metrics_in_turn([run(1.0), run(None)], [run(None), run(1.0)], settings)
    assert (unknown.verdict, unknown.reason) == ("inconclusive", "unknown in the reference")
    (unknown,) = metrics_in_turn([run(1.0)] * 3, [run(None)] * 3, settings)
    assert (unknown.verdict, unknown.reason) == ("inconclusive", "unknown in the reference")


def test_rows_of_pytest_benchmark_tell_them(measured):
    measured.set(peak=1.2 * GIGA, joules=50, work=WORK)
    path = measured.pytester.path / "rows.json"
    measured.run("--metal-metrics=memory=5%,energy=10%", f"--benchmark-json={path}")
    extra = json.loads(path.read_text())["benchmarks"][0]["extra_info"]
    assert extra["metal_metrics"]["memory"] == {
        "verdict": "more",
        "now": pytest.approx(1.2 * GIGA),
        "change": pytest.approx(0.2),
    }
    assert extra["metal_joules_per_batch"] == pytest.approx(50)
    assert extra["metal_flop_per_second"] == pytest.approx(4e10, rel=0.1)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("speed=5%", "unknown metric 'speed': there are first_batch, memory, energy"),
        ("memory", "memory: expected a share such as 5% or 0.05, got '', as in memory=5% (there are first_batch, *"),
        ("memory=lots", "memory: expected a share such as 5% or 0.05, got 'lots', as in memory=5% (there are *"),
        ("memory=5%,memory=6%", "memory stands twice: keep one of them"),
        (
            "throughput=5%",
            "throughput is seconds per batch written otherwise: set --metal-tolerance, read result.examples_per_second",
        ),
        (
            "memory=5%,flop_rate=100%",
            "flop_rate is seconds per batch written otherwise: set --metal-tolerance, read result.flop_per_second",
        ),
    ],
)
def test_nonsense_is_one_sentence(suite, value, sentence):
    result = suite.run(f"--metal-metrics={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --metal-metrics: {sentence}"])


def test_nonsense_of_a_call(suite):
    suite.write("def test_it(metal_bench): metal_bench('fake-model', metrics=['memory'])")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*metrics: expected metrics with their tolerances, such as memory=5%,energy=10%*"])


def test_a_new_metric_takes_nothing_from_stored_sessions(suite):
    suite.set(joules=None, peak=None)
    suite.run("--metal-update-baselines")
    before = len(suite.stored["fake-model[b8]@cpu:fake"]["runs"])
    suite.set(peak=GIGA)
    suite.run("--metal-metrics=memory=5%", "--metal-update-baselines").assert_outcomes(passed=1)
    runs = suite.stored["fake-model[b8]@cpu:fake"]["runs"]
    assert len(runs) > before
    assert len({run["session"] for run in runs}) == 2
