"""Several batch sizes of one workload: which is best, what each costs, which did not fit."""

from __future__ import annotations

import pytest

from pytest_metalperf.report import words

SWEEP = """
import pytest

@pytest.mark.parametrize("batch_size", [8, 16, 32, 64])
def test_it(metal_bench, batch_size):
    metal_bench(build, batch_size=batch_size)

def build(batch_size):
    from fake_backend import FakeModel
    if batch_size > 32:
        raise MemoryError("no room")
    return FakeModel({8: 0.1, 16: 0.11, 32: 0.3}[batch_size], batch_size)
"""


@pytest.fixture
def sweep(suite):
    suite.write(SWEEP)
    suite.set(jitter=0, memory={"cpu": 2_500_000_000})
    return suite


def test_the_best_batch_size_is_named(sweep):
    result = sweep.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "build@cpu:fake, batches of 8 to 64: most examples a second with b16: 145.5/s, 2.5 GB;"
            " b8: 80/s, 2.5 GB, b32: 106.7/s, 2.5 GB, b64: did not fit"
        ]
    )


def test_what_does_not_fit_names_the_largest_that_did(sweep):
    sweep.run().stdout.fnmatch_lines(
        [
            "build[[]b64[]]@cpu:fake: the cpu ran out of memory training build with batches of 64 (MemoryError: no room):"
            " a batch of 32 has fitted here, so try a batch_size between the two"
        ]
    )


def test_what_never_fitted_says_so(sweep):
    sweep.run("-k", "64").stdout.fnmatch_lines(["*(MemoryError: no room): try a smaller batch_size"])


def test_what_fitted_another_day_is_known_from_the_baseline(sweep):
    sweep.run("-k", "16", "--metal-update-baselines").assert_outcomes(passed=1)
    sweep.run("-k", "64").stdout.fnmatch_lines(
        ["*: a batch of 16 has fitted here, so try a batch_size between the two"]
    )


def test_one_size_is_no_sweep(sweep):
    sweep.run("-k", "16").stdout.no_fnmatch_line("*most examples*")


def test_what_is_known_of_a_full_memory_stays_below_the_sentence():
    message = "the gpu ran out of memory\n  known     its share is full; fix: a smaller batch"
    assert words.fitted(message, 16).splitlines() == [
        "the gpu ran out of memory: a batch of 16 has fitted here, so try a batch_size between the two",
        "  known     its share is full; fix: a smaller batch",
    ]
    assert words.fitted("the gpu ran out of memory", None) == "the gpu ran out of memory: try a smaller batch_size"
