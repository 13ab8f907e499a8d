"""GPU work that fails while the framework goes on: an error with the line of the log, and nothing stored."""

from __future__ import annotations

import pytest

ABORTED = "Error: command buffer exited with error status."
MEMORY = "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"

BUILDER = """
import os
def build():
    def step():
        if os.environ.get("SAID"):
            os.write(2, os.environ["SAID"].encode() + b"\\n\\tmore\\n")
        return 1.0
    return step
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (ABORTED, "Metal dropped work*try a smaller batch_size"),
        (f"x: {MEMORY}", "Metal had no memory left*try a smaller batch_size"),
        ("F0000 CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", ""),
        ("CUDA error: unspecified launch failure", ""),
        ("E0000 gpu_executable.cc] INTERNAL: Failed to enqueue async memset operation", ""),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", ""),
        ("UserWarning: Function 'LogBackward0' returned nan values in its 0th output.", ""),
        ("Batch 5: Invalid loss, terminating training", ""),
    ],
)
def test_of_a_worker(suite, monkeypatch, said, fix):
    suite.write(BUILDER + "def test_it(metal_bench): metal_bench(build)")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    before = suite.file.read_bytes()
    monkeypatch.setenv("SAID", said)
    suite.set(seconds=0.025)  # what is dropped is fast
    for arguments in ([], ["--metal-update-baselines", "--metal-update-mode=all"]):
        result = suite.run(*arguments)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*work of build failed on its device, and the framework went on*({said})"])
        if fix:
            result.stdout.fnmatch_lines([f"*known*{fix}*"])
    assert suite.file.read_bytes() == before


@pytest.mark.processes
def test_of_both_sides_of_a_pair(suite, monkeypatch):
    suite.set(gpus=["gpu"])
    suite.write(BUILDER + "def test_it(metal_speedup): metal_speedup(build, at_least=2, name='it')")
    monkeypatch.setenv("SAID", ABORTED)
    suite.run().assert_outcomes(errors=1)


def test_of_live_objects_whose_words_are_shown_all_the_same(suite):
    suite.write(
        f"""
        import os
        def test_it(metal_live):
            def step():
                os.write(2, {ABORTED!r}.encode() + bytes([10]))
                return 1.0
            metal_live(step, name="step")
        """
    )
    result = suite.run("--metal-update-baselines", "--metal=smoke")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*work of step failed on its device*({ABORTED})", "*Captured stderr*", ABORTED])
    assert not suite.file.exists()


@pytest.mark.processes
@pytest.mark.parametrize(
    "said",
    [
        "ran out of memory trying to allocate 2.0GiB with freed_by_count=0. The caller indicates that this is not a failure",
        "failed to allocate 2.0G from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_NO_DEVICE: none is found",
        "E0000 cuda_driver.cc] failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)",
        "my loss is in error, status 3; memory is insufficient",
        "warning: the command buffer of our editor was aborted",
    ],
)
def test_what_frameworks_and_users_say_otherwise_is_no_failure(suite, monkeypatch, said):
    suite.write(BUILDER + "def test_it(metal_bench): metal_bench(build)")
    monkeypatch.setenv("SAID", said)
    suite.run("--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)
