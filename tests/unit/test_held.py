"""What a step of the user's own holds is found wherever a step keeps it; which device PyTorch is asked for, without a GPU."""

from __future__ import annotations

import functools
import os
from types import SimpleNamespace

import pytest

from pytest_metalperf.worker.backends.torch import Torch
from pytest_metalperf.worker.held import held_by

MODEL = object()


class Trainer:
    def __init__(self, model):
        self.parts = {"models": [model]}

    def step(self):
        return 1.0


class Calls(Trainer):
    def __call__(self):
        return self.step()


def of_global():
    return MODEL


def through_a_helper():
    return of_global()


def by_default(model=MODEL):
    return model


@functools.wraps(of_global)
def wrapped(*arguments):
    return of_global(*arguments)


TRAINER = Trainer(MODEL)


@pytest.mark.parametrize(
    "step",
    [
        TRAINER.step,
        lambda: TRAINER.step(),
        Calls(MODEL),
        functools.partial(by_default, MODEL),
        functools.partial(Trainer.step, TRAINER),
        of_global,
        through_a_helper,
        by_default,
        wrapped,
    ],
)
def test_a_model_is_found_wherever_a_step_keeps_it(step):
    assert any(one is MODEL for one in held_by(step))


def test_what_holds_itself_comes_to_an_end():
    ring = []
    ring.append(ring)
    assert list(held_by(lambda: ring))


@pytest.mark.parametrize(
    ("version", "device", "called"),
    [
        ({"cuda": "12.8"}, "cpu", "cpu"),
        ({"cuda": "12.8"}, "gpu", "cuda:0"),
        ({"cuda": "12.8"}, "gpu:1", "cuda:1"),
        ({"cuda": None, "hip": "6.2"}, "gpu:1", "cuda:1"),
        ({"cuda": None}, "gpu", "mps"),
    ],
)
def test_hiding_asks_pytorch_for_no_device(monkeypatch, version, device, called):
    for name in ("KERAS_TORCH_DEVICE", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    backend = Torch.__new__(Torch)  # without the framework
    backend.torch = SimpleNamespace(version=SimpleNamespace(**version), backends=SimpleNamespace(mps=SimpleNamespace()))
    backend.hide(device)
    assert os.environ["KERAS_TORCH_DEVICE"] == called
    assert os.environ["CUDA_VISIBLE_DEVICES"] == os.environ["HIP_VISIBLE_DEVICES"] == ("-1" if device == "cpu" else "")
