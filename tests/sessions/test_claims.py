"""What the last lines claim: no more than the figures show, and no workload under two names."""

from __future__ import annotations

import pytest

WORK = {"operations": {"Mul": 1000}, "flop": 4e9, "traces": 1, "parameters": 10}
THREE = "def test_it(metal_bench):\n    for name in 'abc':\n        metal_bench('fake-model', name=name)\n"
ALIKE = "most workloads changed alike, by +*: this may be the machine, not the code; --metal-against REV *"


@pytest.fixture
def three(suite):
    suite.write(THREE)
    suite.set(seconds=0.1, work=WORK)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    return suite


def test_workloads_that_change_alike_with_the_same_work_may_be_the_machine(three):
    three.set(seconds=0.12, work=WORK, jitter=0.0001)
    three.run("--metal-tolerance=50%").stdout.fnmatch_lines([ALIKE])


@pytest.mark.parametrize("work", [{**WORK, "flop": 5.4e9}, None, {"operations": {}, "parameters": 10}])
def test_nothing_is_said_of_the_machine_where_work_changed_or_was_not_looked_at(three, work):
    three.set(seconds=0.12, work=work, jitter=0.0001)
    three.run("--metal-tolerance=50%").stdout.no_fnmatch_line("most workloads *")


def test_nothing_is_said_of_the_machine_where_a_package_has_another_version(three):
    text = three.file.read_text()
    assert '"fake": "1.0"' in text
    three.file.write_text(text.replace('"fake": "1.0"', '"fake": "0.9"'))
    three.set(seconds=0.12, work=WORK, jitter=0.0001)
    result = three.run("--metal-tolerance=50%")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("most workloads *")


BUILDER = "from fake_backend import FakeModel\ndef net(lr=1e-3, width=None, mode='a'):\n    return FakeModel(0.1)\n"


def asked(suite, call: str) -> None:
    suite.write(f"{BUILDER}def test_it(metal_bench):\n    metal_bench(net{call})\n")


@pytest.mark.parametrize("call", [", lr=1e-3", ", lr=0.001, width=None, mode='a'", ""])
def test_an_axis_at_the_builder_s_own_default_is_no_other_workload(suite, call):
    asked(suite, call)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["net@cpu:fake"]
    asked(suite, "")
    suite.run("--metal-on-missing=fail").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "id_"),
    [
        (", lr=1", "net[lr=1]@cpu:fake"),
        (", lr=1e-4", "net[lr=0.0001]@cpu:fake"),
        (", width=0", "net[width=0]@cpu:fake"),
        (", width='None'", "net[width=None]@cpu:fake"),
        (", mode='b', lr=1e-3", "net[mode=b]@cpu:fake"),
    ],
)
def test_an_axis_at_any_other_value_is(suite, call, id_):
    asked(suite, call)
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == [id_]


def test_named_and_not_named_defaults_are_one_workload_in_one_session(suite):
    suite.write(f"{BUILDER}def test_it(metal_bench):\n    metal_bench(net)\n    metal_bench(net, lr=1e-3)\n")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["net@cpu:fake"]


def test_the_default_of_a_registered_model_is_no_other_workload(suite):
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', depth=1)\n")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["fake-model[b8]@cpu:fake"]


def test_a_baseline_under_the_longer_name_is_named_and_not_lost(suite):
    asked(suite, ", lr=1e-3")
    suite.run("--metal-update-baselines")
    suite.file.write_text(suite.file.read_text().replace("net@cpu:fake", "net[lr=0.001]@cpu:fake"))
    before = suite.file.read_bytes()
    result = suite.run()
    result.stdout.fnmatch_lines(
        ["net[[]lr=0.001]@cpu:fake is called net@cpu:fake now: record it again with --metal-update-baselines"]
    )
    assert suite.file.read_bytes() == before
    result = suite.run("--metal-on-missing=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  stored    net[[]lr=0.001]@cpu:fake: its name until this version"])


def test_a_live_baseline_without_its_framework_is_named_and_not_compared_with(suite):
    suite.write(
        """
        import time
        class Weight:
            device = "cuda:0"
        class Net:  # as PyTorch's look from outside
            __module__ = "torch.nn"
            def state_dict(self): return {}
            def parameters(self): return [Weight()]
        def test_it(metal_live):
            net = Net()
            metal_live(lambda: time.sleep(0.1) or float(net is not None), name="mine")
        """
    )
    few = ["--metal-batches=3", "--metal-warmup=0", "--metal-runs=1"]
    suite.run(*few, "--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["mine@live-gpu:torch"]
    suite.file.write_text(suite.file.read_text().replace("mine@live-gpu:torch", "mine@live"))
    result = suite.run(*few)
    result.stdout.fnmatch_lines(["mine@live is called mine@live-gpu:torch now: record it again *"])


def test_a_live_baseline_that_no_test_asked_for_is_said_under_either_name(suite):
    suite.run("--metal-update-baselines")
    text = suite.file.read_text()
    for name in ("x@live", "x@live-gpu:torch", "x@live:jax"):
        suite.file.write_text(text.replace("fake-model[b8]@cpu:fake", name))
        suite.run().stdout.fnmatch_lines([f"no test asked for 1 stored baseline: {name}"])


@pytest.mark.parametrize("first", ["depth", "assert depth"])
def test_the_traceback_of_a_closure_names_its_file_and_line(suite, first):
    suite.write(
        f"""
        def test_it(metal_bench):
            depth = 3
            def inner():
                raise ValueError(f'no {{depth}}')
            def build():
                {first}
                inner()
            metal_bench(build, name="x")
        """
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    lines = result.stdout.str()
    assert 'test_suite.py", line' in lines
    assert "raise ValueError(f'no {depth}')" in lines
