"""The reference models on every backend: they train, and from the same weights compute the same.

Fresh workers, as a session starts them, on the CPU. Cases share a model's first figures, so the file runs in one process
(pytest-xdist: `--dist loadfile`).
"""

from __future__ import annotations

import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
from real_fleet import real_fleet
from small_models import CLASSES

from pytest_metalperf.measure.worker import Worker, WorkerError
from pytest_metalperf.worker.backends import BACKENDS, PRECISIONS
from pytest_metalperf.worker.models import REFERENCE_MODELS

OF_KERAS = [name for name in BACKENDS if name != "mlx" or find_spec("keras_mlx")]
"""Those that Keras trains on here."""
OTHERS = [name for name in OF_KERAS if name != "tensorflow"]
FORWARD = 1e-5  # relative; float32 sums in another order. Seen: 2e-7
GRADIENT = 3e-4  # seen: 7e-5, DenseNet121's


kept: dict[str, Worker] = {}
"""By backend: the process in which one case after the other trains, where a fresh process is not the point.

Importing a framework takes longer than training the small model.
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with real_fleet(tmp_path_factory) as fleet:
        yield fleet
        kept.clear()


def prepared(fleet, backend, name):
    """A worker that has built a reference model, at half its smallest size: what is compared does not depend on it."""
    model = REFERENCE_MODELS[name]
    with pytest.MonkeyPatch.context() as patch:
        # XLA takes half as long to compile, and most of a case is that; what is computed is ours and JAX' to define
        patch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
        worker = fleet.start()
    worker.ask(
        "prepare",
        backend=backend,
        source={"kind": "reference", "package": "models", "name": model.build},
        name=name,
        device="cpu",
        axes={**model.sizes["quick"], "image_size": 32},
        seed=0,
    )
    return worker


def parity(load="", save=""):
    """The request; a worker removes what it has loaded, so it gets a copy."""
    copy = f"{load}.{uuid.uuid4().hex}" if load else ""
    if load:
        shutil.copy(load, copy)
    return "parity", {"load": copy, "save": save}


def answers(fleet, worker, *requests, keep=False):
    """What a worker answers; it ends with that, or with its first error where it is to be kept."""
    for what, arguments in requests:
        worker.ask(what, **arguments)
    try:
        fleet.wait([worker])
        return dict(worker.results)
    except WorkerError:
        keep = False
        raise
    finally:
        if not keep:
            worker.kill()


@pytest.fixture(
    scope="module",
    params=[name for name, model in REFERENCE_MODELS.items() if "image_size" in model.axes],
)
def reference(request, fleet):
    """A model's name, its weights on TensorFlow before any training, and the loss and gradient from them."""
    path = str(fleet.folder / f"{request.param}.npz")
    found = answers(fleet, prepared(fleet, "tensorflow", request.param), parity(save=path))
    return request.param, path, found["parity"], found["prepare"]["parameters"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in OTHERS])
def test_trains_and_computes_what_tensorflow_does(fleet, reference, backend):
    name, weights, theirs, parameters = reference
    found = answers(
        fleet,
        prepared(fleet, backend, name),
        parity(load=weights),
        ("first_batch", {}),
        ("warm_up", {"batches": 2}),
        ("measure", {"batches": 2, "least_blocks": 2, "least_seconds": 0.0}),
        ("finish", {}),
    )
    ours = found["parity"]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=FORWARD)
    assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=GRADIENT)
    assert found["prepare"]["parameters"] == found["finish"]["work"]["parameters"] == parameters
    assert found["warm_up"]["changed_variables"] == found["warm_up"]["trainable_variables"]
    assert found["finish"]["work"]["traces"] in (1, None)
    assert found["finish"]["peak_memory_bytes"] > 0


# axes, on a small model


HERE = Path(__file__).parents[1] / "support"


def small(fleet, backend, *requests, function="small", fresh=False, **axes):
    """The answers on a small model, from a fresh process or the backend's kept one, which an error ends."""
    worker = (None if fresh else kept.pop(backend, None)) or fleet.start()
    worker.results.clear()
    file = str(HERE / "small_models.py")
    source = {"kind": "import", "module": "small_models", "file": file, "name": function, "root": str(HERE)}
    worker.ask("prepare", backend=backend, source=source, name="small", device="cpu", axes=axes, seed=0)
    if fresh:
        return answers(fleet, worker, *requests)
    found = answers(fleet, worker, *requests, keep=True)
    kept[backend] = worker
    return found


