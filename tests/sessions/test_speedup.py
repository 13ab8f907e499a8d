"""`metal_speedup`: two variants interleaved, and a promise about their ratio."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_metalperf.gate import Ratio
from pytest_metalperf.judge.speedup import _decide, overall
from pytest_metalperf.report import speedups
from pytest_metalperf.results.measurement import Pair, Speedup
from pytest_metalperf.results.run import Run
from pytest_metalperf.settings import Settings
from pytest_metalperf.workloads.workload import Workload

SIDE = Workload("mine", "cpu", "fake")
PROMISE = "def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=3.0)\n"


@pytest.fixture
def gpu(suite):
    """A suite whose machine has a GPU that is four times as fast as its CPU."""
    suite.set(gpus=["gpu"], jitter=0)
    suite.write(PROMISE)
    return suite


def verdict(suite) -> str:
    return suite.properties["metal_verdict"]


def test_promise_that_is_kept(gpu):
    result = gpu.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]] over cpu * gpu * 4*x * 3x * within",
            "measured on test-machine with fake 1.0*",
            "1 gated: 1 within",
        ]
    )
    assert verdict(gpu) == "within"
    assert not gpu.file.exists()  # a ratio needs no baseline


def test_promise_that_is_not_kept(gpu):
    gpu.set(gpus=["gpu"], jitter=0, gpu_factor=0.5)
    result = gpu.run("--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "fake-model[[]b8[]]@gpu:fake is not 3 times as fast as fake-model[[]b8[]]@cpu:fake*test_suite.py::test_it",
            "  now       2*   95 % interval * to *, * fresh pairs",
            "  promised  3   not kept",
            "  of        0.0* s/batch   fake-model[[]b8[]]@gpu:fake",
            "  over      0.1* s/batch   fake-model[[]b8[]]@cpu:fake",
            "  look again with  pytest *test_it*",
        ]
    )
    assert result.ret == 1
    assert verdict(gpu) == "slower"


@pytest.mark.parametrize("flags", [[], ["--metal-strict"]])
def test_noise_around_the_promise_is_inconclusive(gpu, flags):
    # the median ratio is just what is promised, and a third of the blocks differ from it by a third
    gpu.set(gpus=["gpu"], jitter=0, gpu_factor=1 / 3.6, wobble=0.3)
    result = gpu.run("--junitxml=out.xml", "--metal-max-runs=2", *flags)
    assert verdict(gpu) == "inconclusive"
    result.stdout.fnmatch_lines(["1 gated: 1 inconclusive"])
    assert result.ret == (1 if flags else 0)
    result.stdout.fnmatch_lines(["inconclusive: the interval * to * holds the promised 3"])
    if flags:
        result.stdout.fnmatch_lines(
            ["* may or may not be 3 times as fast as *", "  promised  3   cannot be told", "  why       the interval *"]
        )


def test_without_a_promise_it_measures(gpu):
    gpu.write(
        """
        import pytest
        def test_it(metal_speedup):
            speedup = metal_speedup("fake-model")
            assert speedup.value == pytest.approx(4, rel=0.1)
            assert speedup.low <= speedup.value <= speedup.high
            assert speedup.verdict == ""
            assert len(speedup.pairs) >= 2
            assert not speedup.per_example
        """
    )
    gpu.run().assert_outcomes(passed=1)


# a device that is not there


def test_missing_gpu_skips_with_the_reason(suite):
    suite.write(PROMISE)
    result = suite.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *there is no gpu for Fake here (there is cpu)"])


@pytest.mark.parametrize("flag", ["--metal-require-gpu", "--metal-strict"])
def test_missing_gpu_fails_where_that_is_asked(suite, flag):
    suite.write(PROMISE)
    result = suite.run(flag)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"there is no gpu for Fake here (there is cpu) ({flag} is on, so this fails instead of skipping)"]
    )


def test_missing_gpu_is_counted_at_the_end(suite):
    suite.write("def test_bench(metal_bench):\n    metal_bench('fake-model')\n" + PROMISE)
    suite.run().stdout.fnmatch_lines(["0 gated; not gated: 1 no baseline, 1 skipped (there is no gpu for Fake here*"])


# variants


def test_two_variants_on_one_device(suite):
    suite.write(
        """
        import pytest
        def test_it(metal_speedup):
            speedup = metal_speedup("fake-model", of={"depth": 1}, over={"depth": 4}, device="cpu", at_least=3.0)
            assert speedup.value == pytest.approx(4, rel=0.1)
            assert (speedup.of.device, speedup.over.device) == ("cpu", "cpu")
        """
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["fake-model[[]b8[]] over depth=4 *within"])


def test_variants_may_name_their_devices(gpu):
    gpu.write(
        """
        def test_it(metal_speedup):
            speedup = metal_speedup("fake-model", of={"device": "cpu", "depth": 1}, over={"device": "gpu", "depth": 8})
            assert 1.8 < speedup.value < 2.2
        """
    )
    gpu.run().assert_outcomes(passed=1)


def test_different_batch_sizes_compare_seconds_per_example_and_say_so(suite):
    # as long for a batch of 32 as for one of 8: four times as fast per example
    suite.set(jitter=0)
    suite.write(
        """
        import pytest
        def test_it(metal_speedup):
            speedup = metal_speedup("fake-model", of={"batch_size": 32}, over={"batch_size": 8}, device="cpu", at_least=5.0)
        """
    )
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "  now       4   95 % interval*",
            "  of        0.003125 s/example   fake-model[[]b32[]]@cpu:fake",
            "  over      0.01250 s/example   fake-model[[]b8[]]@cpu:fake",
            "  note      parity not checked: they differ in batch_size 32 and 8, and so do their losses; seconds per example"
            " are compared",
        ]
    )


# what cannot be asked


RATIO = "at_least is a ratio such as 3.0 (three times as fast), got "
ITSELF = "metal_speedup compares fake-model[{}]@cpu:fake with itself: say what differs, of={{…}}, over={{…}}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("at_least=0", RATIO + "0"),
        ("at_least=-1.5", RATIO + "-1.5"),
        ("at_least=True", RATIO + "True"),
        ("at_least='3x'", RATIO + "'3x'"),
        ("at_least=[3]", RATIO + "[3]"),
        ("at_least=float('nan')", RATIO + "nan"),
        ("at_least=float('inf')", RATIO + "inf"),
        ("device='cpu'", ITSELF.format("b8")),
        ("of={'depth': 2}, over={'depth': 2}, device='cpu'", ITSELF.format("b8,depth=2")),
        ("of='mixed_float16'", "of is a dict of axes such as {'precision': 'mixed_float16'}, got 'mixed_float16'"),
        ("over=3", "over is a dict of axes such as {'precision': 'mixed_float16'}, or another model, got 3"),
        ("of={'batch_size': 0}", "fake-model: batch_size is a whole number from 1, got 0"),
        ("of={'backend': 'nope'}", "unknown backend 'nope': there are fake, jax, mlx, tensorflow, torch"),
        ("of={3: 4}, device='cpu'", "*3*"),
        ("device='tpu'", "*unknown device 'tpu'*"),
        ("max_runs=1", "this call: max_runs: expected at least 2*"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_sentence(gpu, arguments, sentence):
    gpu.write(f"def test_it(metal_speedup):\n    metal_speedup('fake-model', {arguments})\n")
    result = gpu.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ERROR at call of test_it*", sentence.replace("[", "[[]")], consecutive=True)
    result.stdout.no_fnmatch_line("*pytest_metalperf/*")  # no traceback of ours


@pytest.mark.processes
def test_worker_that_dies_is_an_error(gpu):
    gpu.set(gpus=["gpu"], die="fake-model")
    result = gpu.run("--junitxml=out.xml")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*the worker was ended by SIGKILL * in its phase 'first batch'", "ERROR test_suite.py::test_it*"]
    )
    assert verdict(gpu) == "error"


def test_smoke_trains_a_pair_and_says_nothing_of_speed(gpu):
    gpu.set(gpus=["gpu"], gpu_factor=2)
    result = gpu.run("--metal=smoke", "--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    assert len(gpu.trained()) <= 2
    assert (gpu.properties["metal_verdict"], gpu.properties["metal_parity"]) == ("", "checked")


def test_two_tests_of_one_speedup_measure_it_once(gpu):
    gpu.set(gpus=["gpu"], jitter=0)
    gpu.write(
        """
        def test_a(metal_speedup):
            metal_speedup("fake-model", at_least=3.0)
        def test_b(metal_speedup):
            metal_speedup("fake-model", at_least=2.0)
        """
    )
    gpu.run().assert_outcomes(passed=2)
    assert len(gpu.trained()) == 2 * 3


@pytest.mark.parametrize(
    ("promise", "stored", "verdict"),
    [
        ("", "", ""),
        ("within", "", "within"),
        ("", "faster", "faster"),
        ("within", "faster", "faster"),
        ("within", "within", "within"),
        ("within", "slower", "slower"),
        ("slower", "faster", "slower"),
        ("inconclusive", "slower", "slower"),
        ("slower", "inconclusive", "slower"),
        ("inconclusive", "faster", "inconclusive"),
        ("within", "inconclusive", "inconclusive"),
    ],
)
def test_one_verdict_of_two(promise, stored, verdict):
    assert overall(promise, stored) == verdict


# what both sides need


def sides(*pairs: tuple[Run, Run]) -> Speedup:
    of, over = (Workload("m", "gpu", "torch", {"precision": p}) for p in ("mixed_float16", "float32"))
    return Speedup(of, over, ratio=Ratio(1.82, 1.79, 1.86, 0.95), runs=[Pair(over, of) for over, of in pairs])


def run(memory: int | None = None, joules: float | None = None, examples: int | None = 8) -> Run:
    return Run((0.1,), 1, 1.0, "s", "2026-01-01", examples=examples, peak_memory_bytes=memory, joules_per_batch=joules)


NAMES = "m[mixed_float16]@gpu:torch over m@gpu:torch: 1.82 times as fast (1.79 to 1.86)"


@pytest.mark.parametrize(
    ("over", "of", "line"),
    [
        (
            run(5_100_000_000, 12.1),
            run(3_200_000_000, 7.9),
            ", memory 5.1 GB -> 3.2 GB, energy 12.1 J -> 7.90 J a batch",
        ),
        (run(510_000_000), run(320_000_000), ", memory 510 MB -> 320 MB"),
        (run(joules=1210.0), run(joules=0.079), ", energy 1210 J -> 0.0790 J a batch"),
        (run(), run(3_200_000_000, 7.9), ", memory unknown -> 3.2 GB, energy unknown -> 7.90 J a batch"),
        (run(joules=12.0), run(joules=24.0, examples=32), ", energy 1.50 J -> 0.750 J an example"),
    ],
)
def test_memory_and_energy_of_both_sides_are_one_line(over, of, line):
    assert speedups.line(sides((over, of))) == NAMES + line


def test_nothing_is_said_of_what_nobody_knows():
    speedup = sides((run(), run()))
    assert speedups.line(speedup) == ""
    assert (speedup.of_peak_memory_bytes, speedup.over_joules) == (None, None)


def test_of_several_pairs_the_median_counts():
    speedup = sides(
        *[(run(memory, joules), run(2 * memory, None)) for memory, joules in ((1, 3.0), (2, 5.0), (9, 4.0))]
    )
    assert (speedup.over_peak_memory_bytes, speedup.of_peak_memory_bytes) == (2, 4)
    assert (speedup.over_joules, speedup.of_joules) == (4.0, None)


def test_the_line_stands_below_the_table(gpu):
    gpu.set(gpus=["gpu"], jitter=0, memory={"cpu": 5_100_000_000, "gpu": 3_200_000_000})
    gpu.run().stdout.fnmatch_lines(
        [
            "workload * verdict",
            "fake-model* over cpu *",
            "fake-model[[]b8[]]@gpu:fake over fake-model[[]b8[]]@cpu:fake: 4 times as fast (* to *), memory 5.1 GB -> 3.2 GB",
        ]
    )


@pytest.mark.parametrize("setting", ["metrics={'memory': '5%'}", "strict_work=True", "sustained='2min'"])
def test_what_says_nothing_of_two_is_refused(suite, setting):
    suite.write(f"def test_it(metal_speedup):\n    metal_speedup('fake-model', {setting})\n")
    suite.set(gpus=["gpu"])
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*metal_speedup has no {setting.partition('=')[0]}: ask metal_bench for it"])


@pytest.mark.parametrize(("most", "pair_sd", "share"), [(3, 0.02, 0.04), (15, 0.05, 0.08)])
def test_looking_several_times_is_wrong_little_oftener_than_looking_once(most, pair_sd, share):
    """At a speedup of exactly what was promised one look fails, and one passes, in 2.5 % of the cases each.

    Where pairs differ by 5 %, which is more than the prior of ratios says, one look at fifteen pairs does so in up to 3.5 %,
    all looks together in 7 %; at 95 % each the looks were wrong in 11 %.
    """
    settings = Settings(max_runs=most)
    verdicts = []
    for seed in range(800):
        random = np.random.default_rng(seed)
        speedup = Speedup(of=SIDE, over=SIDE, at_least=2.0)

        def measure(count, speedup=speedup, random=random):
            for _ in range(count - len(speedup.runs)):
                over = 0.2 * np.exp(random.normal(0, pair_sd))
                both = (over * np.exp(random.normal(0, 0.01, 10)), 0.1 * np.exp(random.normal(0, 0.01, 10)))
                speedup.runs = [*speedup.runs, Pair(*(Run(tuple(side), 1, 1.0, "s", "2026-01-01") for side in both))]

        _decide(speedup, settings, measure, None)
        verdicts.append(speedup.verdict)
    for wrong in ("slower", "within"):
        assert verdicts.count(wrong) <= share * len(verdicts)


def test_a_million_looks_are_allowed_and_each_risks_nearly_nothing(suite):
    """A level of confidence that rounded to 1 was an error of ours."""
    suite.set(gpus=["gpu"])
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=2)\n")
    suite.run("--metal=on", "--metal-max-runs=10000000", "--metal-batches=10").assert_outcomes(passed=1)
