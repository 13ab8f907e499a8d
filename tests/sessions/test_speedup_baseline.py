"""The stored ratio of a speedup: one that shrinks fails, whatever was promised; updates, refusals, orphans."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from pytest_metalperf.baselines.errors import RESTORE
from pytest_metalperf.results.conditions import of_pair

ID = "fake-model[b8]@gpu:fake over fake-model[b8]@cpu:fake"
QUOTED = ID.replace("[", "[[]")
TEST = "def test_it(metal_speedup):\n    metal_speedup('fake-model'{})\n"
UPDATE = "--metal-update-baselines"


def fast(suite, ratio: float, **wishes: object) -> None:
    """From now on the GPU is so many times as fast as the CPU."""
    suite.set(**{"gpus": ["gpu"], "jitter": 0, "gpu_factor": 1 / ratio, **wishes})


@pytest.fixture
def stored(suite):
    """A suite of one test without a promise, whose stored speedup is 6."""
    suite.write(TEST.format(""))
    fast(suite, 6)
    suite.run(UPDATE).assert_outcomes(passed=1)
    return suite


def ratios(suite) -> list[float]:
    return [pair["ratio"] for pair in suite.speedups[ID]["pairs"]]


def sessions(suite) -> int:
    return len({pair["session"] for pair in suite.speedups[ID]["pairs"]})


# what is stored


def test_a_speedup_is_stored_beside_workloads_with_its_provenance(suite):
    suite.write("def test_bench(metal_bench):\n    metal_bench('fake-model')\n" + TEST.format(", at_least=3"))
    fast(suite, 6)
    result = suite.run(UPDATE)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]] over cpu * 6x * 3x * recorded",
            f"  {QUOTED}: new 6 times as fast (3 pairs)",
            "0 gated; not gated: 2 recorded",
        ]
    )
    assert list(suite.stored) == ["fake-model[b8]@cpu:fake"]
    (entry,) = suite.speedups.values()
    assert entry["anchor"]["ratio"] == pytest.approx(6, rel=1e-4)
    (pair, _, _) = entry["pairs"]
    run = suite.stored["fake-model[b8]@cpu:fake"]["runs"][0]
    assert pair["ratio"] == pytest.approx(6, rel=1e-4)
    assert {key: pair[key] for key in ("session", "recorded", "commit", "versions")} == {
        key: run[key] for key in ("session", "recorded", "commit", "versions")
    }


def test_a_file_without_speedups_keeps_its_bytes(suite):
    suite.run(UPDATE)
    assert "speedups" not in json.loads(suite.file.read_text())
    before = suite.file.read_bytes()
    suite.run(UPDATE).assert_outcomes(passed=1)
    assert suite.file.read_bytes() == before


def test_nothing_is_stored_without_the_flag(suite):
    suite.write(TEST.format(", at_least=3"))
    fast(suite, 6)
    suite.run("--metal-update-mode=all")
    assert not suite.file.exists()


# what is gated


def test_a_speedup_that_shrinks_fails_though_less_was_promised(stored):
    fast(stored, 4, version="1.1")
    stored.write(TEST.format(", at_least=3"))
    result = stored.run("--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]]@gpu:fake is no longer 6 times as fast as fake-model[[]b8[]]@cpu:fake *test_suite.py::test_it",
            "  now       4   95 % interval * to *, [345] fresh pairs",
            "  stored    6   -33.3 % since; 3 pairs of 1 session, last 20*",
            "  allowed   -4.8 %   pairs differ by * % when nothing changes; speedups that shrink by * % are seen 9 times in 10",
            "  promised  3   kept",
            "  changed   fake 1.0 -> 1.1",
            "  of        0.02500 s/batch   fake-model[[]b8[]]@gpu:fake",
            "  over      0.1000 s/batch   fake-model[[]b8[]]@cpu:fake",
            "  accept it with  pytest *test_it* --metal-update-baselines",
            "fake-model[[]b8[]] over cpu * 4x * 6x, at least 3x * -33.3 % (* to *) * % * slower",
            "1 gated: 1 slower",
        ]
    )
    assert stored.properties["metal_verdict"] == "slower"


def test_a_stored_speedup_needs_no_promise_to_be_gated(stored):
    result = stored.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* over cpu * 6x * 6x * +0.0 % (* to *) * within", "1 gated: 1 within"])
    fast(stored, 4)
    stored.run().assert_outcomes(failed=1)
    fast(stored, 9)
    result = stored.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 gated: 1 faster"])


def test_a_promise_that_is_not_kept_fails_though_the_stored_ratio_is(stored):
    stored.write(TEST.format(", at_least=7"))
    result = stored.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model* is not 7 times as fast as fake-model*",
            "  stored    6 *",
            "  promised  7   not kept",
            "  look again with*",
        ]
    )
    result.stdout.no_fnmatch_line("*no longer*")


def test_both_that_fail_are_named(stored):
    stored.write(TEST.format(", at_least=5"))
    fast(stored, 4)
    stored.run().stdout.fnmatch_lines(
        ["* is not 5 times as fast and no longer 6 times as fast as *", "  promised  5   not kept"]
    )


def test_noise_that_hides_the_stored_ratio_is_inconclusive(stored):
    whole = json.loads(stored.file.read_text())
    for pair, ratio in zip(whole["speedups"][ID]["pairs"], (3, 6, 12), strict=True):
        pair["ratio"] = ratio
    stored.file.write_text(json.dumps(whole))
    fast(stored, 5)
    stored.trained()
    result = stored.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["inconclusive: runs differ by * % here*", "1 gated: 1 inconclusive"])
    assert len(stored.trained()) == 2 * 5  # all that --metal-max-runs allows
    result = stored.run("--metal-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["* may or may not still be 6 times as fast as *", "  why       runs differ by *"])


def test_the_tolerance_is_the_tests_own(stored):
    fast(stored, 4)
    stored.write(TEST.format(", tolerance='100%'"))
    stored.run().assert_outcomes(passed=1)


def test_at_smoke_there_is_no_verdict(stored):
    fast(stored, 2)
    result = stored.run("--metal=smoke")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["0 gated; not gated: 1 trained without a verdict"])


def test_noise_is_learned_from_other_speedups(stored):
    """One pair knows no noise; four speedups whose pairs agree say what is usual here."""
    whole = json.loads(stored.file.read_text())
    entry = whole["speedups"][ID]

    def visible(others: int) -> float:
        whole["speedups"] = {ID: {**entry, "pairs": entry["pairs"][:1]}, **{f"other-{n}": entry for n in range(others)}}
        stored.file.write_text(json.dumps(whole))
        row = re.search(r"over cpu.*\) +([\d.]+) %", stored.run().stdout.str())
        return float(row[1])

    assert visible(4) < visible(0) / 1.5


# what updates do


def test_changed_stores_what_shrank_and_keeps_the_anchor(stored):
    fast(stored, 4)
    result = stored.run(UPDATE)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  {QUOTED}: 6 -> 4 times as fast (-33.3 %; 3 -> 3 pairs)", "*1 recorded"])
    assert ratios(stored) == pytest.approx([4] * 3, rel=1e-4)
    assert stored.speedups[ID]["anchor"]["ratio"] == pytest.approx(6, rel=1e-4)
    stored.run().assert_outcomes(passed=1)


def test_changed_leaves_what_is_within(stored):
    before = stored.file.read_bytes()
    stored.run(UPDATE).assert_outcomes(passed=1)
    assert stored.file.read_bytes() == before


def test_missing_gates_what_is_stored(stored):
    fast(stored, 4)
    stored.run(UPDATE, "--metal-update-mode=missing").assert_outcomes(failed=1)
    assert ratios(stored) == pytest.approx([6] * 3, rel=1e-4)


def test_extend_adds_pairs_of_another_session(stored):
    before = stored.speedups[ID]
    stored.run(UPDATE, "--metal-update-mode=extend").assert_outcomes(passed=1)
    after = stored.speedups[ID]
    assert after["pairs"][:3] == before["pairs"]
    assert (len(after["pairs"]), sessions(stored)) == (6, 2)
    assert after["anchor"] == before["anchor"]


@pytest.mark.parametrize(("mode", "anchor"), [("all", 6), ("anchor", 6.06)])
def test_all_measures_everything_anew_and_anchor_the_anchor_too(stored, mode, anchor):
    fast(stored, 6.06)
    stored.run(UPDATE, f"--metal-update-mode={mode}").assert_outcomes(passed=1)
    assert ratios(stored) == pytest.approx([6.06] * 3, rel=1e-4)
    assert stored.speedups[ID]["anchor"]["ratio"] == pytest.approx(anchor, rel=1e-4)


def test_as_many_pairs_are_stored_as_runs_are_asked_for(suite):
    suite.write(TEST.format(", runs=4"))
    fast(suite, 6)
    suite.run(UPDATE).assert_outcomes(passed=1)
    assert len(ratios(suite)) == 4


def test_two_tests_of_one_speedup_extend_it_once(stored):
    stored.write(TEST.format("") + TEST.format("").replace("test_it", "test_again"))
    stored.trained()
    stored.run(UPDATE, "--metal-update-mode=extend").assert_outcomes(passed=2)
    assert (len(ratios(stored)), len(stored.trained())) == (6, 2 * 3)


@pytest.mark.parametrize("mode", ["changed", "missing", "extend", "all", "anchor"])
def test_a_flag_does_not_accept_less_than_was_promised(stored, mode):
    before = stored.file.read_bytes()
    fast(stored, 2)
    stored.write(TEST.format(", at_least=3"))
    result = stored.run(UPDATE, f"--metal-update-mode={mode}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["* is not 3 times as fast*"])
    assert stored.file.read_bytes() == before


def test_what_is_recorded_says_that_its_promise_cannot_be_told(suite):
    fast(suite, 3.6, wobble=0.3)  # the median ratio is just what is promised
    suite.write(TEST.format(", at_least=3"))
    result = suite.run(UPDATE, "--metal-max-runs=2")
    result.stdout.fnmatch_lines([f"  {QUOTED}: new * times as fast (3 pairs)", "1 gated: 1 inconclusive"])
    assert suite.run(UPDATE, "--metal-max-runs=2", "--metal-update-mode=all", "--metal-strict").ret == 1


def test_part_of_the_suite_leaves_the_rest_alone(stored):
    stored.write("def test_bench(metal_bench):\n    metal_bench('fake-model')\n")
    before = stored.speedups
    stored.run(UPDATE, "--metal-update-mode=all").assert_outcomes(passed=1)
    assert stored.speedups == before
    assert stored.stored


def test_steps_that_were_accepted_add_up(stored):
    for ratio in (5.0, 4.2):
        fast(stored, ratio)
        stored.run(UPDATE).assert_outcomes(passed=1)
    result = stored.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* since anchor *", "fake-model* over cpu * -30.0 % * within"])
    result = stored.run("--metal-total-tolerance=20%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "* is no longer 6 times as fast as *",
            "  stored    4.2 *",
            "  anchor    6   first accepted 20*; -30.0 % since",
            "  accept it with *--metal-update-mode anchor",
        ]
    )


# conditions


@pytest.fixture
def weather(stored, monkeypatch):
    """Sets the conditions under which each side of a pair runs: `weather(cpu={…}, gpu={…})`."""
    import pytest_metalperf.judge.speedup as module

    real, now = module.take_turns, {}

    def take_turns(fleet, requests, *rest, **more):
        sides = real(fleet, requests, *rest, **more)
        return tuple(
            replace(
                side,
                answers={**side.answers, "measure": {**side.answers["measure"], "conditions": now[r.workload.device]}},
            )
            for r, side in zip(requests, sides, strict=True)
        )

    def set_(cpu: dict, gpu: dict) -> None:
        now.update(cpu=cpu, gpu=gpu)

    set_({}, {})
    monkeypatch.setattr(module, "take_turns", take_turns)
    return set_


@pytest.mark.parametrize(("cpu", "gpu"), [({"power": "battery"}, {}), ({}, {"power": "battery"})])
def test_a_recording_is_refused_under_what_a_person_can_remove(stored, weather, cpu, gpu):
    before = stored.file.read_bytes()
    weather(cpu, gpu)
    result = stored.run(UPDATE, "--metal-update-mode=all")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*not recorded, and nothing stored: running on battery; record when that*--metal-force*"]
    )
    assert stored.file.read_bytes() == before
    stored.run(UPDATE, "--metal-update-mode=all", "--metal-force").assert_outcomes(passed=1)
    assert {pair["conditions"]["power"] for pair in stored.speedups[ID]["pairs"]} == {"battery"}


def test_load_that_passes_costs_a_recording_twice_the_pairs_and_load_that_stays_the_recording(
    stored, weather, monkeypatch
):
    import pytest_metalperf.judge.speedup as module

    monkeypatch.setattr("pytest_metalperf.results.conditions.MOST", 0.5)
    before, real, taken = stored.file.read_bytes(), module.take_turns, []
    weather({"other_load": 0.4}, {})
    result = stored.run(UPDATE, "--metal-update-mode=all")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*not recorded, and nothing stored: 40 % of CPU time * (at worst; in 6 of 6 runs)*"])
    assert stored.file.read_bytes() == before

    def take_turns(*arguments, **more):
        if len(taken) == 3:
            weather({}, {})
        taken.append(real(*arguments, **more))
        return taken[-1]

    monkeypatch.setattr(module, "take_turns", take_turns)
    stored.run(UPDATE, "--metal-update-mode=all").assert_outcomes(passed=1)
    assert len(ratios(stored)) == 6


def test_on_battery_a_comparison_means_nothing(stored, weather):
    weather({}, {"power": "battery"})
    fast(stored, 4)
    result = stored.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["inconclusive: running on battery; the baseline was not", "1 gated: 1 inconclusive"])


@pytest.mark.parametrize("ratio", [4, 9])
def test_load_explains_a_ratio_that_shrank_and_one_that_grew(stored, weather, ratio):
    weather({"other_load": 0.4}, {"other_load": 0.0})
    fast(stored, ratio)
    result = stored.run(UPDATE)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["inconclusive: 40 % of CPU time went to other processes in 5 of 5 runs"])
    assert ratios(stored) == pytest.approx([6] * 3, rel=1e-4)


def test_a_virtual_gpu_does_not_spoil_two_sides_on_the_cpu():
    virtual = {"virtual_gpu": True, "throttled": "heat"}
    assert of_pair(("cpu", virtual), ("cpu", virtual)) == {}
    assert of_pair(("cpu", {}), ("gpu", virtual)) == virtual


@pytest.mark.parametrize(
    ("key", "one", "other", "both"),
    [
        ("other_load", 0.1, 0.4, 0.4),
        ("other_load", None, 0.4, 0.4),
        ("stolen", 0.0, None, 0.0),
        ("speed_limit", 0.7, 1.0, 0.7),
        ("power", "battery", "mains", "battery"),
        ("power", None, "mains", None),
        ("low_power", False, True, True),
        ("throttled", "", "power cap", "power cap"),
        ("throttled", "power cap", "heat, power cap", "power cap, heat"),
        ("throttled", "", None, None),
        ("throttled", "", "", ""),
    ],
)
def test_of_both_sides_the_worse_condition_counts(key, one, other, both):
    assert of_pair(("gpu", {key: one}), ("gpu:1", {key: other})) == {key: both}
    assert of_pair(("gpu", {key: one})) == {key: one}


# what nobody asked for


def test_a_stored_speedup_that_no_test_asks_for_is_an_orphan(stored):
    stored.write("def test_bench(metal_bench):\n    metal_bench('fake-model', name='other')\n")
    stored.run().stdout.fnmatch_lines([f"no test asked for 1 stored baseline: {QUOTED}"])


def test_one_that_was_asked_for_is_none(stored):
    stored.run().stdout.no_fnmatch_line("*no test asked for*")


def test_one_whose_device_is_not_there_is_none(stored):
    stored.write("def test_bench(metal_bench):\n    metal_bench('fake-model')\n" + TEST.format(""))
    stored.set(gpus=[])
    result = stored.run()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["0 gated; not gated: 1 no baseline, 1 skipped *"])
    result.stdout.no_fnmatch_line("*no test asked for*")


def test_a_baseline_of_one_hour_is_said_to_be_so(stored):
    stored.run().stdout.fnmatch_lines([f"recorded within one hour only ({QUOTED})*"])


# a file that is broken


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ((), [], "$.speedups: expected an object, got a list"),
        ((ID, "pairs", 1, "ratio"), "6", f'$.speedups["{ID}"].pairs[1].ratio: expected a number, got a string'),
        ((ID, "pairs"), [], f'$.speedups["{ID}"].pairs: expected a list of length >= 1'),
    ],
)
def test_a_broken_entry_is_one_sentence_and_an_intact_file(stored, place, value, sentence):
    whole = json.loads(stored.file.read_text())
    inner = whole
    for key in ("speedups", *place)[:-1]:
        inner = inner[key]
    inner[("speedups", *place)[-1]] = value
    stored.file.write_text(json.dumps(whole))
    before = stored.file.read_bytes()
    for flags in ([], [UPDATE, "--metal-update-mode=all"]):
        result = stored.run(*flags)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        remedy = f"; {RESTORE}"
        assert [line for line in result.stderr.lines if line] == [f"ERROR: {stored.file}: {sentence}{remedy}"]
        assert stored.file.read_bytes() == before


@pytest.mark.parametrize("arguments", [["test_suite.py"], ["--ignore=elsewhere"], ["-x"]])
def test_a_part_of_the_suite_does_not_show_what_nobody_asks_for(stored, arguments):
    stored.write(
        "def test_fails():\n    assert 0\n\ndef test_bench(metal_bench):\n    metal_bench('fake-model', name='other')\n"
    )
    stored.run(*arguments).stdout.no_fnmatch_line("*no test asked for*")
