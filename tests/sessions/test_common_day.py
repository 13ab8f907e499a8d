"""A day on which all workloads are slower: by stored figures alone nobody can blame one of them."""

from __future__ import annotations

import pytest

from pytest_metalperf.judge.evidence import others_today

ALL = """
import pytest
from fake_backend import FakeModel, wish

@pytest.mark.parametrize("depth", {depths})
def test_it(metal_bench, depth):
    metal_bench("fake-model", depth=depth)

def build_own():
    return FakeModel(wish("own", 0.1))

def test_own(metal_bench):
    metal_bench(build_own, name="own")
"""


def recorded(suite, others=3, **fake):
    suite.write(ALL.format(depths=list(range(2, 2 + others))))
    suite.set(jitter=0.01, **fake)
    suite.run("--metal-update-baselines").assert_outcomes(passed=others + 1)
    return suite


@pytest.fixture
def four(suite):
    """Four workloads with baselines, of which nothing is known that would train them again."""
    return recorded(suite)


def test_all_slower_alike_are_inconclusive_and_say_so(four):
    four.set(seconds=0.13, own=0.13, jitter=0.001)
    result = four.run("-v")
    result.stdout.fnmatch_lines(
        [
            "inconclusive: 3 other workloads on cpu are [23]?.? % slower too, in the median: the framework, the machine"
            " or the hour; --metal-against trains both in turn",
            "4 gated: 4 inconclusive",
        ]
    )
    result.stdout.no_fnmatch_line("*slower than its baseline*")
    assert result.ret == 0


def test_they_fail_under_strict(four):
    four.set(seconds=0.13, own=0.13, jitter=0.001)
    result = four.run("--metal-strict")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["  why       3 other workloads on cpu are * % slower too, in the median*"])


def test_one_slower_beside_steady_ones_is_slower_alone(four):
    four.set(own=0.13, jitter=0.001)
    result = four.run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        ["own* on cpu (fake) is [23]?.? % slower than its baseline*", "4 gated: 3 within, 1 slower"]
    )


def test_one_slower_than_all_others_of_a_slow_day_is_slower_alone(four):
    four.set(seconds=0.13, own=0.2, jitter=0.001)
    result = four.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* on cpu (fake) is * slower than its baseline*", "4 gated: 1 slower, 3 inconclusive"]
    )


def test_three_workloads_are_too_few_to_tell(suite):
    recorded(suite, others=2).set(seconds=0.13, own=0.13, jitter=0.001)
    suite.run().assert_outcomes(failed=3)


def test_other_devices_and_the_workload_itself_do_not_count():
    looks = {"a@cpu:fake": 1, "b[b8]@cpu:torch": 2, "a@gpu:fake": 3, "c@live-gpu:torch": 4, "d@cpu:fake": 5}
    assert others_today(looks, "a@cpu:fake") == [2, 5]
    assert others_today(looks, "e@gpu:fake") == [3]


def test_work_that_changed_explains_itself(suite):
    work = {"operations": {"MatMul": 2}, "traces": 1, "parameters": 10}
    recorded(suite, work=work).set(seconds=0.13, own=0.13, jitter=0.001, work={**work, "operations": {"MatMul": 3}})
    suite.run().assert_outcomes(failed=4)


def test_load_explains_itself(four):
    """What load did to the others says nothing of one that ran without."""
    suite = ALL.format(depths=[2, 3, 4]).replace(
        "def test_it(metal_bench, depth):",
        "def test_it(metal_bench, depth, monkeypatch):\n"
        """    monkeypatch.setenv("FAKE", '{"seconds": 0.13, "jitter": 0.001, "conditions": {"stolen": 0.3}}')""",
    )
    four.write(suite)
    four.set(own=0.13, jitter=0.001)
    result = four.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["own* on cpu (fake) is * slower than its baseline*", "4 gated: 1 slower, 3 inconclusive"]
    )


def test_the_flag_accepts_them_all(four):
    four.set(seconds=0.13, own=0.13, jitter=0.001)
    four.run("--metal-update-baselines").assert_outcomes(passed=4)
    four.run().stdout.fnmatch_lines(["4 gated: 4 within"])


def test_a_total_that_all_share_does_not_fail_one(four):
    four.ini(metal_total_tolerance="20%", metal_tolerance="100%")
    four.set(seconds=0.16, own=0.16, jitter=0.001)
    result = four.run("-v")
    result.stdout.fnmatch_lines(["*test_it*2* SUSPECTED*", "4 gated: 4 inconclusive"])
    four.set(own=0.16, jitter=0.001)
    result = four.run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["own* on cpu (fake) is * slower than its anchor*"])