TRAINED = [
    ("first_batch", {}),
    ("warm_up", {"batches": 2}),
    ("measure", {"batches": 3, "least_blocks": 3, "least_seconds": 0.0}),
    ("finish", {}),
]


def on(*backends):
    """One case for each of these backends, marked with what it needs."""
    return pytest.mark.parametrize(
        "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in backends]
    )


every_backend = on(*OF_KERAS)


@pytest.fixture(scope="module")
def plain(fleet):
    """What each backend makes of the small model at all defaults, trained; its first weights are kept."""
    found = {}

    def of(backend):
        if backend not in found:
            path = str(fleet.folder / f"small-{backend}.npz")
            found[backend] = path, small(fleet, backend, parity(save=path), *TRAINED, fresh=True)
        return found[backend]

    return of


@every_backend
def test_small_model_trains_and_is_looked_at(plain, backend):
    _, found = plain(backend)
    work = found["finish"]["work"]
    assert found["warm_up"]["changed_variables"] == found["warm_up"]["trainable_variables"] == 6
    assert found["prepare"]["examples"] == 8
    assert work["parameters"] == found["prepare"]["parameters"] == 3 * 3 * 3 * 8 + 8 + 4 * 8 + 8 * CLASSES + CLASSES
    assert work["operations_on_cpu"] == {}
    # the convolution's output and its gradient for the weights, two operations a product; little else
    assert work["flop"] == pytest.approx(2 * 2 * 8 * 7 * 7 * 8 * 27, rel=0.35)
    assert found["finish"]["last_loss"] < 4  # a single loss, no running mean, and no sum of two
    assert set(found["prepare"]["versions"]) >= {backend, "keras", "numpy", "python"}


@every_backend
@pytest.mark.parametrize("kind", ["host", "pipeline"])
def test_input_comes_from_the_host(fleet, plain, backend, kind):
    _, found = plain(backend)
    other = small(fleet, backend, *TRAINED, input=kind)
    assert other["first_batch"]["first_loss"] == pytest.approx(found["first_batch"]["first_loss"], rel=1e-5)
    assert other["warm_up"]["changed_variables"] == 6


@every_backend
@pytest.mark.parametrize(
    ("axes", "within"),
    [
        ({"remat": True}, 1e-5),
        ({"remat": True, "precision": "mixed_bfloat16"}, 0.05),
        ({"precision": "mixed_bfloat16"}, 0.05),
        ({"jit_compile": True}, 1e-5),
    ],
    ids=["remat", "remat-mixed_bfloat16", "mixed_bfloat16", "jit"],
)
def test_axes_change_how_and_not_what_is_computed(fleet, plain, backend, axes, within):
    if backend == "torch" and "jit_compile" in axes:
        pytest.skip("torch.compile needs a compiler, and a minute")
    if backend == "mlx" and "remat" in axes:
        pytest.skip("is refused there")
    weights, found = plain(backend)
    other = small(fleet, backend, parity(load=weights), *TRAINED, **axes)
    for figure in ("loss", "gradient_norm"):
        assert other["parity"][figure] == pytest.approx(found["parity"][figure], rel=within)
    assert other["warm_up"]["changed_variables"] == 6
    if axes == {"remat": True} and backend != "torch":
        assert other["finish"]["work"] != found["finish"]["work"]  # something is computed twice


@on(*(name for name in OF_KERAS if name != "mlx"))
def test_a_state_is_updated_once_a_step_under_remat(fleet, backend):
    """Of a model that is built only when it sees its batch: what batch normalization has seen is in its loss."""
    steps = [request for request in TRAINED if request[0] != "measure"]  # of which there are as many as a clock says
    plain, other = (small(fleet, backend, *steps, function="unbuilt", remat=remat) for remat in (False, True))
    assert other["finish"]["last_loss"] == pytest.approx(plain["finish"]["last_loss"], rel=1e-5)


@pytest.mark.mlx
@pytest.mark.skipif("mlx" not in OF_KERAS, reason="Keras does not train on MLX here")
def test_keras_checkpoints_nothing_on_mlx(fleet):
    with pytest.raises(WorkerError, match="Keras checkpoints no layers on MLX: leave remat out for small"):
        small(fleet, "mlx", remat=True, fresh=True)


