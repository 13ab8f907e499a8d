"""--metal-devices cpu,gpu: one test per device; a device that is not there skips with the reason."""

from __future__ import annotations

import pytest


def test_default_is_cpu_and_gpu(suite):
    suite.ini(metal_devices=None)
    result = suite.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_suite.py::test_it[[]cpu[]]", "test_suite.py::test_it[[]gpu[]]"])


def test_each_device_is_a_test_and_an_entry(suite):
    suite.set(gpus=["gpu"])
    suite.run("--metal-devices", "cpu,gpu", "--metal-update-baselines").assert_outcomes(passed=2)
    cpu, gpu = (suite.stored[f"fake-model[b8]@{device}:fake"]["runs"][0] for device in ("cpu", "gpu"))
    assert gpu["seconds_per_batch"] < cpu["seconds_per_batch"]


def test_missing_gpu_skips_and_is_counted_with_its_reason(suite):
    result = suite.run("--metal-devices=cpu,gpu", "--metal-update-baselines", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["0 gated; not gated: 1 recorded, 1 skipped (*gpu*)", "SKIPPED*gpu*"])
    assert list(suite.stored) == ["fake-model[b8]@cpu:fake"]
    result = suite.run("--metal-devices=cpu,gpu")
    result.stdout.fnmatch_lines(["1 gated: 1 within; not gated: 1 skipped (*gpu*)"])


def test_baseline_of_a_skipped_device_is_no_orphan(suite):
    suite.set(gpus=["gpu"])
    suite.run("--metal-devices=cpu,gpu", "--metal-update-baselines").assert_outcomes(passed=2)
    suite.set()
    result = suite.run("--metal-devices=cpu,gpu")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.no_fnmatch_line("no test asked for*")


def test_baseline_of_a_device_that_was_not_asked_for_is_no_orphan(suite):
    suite.set(gpus=["gpu"])
    suite.run("--metal-devices=cpu,gpu", "--metal-update-baselines").assert_outcomes(passed=2)
    suite.run("--metal-devices=cpu").stdout.no_fnmatch_line("no test asked for*")


def test_one_of_several_gpus(suite):
    suite.set(gpus=["gpu", "gpu:1"])
    suite.run("--metal-devices=gpu:1", "--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == ["fake-model[b8]@gpu:1:fake"]
    result = suite.run("--metal-devices=gpu:2", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*gpu:2*"])


def test_first_gpu_has_one_name_and_a_name_twice_is_one_test(suite):
    result = suite.run("--metal-devices", "gpu, gpu:0,gpu", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_suite.py::test_it[[]gpu[]]", "1 test collected*"])


def test_marker_chooses_devices(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(devices=["gpu"])
        def test_marker(metal_bench, metal_device):
            assert metal_bench("fake-model").device == metal_device == "gpu"
        """
    )
    suite.set(gpus=["gpu"])
    suite.run("--metal-on-missing=warn").stdout.fnmatch_lines(["*1 no baseline*"])


def test_another_device_in_a_call_is_an_error_that_names_the_marker(suite):
    """Else the row of a test named `[cpu]` would hold a GPU's time."""
    suite.set(gpus=["gpu"])
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', device='gpu')")
    result = suite.run("--metal-update-baselines")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ['*test_it[[]cpu[]] is the test of cpu, while its call names gpu: *@pytest.mark.metal_bench(devices="gpu")']
    )
    assert not suite.file.exists()
    assert suite.trained() == []


def test_call_knows_the_first_gpu_by_both_names(suite):
    suite.set(gpus=["gpu"])
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', device='gpu:0')")
    suite.run("--metal-devices=gpu", "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)


@pytest.mark.parametrize("fixture", ["metal_bench", "metal_speedup"])
def test_unknown_device_of_a_call_is_no_missing_device(suite, fixture):
    suite.write(f"def test_it({fixture}):\n    {fixture}('fake-model', device='gpu1')")
    result = suite.run()
    assert "skipped" not in result.parseoutcomes()
    result.stdout.fnmatch_lines(["*unknown device 'gpu1'*cpu, gpu*"])


def test_devices_is_no_keyword_of_a_call(suite):
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model', devices='gpu')")
    assert suite.run().ret == 1


def test_unknown_device_says_what_there_is(suite):
    result = suite.run("--metal-devices=cpu,mps")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-devices: *'mps'*cpu, gpu*gpu:1*"])


def test_skip_of_a_call_is_counted_too(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.metal_bench(devices="gpu")
        def test_call(metal_bench):
            metal_bench("fake-model")
        def test_speedup(metal_speedup):
            metal_speedup("fake-model")
        """
    )
    result = suite.run("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["0 gated; not gated: 2 skipped (*gpu*)"])
