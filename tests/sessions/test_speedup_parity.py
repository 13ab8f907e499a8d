"""Before a speedup is measured, both sides compute one training step: a wrong kernel is an error, not a speedup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GPU, CPU = "fake-model[b8]@gpu:fake", "fake-model[b8]@cpu:fake"


@pytest.fixture
def gpu(suite):
    """A suite whose machine has a GPU that is four times as fast as its CPU; more is planted by `suite.set`."""
    suite.plant = lambda **wishes: suite.set(gpus=["gpu"], jitter=0, saved=str(suite.pytester.path / "saved"), **wishes)
    suite.plant()
    suite.write("def test_it(metal_speedup):\n    metal_speedup('fake-model', at_least=3.0)\n")
    return suite


def shared(suite) -> Path | None:
    """The file in which weights went from one side to the other."""
    note = suite.pytester.path / "saved"
    return Path(note.read_text()) if note.exists() else None


def test_sides_that_agree_are_checked_from_the_same_weights(gpu):
    result = gpu.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    assert gpu.properties["metal_parity"] == "checked"
    result.stdout.no_fnmatch_line("*parity*")
    assert shared(gpu) is not None
    assert not shared(gpu).exists()


@pytest.mark.parametrize("flags", [[], ["--metal=smoke"], ["--metal-update-baselines"]])
@pytest.mark.parametrize(("wishes", "loss", "gradient"), [({"gpu_loss": 0.5}, 0.5, 1), ({"gpu_gradient": 1.2}, 1, 1.2)])
def test_a_wrong_kernel_is_an_error_with_both_values(gpu, flags, wishes, loss, gradient):
    gpu.plant(**wishes)
    result = gpu.run("--junitxml=out.xml", *flags)
    result.assert_outcomes(errors=1)
    number = r"([\d.e+-]+)"
    (said,) = re.findall(  # once: the summary repeats less of it
        rf"^{re.escape(GPU)} is fast but wrong: from the same weights its loss is {number} where {re.escape(CPU)} has"
        rf" {number} \(gradient norm {number} and {number}; they may differ by 1 %\)$",
        result.stdout.str(),
        re.MULTILINE,
    )
    computed, expected, norm, wanted = map(float, said)
    assert computed / expected == pytest.approx(loss, rel=0.01)
    assert norm / wanted == pytest.approx(gradient, rel=0.01)
    assert gpu.properties["metal_verdict"] == "error"
    assert gpu.properties["metal_error"].startswith(f"{GPU} is fast but wrong")
    assert "metal_speedup" not in gpu.properties
    result.stdout.no_fnmatch_line("*times as fast*")
    assert not gpu.file.exists()
    assert not shared(gpu).exists()


def test_nothing_is_timed_before_it(gpu):
    gpu.plant(gpu_loss=0.5)
    gpu.run()
    steps = gpu.trained()
    gpu.run("--metal=smoke")
    assert sum(steps) <= sum(gpu.trained()) + 2  # warm-up alone


@pytest.mark.parametrize("wish", ["gpu_loss", "gpu_gradient"])
def test_nan_is_an_error(gpu, wish):
    gpu.plant(**{wish: float("nan")})
    result = gpu.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{GPU.replace('[', '[[]')} is fast but wrong: *nan*"])


def test_half_precision_may_round(gpu):
    gpu.plant(gpu_loss=1.03, gpu_gradient=0.97)
    gpu.run().assert_outcomes(errors=1)
    gpu.write(
        """
        def test_it(metal_speedup):
            metal_speedup("fake-model", of={"device": "gpu", "precision": "mixed_float16"}, over={"device": "cpu"})
        """
    )
    gpu.run("--junitxml=out.xml").assert_outcomes(passed=1)
    assert gpu.properties["metal_parity"] == "checked"


# where it cannot be checked


def reason(suite) -> str:
    """The reason that a passing test tells, as a property and below the table."""
    result = suite.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    said = suite.properties["metal_parity"]
    result.stdout.fnmatch_lines([f"* over *: parity not checked: {said}*".replace("[", "[[]")])
    assert not shared(suite) or not shared(suite).exists()
    return said


@pytest.mark.parametrize(("bare", "which"), [(["cpu"], CPU), (["gpu"], GPU), (["cpu", "gpu"], CPU)])
def test_a_bare_step_has_nothing_to_look_at(gpu, bare, which):
    gpu.plant(bare=bare, gpu_loss=0.5)
    assert reason(gpu) == (
        f"{which} shows no loss and gradient (a step shows them by `loss_and_gradient` with `parameters` that can be set)"
    )


def test_a_model_that_draws_at_random_is_not_compared(gpu):
    gpu.plant(draws=500_000, gpu_loss=0.5)
    assert reason(gpu) == (
        "the model draws at random, so it computes something else every time; parity=False says that you know"
    )


def test_parity_false_compares_times_alone(gpu):
    gpu.plant(gpu_loss=0.5)
    gpu.write(
        """
        def test_times(metal_speedup):
            speedup = metal_speedup("fake-model", parity=False)
            assert (speedup.parity, speedup.notes) == ("not wanted", [])
        def test_more(metal_speedup):
            metal_speedup("fake-model")
        """
    )
    result = gpu.run()
    result.assert_outcomes(passed=1, errors=1)  # pairs that nobody checked are not the second test's
    result.stdout.fnmatch_lines(["*is fast but wrong*"])


def test_data_that_each_side_draws_for_itself_say_nothing_of_a_kernel(gpu):
    gpu.plant(batches={"cpu": 1, "gpu": 2}, gpu_loss=0.5)
    assert reason(gpu) == (
        "its builder makes other data on each side, and so another loss: draw them with NumPy from a fixed seed"
    )


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ("of={'batch_size': 32}, over={'batch_size': 8}", "they differ in batch_size 32 and 8, and so do their losses"),
        ("of={'depth': 1}, over={'depth': 4}", "they differ in depth 1 and 4, and so do their losses"),
    ],
)
def test_other_data_have_another_loss(gpu, axes, said):
    gpu.write(f"def test_it(metal_speedup):\n    metal_speedup('fake-model', {axes}, device='cpu')\n")
    assert reason(gpu) == said
    assert shared(gpu) is None  # nobody was asked


def test_the_test_itself_can_ask(gpu):
    gpu.plant(bare=["gpu"])
    gpu.write(
        """
        def test_it(metal_speedup):
            speedup = metal_speedup("fake-model")
            assert speedup.parity != "checked"
            assert speedup.notes == ["parity not checked: " + speedup.parity]
        """
    )
    gpu.run().assert_outcomes(passed=1)


def test_a_speedup_that_fails_says_that_parity_was_not_checked(gpu):
    gpu.plant(bare=["gpu"], gpu_factor=0.9)
    result = gpu.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  note      parity not checked: fake-model* shows no loss and gradient *"])


def test_weights_that_cannot_be_exchanged_are_an_error(gpu):
    gpu.plant(unreadable=True)
    result = gpu.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*training fake-model failed in its check of parity: ValueError: no such layer*"])
    assert not shared(gpu).exists()


def test_on_another_host_weights_go_through_its_temporary_folder(gpu, monkeypatch):
    import tempfile

    import pytest_metalperf.measure.fleet

    real = pytest_metalperf.measure.fleet.Fleet.__init__

    def elsewhere(self, **keywords):
        real(self, **keywords)
        self.local = False  # workers get their own folders, and no files are ours to remove

    monkeypatch.setattr(pytest_metalperf.measure.fleet.Fleet, "__init__", elsewhere)
    gpu.run("--junitxml=out.xml").assert_outcomes(passed=1)
    assert gpu.properties["metal_parity"] == "checked"
    assert shared(gpu).parent == Path(tempfile.gettempdir())
    assert not shared(gpu).exists()


# two models

TWO = """
    from fake_backend import FakeModel

    def plain(batch_size=8):
        return FakeModel(0.1, batch_size)

    def layered(batch_size=8):
        return FakeModel(0.13, batch_size)

    def test_it(metal_speedup):
        metal_speedup(plain, over=layered, device="cpu", at_least=1.2)
