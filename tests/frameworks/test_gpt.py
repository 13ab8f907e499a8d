"""GPT-2 in Keras and in three frameworks: from the same weights the same loss and gradient norm, and the same training."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from real_fleet import real_fleet

from pytest_metalperf.measure.worker import WorkerError
from pytest_metalperf.worker.models import REFERENCE_MODELS, _gpt

TINY = {"batch_size": 2, "context": 32, "layers": 2, "vocabulary": 96}
NETWORK = {key: TINY[key] for key in ("context", "layers", "vocabulary")}
STEPS = 6  # before the loss is looked at again: the first batch, and five to warm up
LOSS, GRADIENT_NORM = 4.643226, 4.366600  # at the first weights; NumPy's forward pass below has the same loss
LATER = 2.517887  # the loss after these steps and one that warming up ends with
FORWARD, GRADIENT = 5e-6, 5e-4  # relative: two of them are 1e-5 and 1e-3 apart at most. Seen: 1e-7 and 3e-6
TRAINED = 1e-5  # Keras adds AdamW's epsilon before it divides by the bias of the second moment. Seen: 6e-7

VARIANTS = [
    pytest.param(name, backend, marks=getattr(pytest.mark, backend), id=f"{name}-on-{backend}")
    for name, backend in (
        ("gpt", "tensorflow"),
        ("gpt", "torch"),
        ("gpt", "jax"),
        ("gpt-torch", "torch"),
        ("gpt-jax", "jax"),
        ("gpt-mlx", "mlx"),
    )
]


def leaves(nested):
    """The arrays in nested dicts and lists."""
    if isinstance(nested, np.ndarray):
        return [nested]
    return [leaf for part in (nested.values() if isinstance(nested, dict) else nested) for leaf in leaves(part)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with real_fleet(tmp_path_factory) as fleet:
        yield fleet


def answers(fleet, name, backend, requests=(), **axes):
    """What a fresh worker says of a tiny one."""
    source = {"kind": "reference", "package": "models", "name": REFERENCE_MODELS[name].build}
    worker = fleet.start()
    try:
        worker.ask("prepare", backend=backend, source=source, name=name, device="cpu", axes={**TINY, **axes}, seed=0)
        for what, arguments in requests:
            worker.ask(what, **arguments)
            fleet.wait([worker])
            yield worker.results.get(what)
        if not requests:
            fleet.wait([worker])
        yield worker.results["prepare"]
    finally:
        worker.kill()


PARITY = ("parity", {"load": "", "save": ""})
TRAINING = [PARITY, ("first_batch", {}), ("warm_up", {"batches": STEPS - 1}), PARITY, ("finish", {}), ("imports", {})]


@pytest.mark.parametrize(("name", "backend"), VARIANTS)
def test_all_compute_and_train_the_same(fleet, name, backend):
    before, first, warmed, after, end, imports, prepared = answers(fleet, name, backend, TRAINING)
    weights = leaves(_gpt.first_weights(**NETWORK))
    count = sum(array.size for array in weights)
    assert before["loss"] == pytest.approx(LOSS, rel=FORWARD)
    assert before["gradient_norm"] == pytest.approx(GRADIENT_NORM, rel=GRADIENT)
    assert before["weights"] == sum(int(array.view("uint32").sum(dtype="uint64")) for array in weights)
    assert not before["drawn"]
    assert first["first_loss"] == pytest.approx(LOSS, rel=FORWARD)
    assert after["loss"] == pytest.approx(LATER, rel=TRAINED)
    assert prepared["parameters"] == end["work"]["parameters"] == count
    assert warmed["changed_variables"] == warmed["trainable_variables"] == len(weights)
    assert prepared["examples"] == TINY["batch_size"]
    assert prepared["unknown"] == []
    assert end["work"]["operations"]
    # an update costs three forward passes; attention's products are counted whole, its scores again where they are computed again
    dense = count - sum(a.size for a in weights if a.ndim < 2) - TINY["context"] * _gpt.width_of(TINY["layers"])
    attended = 2 * TINY["context"] * _gpt.width_of(TINY["layers"]) * TINY["layers"]
    again = 7 / 6 if backend == "torch" else 1
    small = 0.01 if backend == "tensorflow" else 0.001  # which counts some smaller operations too
    assert end["work"]["flop"] == pytest.approx(3 * 2 * 2 * 32 * (dense + again * attended), rel=small)
    assert ("keras" in imports["files"]) is (name == "gpt")


@pytest.mark.parametrize(("name", "backend"), [one for one in VARIANTS if one.values[1] != "mlx"])
def test_bfloat16_is_near(fleet, name, backend):
    before, *_ = answers(fleet, name, backend, [PARITY, ("first_batch", {})], precision="mixed_bfloat16")
    assert before["loss"] == pytest.approx(LOSS, rel=1e-3)
    assert before["loss"] != pytest.approx(LOSS, rel=1e-7)
    assert before["gradient_norm"] == pytest.approx(GRADIENT_NORM, rel=0.02)


@pytest.mark.parametrize(
    ("name", "backend", "precision", "said"),
    [
        pytest.param("gpt-jax", "jax", "mixed_float16", "gpt-jax scales no loss, without which", marks=pytest.mark.jax),
        pytest.param("gpt-mlx", "mlx", "mixed_bfloat16", "gpt-mlx returns a module, which", marks=pytest.mark.mlx),
    ],
)
def test_a_precision_that_it_has_not_is_refused(fleet, name, backend, precision, said):
    with pytest.raises(WorkerError, match=said):
        list(answers(fleet, name, backend, precision=precision))


# what it is


def test_forward_pass():
    """By NumPy in float64, from the paper and the authors' code."""
    weights = _gpt.first_weights(**NETWORK)
    x, y = _gpt.tokens(batch_size=2, context=32, vocabulary=96)

    def norm(part, h):
        exact = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
        return exact * part["scale"] + part["bias"]

    def dense(part, h):
        return h @ part["kernel"] + part["bias"]

    def heads(h):
        return h.reshape(2, 32, 2, 64).transpose(0, 2, 1, 3)

    h = weights["token"].astype("float64")[x] + weights["position"]
    for block in weights["blocks"]:
        q, k, v = map(heads, np.split(dense(block["qkv"], norm(block["norm_1"], h)), 3, axis=-1))
        scores = np.where(np.tri(32, dtype=bool), q @ k.swapaxes(-1, -2) / math.sqrt(64), -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        attended = shares / shares.sum(-1, keepdims=True) @ v
        h = h + dense(block["projection"], attended.transpose(0, 2, 1, 3).reshape(h.shape))
        up = dense(block["up"], norm(block["norm_2"], h))
        gelu = up / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        h = h + dense(block["down"], gelu)
    logits = norm(weights["norm"], h) @ weights["token"].T
    likely = np.take_along_axis(logits, y[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    assert -likely.mean() == pytest.approx(LOSS, rel=FORWARD)


@pytest.mark.parametrize(("size", "parameters"), [("quick", 10_795_008), ("full", 124_439_808)])
def test_counts(size, parameters, monkeypatch):
    """GPT-2 small has 124,439,808, the tokens' embeddings counted once; nothing is drawn for it."""
    axes = {key: value for key, value in REFERENCE_MODELS["gpt"].sizes[size].items() if key != "batch_size"}

    class Blank:
        @staticmethod
        def standard_normal(shape, dtype):
            return np.zeros(shape, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Blank)
    assert sum(array.size for array in leaves(_gpt.first_weights(**axes))) == parameters


def test_weights_and_tokens_are_the_same_each_time():
    for one, other in zip(leaves(_gpt.first_weights(**NETWORK)), leaves(_gpt.first_weights(**NETWORK)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
    (x, y), again = (_gpt.tokens(batch_size=4, context=64, vocabulary=256) for _ in range(2))
    np.testing.assert_array_equal((x, y), again)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])  # each is the one that follows
    assert (x.shape, x.dtype) == (y.shape, y.dtype) == ((4, 64), np.int32)
    assert 0 <= x.min() < x.max() <= 255


def test_first_weights_are_spread_as_the_authors_code_spreads_them():
    weights = _gpt.first_weights(context=256, layers=4, vocabulary=512)
    block = weights["blocks"][0]
    for kernel, deviation in (
        (weights["token"], 0.02),
        (weights["position"], 0.01),
        (block["qkv"]["kernel"], 0.02),
        (block["projection"]["kernel"], 0.02 / math.sqrt(8)),
        (block["down"]["kernel"], 0.02 / math.sqrt(8)),
    ):
        assert kernel.std() == pytest.approx(deviation, rel=0.02)


def test_the_catalogue_alone_imports_no_framework():
    assert {model.backend for name, model in REFERENCE_MODELS.items() if name.startswith("gpt-")} == {
        "torch",
        "jax",
        "mlx",
    }
    assert "pytest_metalperf.worker.models.gpt_torch" not in sys.modules
