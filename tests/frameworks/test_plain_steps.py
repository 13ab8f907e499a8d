"""Training without Keras, in PyTorch, JAX and MLX: what is recorded and gated, what is looked at, and what is refused."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import plain_steps
import pytest

FRAMEWORKS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in plain_steps.PARTS]
every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)
SHORT = {"torch": "module", "jax": "step function", "mlx": "module"}
PARAMETERS = {"torch": 16 * 12 + 12 + 12 * 12 + 12 + 12 + 1, "jax": 16 * 12 + 12 * 12 + 12}
PARAMETERS["mlx"] = PARAMETERS["torch"]


@functools.cache  # one process of each framework for all cases
def outcomes(framework):
    done = subprocess.run(
        [sys.executable, plain_steps.__file__, framework],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(plain_steps.__file__).parent,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SUITE = """
    from plain_steps import of

    def build(device, layers=LAYERS, batch_size=8):
        return of("{framework}", "{kind}", device, layers=layers)

    def test_it(metal_bench):
        metal_bench(build, name="mine")
"""


@every_framework
@pytest.mark.parametrize("kind", ["short", "step"])
def test_it_is_recorded_and_gated_and_a_layer_more_is_seen(suite, framework, kind):
    """By its work alone: a tolerance of 900 % leaves nothing to the clock."""
    suite.pytester.syspathinsert(Path(plain_steps.__file__).parent)
    suite.ini(metal_backend=framework, metal_strict_work="on", metal_tolerance="900%", metal_on_missing="fail")
    written = SUITE.format(framework=framework, kind=kind)
    suite.write(written.replace("LAYERS", "1"))
    quick = "--metal-size=quick", "--metal-runs=1", "--metal-max-runs=2", "--metal-confirm=stored", "--metal-force"
    suite.run(*quick, "--metal-update-baselines").assert_outcomes(passed=1)
    assert list(suite.stored) == [f"mine[b8]@cpu:{framework}"]
    suite.run(*quick).assert_outcomes(passed=1)
    suite.write(written.replace("LAYERS", "2"))
    result = suite.run(*quick)
    result.assert_outcomes(failed=1)
    before = PARAMETERS[framework]
    more = before + 12 * 12 + (0 if framework == "jax" else 12)
    result.stdout.fnmatch_lines([f"*operations * -> *parameters {before} -> {more}*"])


@every_framework
def test_no_plain_step_imports_keras(framework):
    assert outcomes(framework)["imported"] is False


@every_framework
def test_the_shorthand_is_looked_at(framework):
    found, again = outcomes(framework)["short"], outcomes(framework)["again"]
    assert found["parameters"] == found["work"]["parameters"] == PARAMETERS[framework]
    assert found["examples"] == plain_steps.BATCH
    assert found["unknown"] == []
    assert found["changed_variables"] == found["trainable_variables"] > 0
    assert found["last_loss"] is not None
    assert found["work"]["operations"]
    assert found["work"] == again["work"]
    assert found["work"]["traces"] == (1 if framework == "jax" else None)
    # three products forward, five backward, two operations each
    assert found["work"]["flop"] == 2 * 8 * (2 * 16 * 12 + 3 * 12 * 12 + 3 * 12)
    assert found["arithmetic"] == ["float32"]
    product = found["product"]
    if "too slow to find a peak" not in product["because"]:  # on a loaded machine
        assert product == {"rate": product["rate"], "arithmetic": "float32", "because": ""}
        assert product["rate"] > 0


PARITY = [pytest.param(*one.values, "parity", marks=one.marks) for one in FRAMEWORKS]
PARITY.append(pytest.param("jax", "parity of a step", marks=pytest.mark.jax))


@pytest.mark.parametrize(("framework", "parity"), PARITY)
def test_loss_and_gradient_are_those_of_the_other_sides_weights(framework, parity):
    """Without dropout, which no two devices draw alike."""
    trained, fresh, given = outcomes(framework)[parity]
    for figure in ("loss", "gradient_norm"):
        assert given[figure] == pytest.approx(trained[figure], rel=1e-5)
        assert fresh[figure] != pytest.approx(trained[figure], rel=1e-3)
    assert not fresh["drawn"]


@pytest.mark.jax
@pytest.mark.parametrize("case", ["short", "several", "nojit", "donated"])
def test_jax_derives_the_loss_that_a_function_of_state_and_batch_returns(case):
    """By the weights alone, as the function itself does: asked after its first step."""
    expected = outcomes("jax")["parity"][0]
    for figure in ("loss", "gradient_norm"):
        assert outcomes("jax")[case]["parity"][figure] == pytest.approx(expected[figure], rel=1e-5)


@pytest.mark.jax
@pytest.mark.parametrize("case", ["no derivative", "no finite derivative"])
def test_nobody_knows_the_gradient_of_a_function_without_derivative(case):
    assert outcomes("jax")[case]["parity"] == {"loss": None, "gradient_norm": None}


@pytest.mark.jax
@pytest.mark.parametrize(("case", "drawn"), [("rbg", True), ("threefry", False)])
def test_numbers_that_each_device_draws_otherwise_are_drawn(case, drawn):
    assert outcomes("jax")[case]["parity"]["drawn"] is drawn


@every_framework
@pytest.mark.parametrize("planted", ["layer", "extra"])
def test_the_fingerprint_shows_planted_changes(framework, planted):
    found = outcomes(framework)
    assert found[planted]["work"]["operations"] != found["short"]["work"]["operations"]


@every_framework
def test_half_precision(framework):
    """By autocast in PyTorch; elsewhere the builder has to take it."""
    found = outcomes(framework)
    if framework == "torch":
        assert found["half"]["first_loss"] == pytest.approx(found["short"]["first_loss"], rel=0.05)
        assert found["half"]["work"]["operations"] != found["short"]["work"]["operations"]
    else:
        assert found["half"] == (
            f"mine returns a {SHORT[framework]}, which precision cannot reach: let the builder take that as an argument"
        )
    assert found["half of its own"]["changed_variables"] > 0
    parameters = f"{PARAMETERS[framework]} of {PARAMETERS[framework]} parameters of mine are bfloat16"
    remedy = "let the builder take `precision`, and ask for mixed_bfloat16"
    assert found["half under another name"] == f"{parameters}, and its name says precision float32: {remedy}"


@every_framework
def test_an_axis_that_cannot_act_is_refused(framework):
    assert outcomes(framework)["remat"] == (
        f"mine returns a {SHORT[framework]}, which remat cannot reach: let the builder take that as an argument"
    )


@every_framework
def test_a_step_is_checked_by_what_it_shows(framework):
    found = outcomes(framework)["step"]
    assert found["parameters"] == PARAMETERS[framework]
    assert (found["unknown"], found["examples"]) == ([], plain_steps.BATCH)
    assert found["changed_variables"] == found["trainable_variables"]
    assert found["work"]["operations"]


@every_framework
def test_a_function_alone_shows_nothing_of_itself(framework):
    found = outcomes(framework)["bare"]
    if framework == "mlx":  # whose update waits for somebody who asks for it
        assert found.startswith("the step of mine leaves a part of its state uncomputed")
        assert "Step(step, parameters=[model, optimizer])" in found
        return
    program = ["its operations (program)"] if framework == "jax" else []
    assert found["unknown"] == ["whether weights change (parameters)", "examples a second (examples)", *program]
    assert found["changed_variables"] is None


@every_framework
@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            "frozen",
            "trainable weights of mine changed while warming up: the step does not train (is the learning rate 0, or",
        ),
        ("returns nothing", "the step returned None; it must return a value computed on the device"),
        ("no arrays", "the `parameters` of mine hold no array of "),
        ("no function", "`run` of mine is no function that trains once"),
        ("of keras", "mine needs Keras, which is not installed: pip install 'pytest-metalperf[keras]'"),
        ("reference", "resnet50v2 needs Keras, which is not installed: pip install 'pytest-metalperf[keras]'"),
    ],
)
def test_what_is_no_training_is_refused(framework, case, sentence):
    assert sentence in outcomes(framework)[case]


@every_framework
def test_a_shorthand_that_is_none_is_refused(framework):
    found = outcomes(framework)["no batch"]
    if framework == "jax":
        assert (
            found
            == "the batch of mine holds a builtin_function_or_method, which jax.jit does not take: keep arrays alone in it"
        )
    else:
        assert "returned a tuple of 3 (Sequential, Adam, " in found
        assert "`return module, optimizer, loss_fn, (x, y)`" in found


@pytest.mark.torch
def test_steps_that_differ_from_one_to_the_next_have_no_fingerprint():
    found = outcomes("torch")["every second"]
    assert found["work"] is None
    assert found["no_work_because"] == "two steps in a row do not do the same work"


@pytest.mark.torch
def test_parameters_elsewhere_are_refused():
    assert outcomes("torch")["elsewhere"] == (
        "the parameters of mine lie on meta, and its name says cpu: let the builder declare an argument `device`, and put"
        " them there"
    )


@pytest.mark.mlx
@pytest.mark.tensorflow  # with which Keras is there
@pytest.mark.skipif(find_spec("keras_mlx") is not None, reason="Keras trains on MLX here")
def test_keras_without_its_side_of_mlx_is_refused():
    said = outcomes("mlx")["keras on mlx"]
    assert " here: for MLX pip install keras-mlx, and a Keras that takes it (keras-nightly), or take" in said
    assert said.endswith("--metal-backend tensorflow, torch or jax")


@pytest.mark.jax
def test_jax_arrays_that_were_handed_over_are_no_parameters():
    assert outcomes("jax")["handed over"].endswith("by a function, `parameters=lambda: state`")


@pytest.mark.jax
def test_jax_program_is_a_jitted_function():
    assert outcomes("jax")["no program"].startswith(
        "`program` of mine is a function that jax.jit made and its arguments"
    )


@pytest.mark.jax
def test_jax_without_compilation_counts_nothing():
    assert outcomes("jax")["nojit"]["work"] is None
    assert outcomes("jax")["nojit"]["first_loss"] == pytest.approx(outcomes("jax")["short"]["first_loss"], rel=1e-5)