@on(*(name for name in OF_KERAS if name != "mlx"))
def test_layers_inside_a_layer_are_checkpointed(fleet, backend):
    plain, other = (small(fleet, backend, *TRAINED[:2], function="wrapped", remat=remat) for remat in (False, True))
    assert other["first_batch"]["first_loss"] == pytest.approx(plain["first_batch"]["first_loss"], rel=1e-5)


@every_backend
def test_doubles_are_cast_as_fit_casts_them(fleet, plain, backend):
    found = small(fleet, backend, *TRAINED, function="doubles", input="host")
    assert found["first_batch"]["first_loss"] == pytest.approx(plain(backend)[1]["first_batch"]["first_loss"], rel=1e-5)


@pytest.mark.jax
def test_jax_without_compilation(fleet, plain):
    weights, found = plain("jax")
    other = small(fleet, "jax", parity(load=weights), *TRAINED, jit_compile=False)
    assert other["parity"]["loss"] == pytest.approx(found["parity"]["loss"], rel=1e-5)
    assert other["finish"]["work"]["operations"] == {}


@pytest.mark.tensorflow
def test_tensorflow_computes_its_parity_in_a_graph_as_it_trains(fleet):
    found = small(fleet, "tensorflow", parity(), *TRAINED[:1], function="right_in_eager")
    assert found["parity"]["loss"] == pytest.approx(found["first_batch"]["first_loss"], rel=1e-4)


@every_backend
def test_half_precision_scales_its_gradient(fleet, plain, backend):
    weights, found = plain(backend)
    other = small(fleet, backend, parity(load=weights), precision="mixed_float16")
    assert other["parity"]["gradient_norm"] == pytest.approx(found["parity"]["gradient_norm"], rel=0.05)


# the fingerprint


@every_backend
def test_fingerprint_is_the_same_in_every_process(fleet, plain, backend):
    assert small(fleet, backend, *TRAINED, fresh=True)["finish"]["work"] == plain(backend)[1]["finish"]["work"]


@every_backend
@pytest.mark.parametrize("axes", [{"planted": "extra"}, {"optimizer": "sgd"}], ids=["operation", "optimizer"])
def test_fingerprint_shows_planted_changes(fleet, plain, backend, axes):
    work, before = small(fleet, backend, *TRAINED, **axes)["finish"]["work"], plain(backend)[1]["finish"]["work"]
    assert work["operations"] != before["operations"]


@pytest.mark.tensorflow
def test_fingerprint_shows_a_retrace(fleet, plain):
    assert plain("tensorflow")[1]["finish"]["work"]["traces"] == 1
    assert small(fleet, "tensorflow", *TRAINED, planted="retrace")["finish"]["work"]["traces"] == 2


@on("tensorflow", "torch")
def test_fingerprint_shows_an_operation_that_a_gpu_would_leave_to_the_cpu(fleet, plain, backend):
    """Which of them the CPU does shows where there is a GPU (`tests/speed/fingerprints.py --device gpu`)."""
    work, before = (
        small(fleet, backend, *TRAINED, planted="on_cpu")["finish"]["work"],
        plain(backend)[1]["finish"]["work"],
    )
    assert work["operations"] != before["operations"]
    assert work["operations_on_cpu"] == {}  # of a run on a CPU


@every_backend
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_rate_of_a_product_is_of_the_arithmetic_that_trains(fleet, backend, precision):
    """How fast it is, is the machine's; that there is one, and of what, is not."""
    found = small(fleet, backend, *TRAINED, ("product", {}), precision=precision)
    computes_in = PRECISIONS[precision]
    trained_in = {computes_in}
    if (backend, precision) == ("torch", "float32"):  # of which CUDA rounds convolutions alone to TF32 by default
        trained_in.add("float32 convolution")
    assert set(found["finish"]["arithmetic"]) == trained_in
    product = found["product"]
    if "too slow to find a peak" in product["because"]:  # emulated half precision on a loaded machine
        assert product["rate"] is None
    else:
        assert product == {"rate": product["rate"], "arithmetic": computes_in, "because": ""}
        assert product["rate"] > 0


