"""What a step may return and a batch may be: what `fit` trains is trained, what diverges or is another work is refused."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import value_models

BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "torch", "jax")]
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@functools.cache  # one process of each framework for all cases
def outcomes(backend):
    done = subprocess.run(
        [sys.executable, value_models.__file__, backend],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(value_models.__file__).parent,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@every_backend
@pytest.mark.parametrize("builder", value_models.TRAIN, ids=lambda one: one.__name__)
def test_what_fit_trains_is_trained(backend, builder):
    if (backend, builder) == ("jax", value_models.own_step_without_call):
        pytest.skip("a train step of JAX is a function of its state")
    if (backend, builder) == ("torch", value_models.recurrent_and_stateful):
        pytest.skip("Keras 3.15 does not train it on PyTorch by fit either")
    assert outcomes(backend)[builder.__name__].startswith("trained")


@every_backend
@pytest.mark.parametrize(
    ("builder", "sentence"), value_models.REFUSED.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_is_no_training_is_refused(backend, builder, sentence):
    assert sentence in outcomes(backend)[builder.__name__]


@every_backend
@pytest.mark.parametrize("kind", ["host", "pipeline"])
def test_several_inputs_come_from_the_host_too(backend, kind):
    assert outcomes(backend)[f"dict {kind}"].startswith("trained")


@every_backend
def test_half_precision_that_nothing_computes_in_is_refused(backend):
    sentence = "parameters of {} are in layers that compute in float16, which precision mixed_float16 asks for"
    assert f"0 of 145 {sentence.format('bfloat16_layer')}" in outcomes(backend)["half"]
    assert f"513 of 9,217 {sentence.format('mostly_float32')}" in outcomes(backend)["mostly float32"]


@every_backend
def test_half_precision_that_a_step_does_not_take_is_refused(backend):
    assert "returns a step, which precision cannot reach" in outcomes(backend)["half of a step"]


@pytest.mark.tensorflow
def test_an_optimizer_that_nothing_uses_stays_unbuilt():
    assert outcomes("tensorflow")["unused"] == "trained 17 2"
