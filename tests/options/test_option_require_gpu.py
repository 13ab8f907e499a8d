"""--metal-require-gpu: a missing GPU fails instead of skipping."""

from __future__ import annotations


def test_missing_gpu_fails_with_the_reason_and_the_cpu_goes_on(suite):
    result = suite.run("--metal-require-gpu", "--metal-devices=cpu,gpu", "--metal-update-baselines", "--metal-runs=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*gpu*--metal-require-gpu*"])
    assert list(suite.stored) == ["fake-model[b8]@cpu:fake"]


def test_it_is_a_failure_and_not_counted_as_skipped(suite):
    result = suite.run("--metal-require-gpu", "--metal-devices=gpu")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*1 skipped*")


def test_it_is_counted_in_the_closing_line(suite):
    result = suite.run("--metal-require-gpu", "--metal-devices=cpu,gpu", "--metal-on-missing=warn")
    result.stdout.fnmatch_lines(["0 gated; not gated: 1 no baseline, 1 *gpu*"])


def test_gpu_that_is_there_passes(suite):
    suite.set(gpus=["gpu"])
    suite.run("--metal-require-gpu", "--metal-devices=gpu", "--metal-update-baselines").assert_outcomes(passed=1)


def test_tests_of_the_cpu_need_none(suite):
    suite.run("--metal-require-gpu", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)


def test_of_marker_and_call(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(require_gpu=True)
        def test_marker(metal_bench):
            metal_bench("fake-model", name="a")
        @pytest.mark.metal_bench(devices="gpu", require_gpu=True)
        def test_call(metal_bench):
            metal_bench("fake-model", name="b")
        def test_default(metal_bench):
            metal_bench("fake-model", name="c")
        """
    )
    result = suite.run("--metal-devices=gpu", "-k", "not call", "-rs")
    result.assert_outcomes(failed=1, skipped=1, deselected=1)
    suite.run("--metal-devices=cpu", "-k", "test_call").assert_outcomes(failed=1, deselected=2)


def test_speedup_needs_both(suite):
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model')\n")
    suite.run().assert_outcomes(skipped=1)
    suite.run("--metal-require-gpu").assert_outcomes(failed=1)