"""


@pytest.fixture
def two(gpu):
    """Two builders that train the same, one of them slower; with the same weights unless a test plants others."""
    gpu.plant(weights=7)
    gpu.write(TWO)
    return gpu


def test_two_builders_are_compared_from_the_weights_that_both_begin_with(two):
    result = two.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    assert two.properties["metal_parity"] == "checked"
    assert float(two.properties["metal_speedup"]) == pytest.approx(1.3)
    result.stdout.fnmatch_lines(["plain[[]b8[]] over layered * 1.3x * within"])
    assert shared(two) is None  # nobody knows where weights of one lie in the other


def test_two_builders_of_which_one_is_wrong_are_an_error(two):
    two.plant(weights=7, gpu_loss=0.5)
    two.write(TWO.replace('device="cpu"', 'of={"device": "gpu"}, device="cpu"'))
    result = two.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*plain[[]b8[]]@gpu:fake is fast but wrong: from the same weights its loss is *"])


def test_nan_of_two_builders_is_an_error(two):
    two.plant(weights=7, gpu_loss=float("nan"))
    two.write(TWO.replace('device="cpu"', 'of={"device": "gpu"}, device="cpu"'))
    result = two.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is fast but wrong: *nan*"])


def test_two_builders_with_other_weights_have_another_loss(two):
    two.plant(gpu_loss=0.5)
    assert reason(two) == (
        "the two builders begin with other weights, and so with another loss: draw them with NumPy from a fixed seed"
    )


def test_a_models_name_may_be_the_other_side(two):
    two.write(TWO.replace("over=layered", 'over="fake-model"').replace("at_least=1.2", "batch_size=8"))
    result = two.run("--junitxml=out.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["plain[[]b8[]] over fake-model *"])
    assert two.properties["metal_parity"] == "they differ in depth not given and 1, and so do their losses"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("plain, over=plain", "metal_speedup compares plain[[]b8[]]@cpu:fake with itself: *"),
        ("plain, over=3", "over is a dict of axes such as {'precision': 'mixed_float16'}, or another model, got 3"),
        ("plain, of=layered", "of is a dict of axes such as {'precision': 'mixed_float16'}, got <function layered*"),
        ("plain, over='fake-modle'", "unknown model 'fake-modle': did you mean 'fake-model'[?] *"),
    ],
)
def test_what_is_no_second_model_is_said(two, call, said):
    two.write(TWO.replace("plain, over=layered", call))
    result = two.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{said}"])
