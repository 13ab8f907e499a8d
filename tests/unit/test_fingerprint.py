"""The fingerprint: what runs agree on, and what changed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.baselines.schema import Fingerprint
from pytest_metalperf.results.fingerprint import FingerprintError, common, fingerprint, fingerprint_changes
from pytest_metalperf.worker.fingerprint import facts

counts = st.dictionaries(st.sampled_from(["Mul", "Add", "Conv2D", "Pow"]), st.integers(1, 10_000))
works = st.builds(
    Fingerprint,
    operations=counts,
    operations_on_cpu=counts,
    flop=st.none() | st.floats(1, 1e15),
    traces=st.none() | st.integers(1, 5),
    parameters=st.none() | st.integers(0, 10**9),
    memory_bytes=st.none() | st.integers(1, 10**12),
)
FULL = Fingerprint(
    operations={"Mul": 1622, "Pow": 344, "Add": 10, "Conv2D": 5, "Relu": 3},
    flop=4.1e9,
    traces=1,
    parameters=25_600_000,
    memory_bytes=1_200_000_000,
)


def changed(**facts):
    return fingerprint_changes(FULL, msgspec.structs.replace(FULL, **facts))


def test_an_operation_without_a_kernel():
    assert changed(operations_on_cpu={"ResizeBilinearGrad": 37}) == [
        "operations on the CPU 0 -> 37 (ResizeBilinearGrad 37)"
    ]


def test_one_that_has_its_kernel_back():
    old, new = Fingerprint(operations={"Mul": 1}, operations_on_cpu={"Mul": 1}), Fingerprint(operations={"Mul": 1})
    assert fingerprint_changes(old, new) == ["operations on the CPU 1 -> 0 (Mul 1 -> 0)"]


def test_the_largest_differences_first_and_the_rest_counted():
    new = {"Mul": 3100, "Pow": 690, "Add": 11, "Conv2D": 6, "Sqrt": 2}
    assert changed(operations=new) == ["operations 1,984 -> 3,809 (Mul 1,622 -> 3,100, Pow 344 -> 690 and 4 more)"]


def test_one_operation_in_the_place_of_another():
    assert changed(operations={**FULL.operations, "Relu": 2, "Gelu": 1}) == [
        "operations 1,984 -> 1,984 (Gelu 1, Relu 3 -> 2)"
    ]


@pytest.mark.parametrize(
    ("fact", "clause"),
    [
        ({"flop": 4.6e9}, "FLOP 4.1 G -> 4.6 G a step"),
        ({"flop": 4.1e9 + 8}, "FLOP 4.10000000 G -> 4.10000001 G a step"),
        ({"traces": 2}, "traced 1 -> 2 times"),
        ({"parameters": 25_600_001}, "parameters 25,600,000 -> 25,600,001"),
        ({"memory_bytes": 1_350_000_000}, "allocator's peak 1.200 GB -> 1.350 GB"),
    ],
)
def test_each_figure(fact, clause):
    assert changed(**fact) == [clause]


@given(works)
def test_the_same_work_has_not_changed(work):
    assert fingerprint_changes(work, work) == []
    assert fingerprint_changes(work, msgspec.convert(msgspec.to_builtins(work), Fingerprint)) == []


@given(works, works)
def test_what_one_side_does_not_tell_is_no_change(old, new):
    assert (
        fingerprint_changes(old, Fingerprint())
        == fingerprint_changes(Fingerprint(), new)
        == fingerprint_changes(None, new)
        == fingerprint_changes(old, None)
        == []
    )
    told = [
        f for f in ("flop", "traces", "parameters", "memory_bytes") if None not in (getattr(old, f), getattr(new, f))
    ]
    clauses = fingerprint_changes(old, new)
    assert len([c for c in clauses if not c.startswith("operations")]) == sum(
        getattr(old, f) != getattr(new, f) for f in told
    )
    assert any(c.startswith("operations ") and "CPU" not in c for c in clauses) == (
        bool(old.operations and new.operations) and old.operations != new.operations
    )


@given(works, st.integers(1, 4))
def test_runs_that_agree_have_that_work_in_common(work, runs):
    assert common([work] * runs) == work


@given(st.lists(works, min_size=1, max_size=4))
def test_what_is_in_common_differs_from_no_run(several):
    shared = common(several)
    for one in several:
        assert fingerprint_changes(shared, one) == fingerprint_changes(one, shared) == []


def test_facts_in_which_runs_differ_are_named_and_left_out():
    shared = common([FULL, None, msgspec.structs.replace(FULL, flop=5.0, operations={**FULL.operations, "Mul": 1})])
    assert shared.varying == ["flop", "operations Mul"]
    assert shared.flop is None
    assert shared.operations == {name: count for name, count in FULL.operations.items() if name != "Mul"}
    assert fingerprint_changes(shared, FULL) == []
    assert common([shared, FULL]) == shared


def test_nothing_told():
    assert common([]) is common([None]) is fingerprint(None) is None


def test_a_workers_facts_can_be_read():
    told = fingerprint(facts(operations={"Mul": 2, "Add": 0}, flop=float("inf"), traces=1))
    assert told == Fingerprint(operations={"Mul": 2}, traces=1)


@pytest.mark.parametrize("plain", [{"flop": "many"}, {"operation": {}}, {"operations": ["Mul"]}])
def test_what_is_no_fingerprint_is_one_sentence(plain):
    with pytest.raises(FingerprintError, match="the backend gives a fingerprint that cannot be read: "):
        fingerprint(plain)


def test_what_the_cpu_does_in_a_gpus_run_is_told_when_it_is_first_recorded(suite):
    suite.set(
        gpus=["gpu"], work={"operations": {"Add": 5}, "operations_on_cpu": {"ResizeBilinearGrad": 36, "Where": 1}}
    )
    result = suite.run("--metal-devices=cpu,gpu", "--metal-update-baselines")
    result.stdout.fnmatch_lines(
        ["fake-model*@gpu:fake: 37 operations of a step on the CPU: ResizeBilinearGrad 36*Where 1"]
    )
    result.stdout.no_fnmatch_line("*@cpu:fake: 37 operations*")


def test_what_ends_a_region_of_jax_programs_is_no_work():
    assert changed(operations={**FULL.operations, "return": 4}) == []