@on("tensorflow", "jax")
def test_flop_are_of_one_batch_however_many_a_call_trains(fleet, plain, backend):
    _, one = plain(backend)
    several = small(fleet, backend, *TRAINED, function="several")["finish"]["work"]
    assert several["flop"] in (one["finish"]["work"]["flop"], None)


@on("tensorflow", "jax")
def test_flop_of_a_loop_are_unknown(fleet, backend):
    loop, plain = (
        small(fleet, backend, *TRAINED, function="recurrent", unroll=unroll)["finish"]["work"]["flop"]
        for unroll in (False, True)
    )
    assert loop is None
    assert plain > 8 * 16 * 2 * (48 + 4) * 16  # of the forward pass


# what cannot be


@pytest.mark.tensorflow
def test_a_batch_that_does_not_fit_is_named(fleet):
    with pytest.raises(WorkerError) as error:
        small(fleet, "tensorflow", function="too_large", batch_size=64, fresh=True)
    assert error.value.kind == "memory"
    assert error.value.message == (
        "the cpu ran out of memory training small with batches of 64"
        " (MemoryError: OOM when allocating tensor with shape[1024,1024])"
    )


@every_backend
def test_a_step_has_no_model_to_look_at(fleet, backend):
    found = small(fleet, backend, parity(), *TRAINED, function="step_only")
    assert found["parity"] == {"loss": None, "gradient_norm": None}
    # whose operations are seen as they are dispatched, or as far as the step leaves them to be computed
    assert (found["finish"]["work"] is None) == (backend not in ("torch", "mlx"))
    assert "whether weights change (parameters)" in found["prepare"]["unknown"]


@on("tensorflow", "torch")
def test_a_step_may_show_a_keras_model(fleet, backend):
    found = small(fleet, backend, *TRAINED, function="step_shown")
    assert found["warm_up"]["changed_variables"] == found["warm_up"]["trainable_variables"] == 6
    assert found["prepare"]["parameters"] >= 3 * 3 * 3 * 8 + 8 + 2 * 8 + 8 * CLASSES + CLASSES
    assert found["prepare"]["unknown"] == []


@pytest.mark.tensorflow
def test_axes_that_a_step_does_not_hear_of_are_refused(fleet):
    with pytest.raises(WorkerError) as error:
        small(fleet, "tensorflow", function="step_only", fresh=True, remat=True, input="pipeline", jit_compile=False)
    assert error.value.kind == "builder"
    assert error.value.message == (
        "small returns a step, which remat and input cannot reach: let the builder take that as an argument"
    )


@every_backend
@pytest.mark.parametrize("device", ["gpu", "gpu:3"])
def test_a_gpu_that_is_not_there(fleet, backend, device):
    missing = fleet.probe(backend, device).missing
    if missing:
        called = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "mlx": "MLX"}[backend]
        assert missing.startswith(f"{called} sees no ")
        assert "\n" not in missing


def test_a_backend_that_is_not_installed(fleet, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(fleet.folder))
    (fleet.folder / "torch.py").write_text("raise ImportError('No module named torch')\n")
    try:
        with pytest.raises(WorkerError) as error:
            fleet.probe("torch", "cpu")
    finally:
        (fleet.folder / "torch.py").unlink()
    assert error.value.kind == "backend"
    assert "PyTorch cannot be imported by CPython" in error.value.message
    assert error.value.message.endswith("pip install 'pytest-metalperf[torch]'")


@pytest.mark.tensorflow
def test_compilation_that_keras_takes_back_is_told(fleet):
    with pytest.raises(WorkerError, match="Keras does not compile small because of turned: leave jit_compile out"):
        small(fleet, "tensorflow", function="not_for_xla", fresh=True, jit_compile=True)


@every_backend
@pytest.mark.parametrize(("function", "drawn"), [("draws", True), ("small", False)])
def test_a_model_that_draws_at_random_is_found_out(fleet, backend, function, drawn):
    assert small(fleet, backend, parity(), *TRAINED, function=function)["parity"]["drawn"] == drawn


@on("tensorflow", "jax")  # on PyTorch Keras' own fit fails with a stateful layer
def test_a_stateful_layer_is_no_draw(fleet, backend):
    found = small(fleet, backend, parity(), *TRAINED, function="stateful")
    assert not found["parity"]["drawn"]
