"""Steps without Keras, in PyTorch, JAX and MLX, and what a worker says of each; `main` tries them in one process."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.machinery import PathFinder
from types import SimpleNamespace

BATCH, FEATURES, WIDTH = 8, 16, 12


def arrays():
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, FEATURES)).astype("float32"), rng.normal(size=(BATCH, 1)).astype("float32")


def torch_parts(device, layers=1, extra=False, lr=0.1, dtype="float32"):
    import torch

    class Extra(torch.nn.Module):
        def forward(self, x):
            return torch.sin(x)

    hidden = [part for _ in range(layers) for part in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())]
    parts = [torch.nn.Linear(FEATURES, WIDTH), *hidden, *([Extra()] if extra else []), torch.nn.Dropout(0.5)]
    module = torch.nn.Sequential(*parts, torch.nn.Linear(WIDTH, 1)).to(getattr(torch, dtype)).to(device)
    x, y = (torch.as_tensor(array).to(device).to(getattr(torch, dtype)) for array in arrays())
    optimizer = torch.optim.Adam(module.parameters(), lr)
    loss_fn = torch.nn.functional.mse_loss

    def step():
        optimizer.zero_grad()
        loss = loss_fn(module(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return SimpleNamespace(short=(module, optimizer, loss_fn, (x, y)), step=step, shown=module, program=None)


def jax_parts(device, layers=1, extra=False, lr=0.1, dtype="float32"):
    import jax
    import jax.numpy as jnp

    sizes = [FEATURES, *[WIDTH] * (layers + 1), 1]
    keys = jax.random.split(jax.random.key(0), len(sizes))
    weights = [0.3 * jax.random.normal(key, size, dtype) for key, *size in zip(keys, sizes, sizes[1:], strict=False)]
    batch = arrays()

    def loss_of(weights, x, y):
        for weight in weights[:-1]:
            x = jax.nn.relu(x.astype(dtype) @ weight)
        return ((jnp.sin(x) if extra else x) @ weights[-1] - y).astype("float32").var()

    def step_fn(state, batch):
        loss, gradients = jax.value_and_grad(loss_of)(state["params"], *batch)
        updated = [w - (lr * g).astype(w.dtype) for w, g in zip(state["params"], gradients, strict=True)]
        return {"params": updated, "steps": state["steps"] + 1}, loss

    update = jax.jit(step_fn, donate_argnums=0)
    held = jax.device_put([{"params": weights, "steps": 0}], device)
    program = update, held[0], batch

    def step():
        held[0], loss = update(held[0], batch)
        return loss

    short = step_fn, {"params": list(weights), "steps": 0}, batch
    return SimpleNamespace(short=short, step=step, shown=lambda: held[0]["params"], program=program, stale=weights)


def mlx_parts(device, layers=1, extra=False, lr=0.1, dtype="float32"):
    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optimizers

    assert isinstance(device, mx.Device)
    hidden = [part for _ in range(layers) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    parts = [nn.Linear(FEATURES, WIDTH), *hidden, *([mx.sin] if extra else []), nn.Dropout(0.5)]
    module = nn.Sequential(*parts, nn.Linear(WIDTH, 1))
    module.set_dtype(getattr(mx, dtype))
    optimizer = optimizers.Adam(lr)
    x, y = map(mx.array, arrays())

    def loss_fn(module, x, y):
        return nn.losses.mse_loss(module(x), y)

    gradient = nn.value_and_grad(module, loss_fn)

    def step():
        loss, gradients = gradient(module, x, y)
        optimizer.update(module, gradients)
        return loss

    return SimpleNamespace(
        short=(module, optimizer, loss_fn, (x, y)), step=step, shown=[module, optimizer], program=None
    )


PARTS = {"torch": torch_parts, "jax": jax_parts, "mlx": mlx_parts}


def of(framework, kind, device, **how):
    """What a builder returns: the shorthand, a Step, or something that is refused."""
    from pytest_metalperf import Step

    parts = PARTS[framework](device, **how)
    if kind == "step":
        return Step(parts.step, parameters=parts.shown, examples=BATCH, program=parts.program)
    return {
        "short": lambda: parts.short,
        "bare": lambda: parts.step,
        "returns nothing": lambda: Step(lambda: None, parameters=parts.shown),
        "no arrays": lambda: Step(parts.step, parameters=[]),
        "no function": lambda: Step(5),
        "no batch": lambda: parts.short[:-1] if framework != "jax" else (*parts.short[:2], print),
        "handed over": lambda: Step(parts.step, parameters=parts.stale),
        "no program": lambda: Step(parts.step, parameters=parts.shown, program=(print,)),
    }[kind]()


def short(device, framework, layers=1, extra=False, lr=0.1, dtype="float32"):
    return of(framework, "short", device, layers=layers, extra=extra, lr=lr, dtype=dtype)


def takes_precision(device, framework, kind, precision):
    """Weights in that precision, as who trains in bfloat16 alone makes them."""
    return of(framework, kind, device, dtype=precision.removeprefix("mixed_"))


def other(device, framework, kind, dtype="float32"):
    return of(framework, kind, device, dtype=dtype)


def elsewhere(device, framework):
    parts = of(framework, "short", device)
    parts[0].to("meta")  # a place that no name says
    return parts


def every_second(device, framework):
    """Gradients of two batches are gathered before the weights change."""
    from pytest_metalperf import Step

    module, optimizer, loss_fn, (x, y) = of(framework, "short", device)
    turn = iter(range(10**9))

    def step():
        loss = loss_fn(module(x), y)
        loss.backward()
        if next(turn) % 2:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return Step(step, parameters=module)


def of_keras(device, framework):
    import keras

    return keras


def outcome(framework, builder, product=False, **axes):
    """What a worker tells of one run of it, or the sentence that refuses it; if asked, with the rate of a product."""
    from pytest_metalperf.worker.problems import Problem
    from pytest_metalperf.worker.serve import Job

    job = Job(lambda message: None)
    source = {"kind": "import", "module": "plain_steps", "file": __file__, "name": builder.__name__}
    try:
        built = job.prepare(framework, source, "mine", "cpu", {"framework": framework, **axes}, 0, {})
        found = {key: built[key] for key in ("parameters", "examples", "unknown")}
        found |= job.first_batch() | {"parity": job.parity("", "")}
        found |= job.warm_up(2)
        job.measure(2, 2, 0.0)
        found |= job.finish()
        return found | ({"product": job.product()} if product else {})
    except Problem as problem:
        return problem.message


def step_with_gradient(device):
    """JAX' step that keeps its state in a list, and computes its gradient itself."""
    import jax

    from pytest_metalperf import Step

    step_fn, state, batch = jax_parts(device).short
    held = [state]

    def step():
        held[0], loss = step_fn(held[0], batch)
        return loss

    def loss_and_gradient():
        loss, gradients = jax.value_and_grad(lambda weights: step_fn({"params": weights, "steps": 0}, batch)[1])(
            held[0]["params"]
        )
        return loss, sum((gradient**2).sum() for gradient in gradients) ** 0.5

    return Step(step, parameters=held, loss_and_gradient=loss_and_gradient)


JAX_CASES = "rbg", "threefry", "several", "no derivative", "no finite derivative"


def jax_case(device, case):
    """Functions of state and batch that parity is asked of."""
    import jax

    step_fn, state, batch = jax_parts(device).short
    implementation = "rbg" if case == "rbg" else "threefry2x32"

    def drops(state, batch):
        x, y = batch
        trained, loss = step_fn(state, (x * jax.random.bernoulli(state["key"], 0.5, x.shape), y))
        return trained | {"key": state["key"]}, loss

    def no_derivative(state, batch):
        weights, loss = step_fn(state, batch)
        return weights, jax.pure_callback(lambda value: value, jax.ShapeDtypeStruct((), "float32"), loss)

    def infinite(state, batch):
        state, loss = step_fn(state, batch)
        return state, loss + 1e-30 * jax.numpy.sqrt(0.0 * state["params"][0][0, 0])

    def several(state, batch):
        state, loss = step_fn(state, batch)
        return state, {"accuracy": state["steps"], "loss": loss}

    if case in ("rbg", "threefry"):
        return drops, state | {"key": jax.random.key(0, impl=implementation)}, batch
    return {
        "no derivative": (no_derivative, state, batch),
        "no finite derivative": (infinite, state, batch),
        "several": (several, state, batch),
        "donated": (jax.jit(step_fn, donate_argnums=0), state, batch),
    }[case]


def from_the_same_weights(framework, builder):
    """Loss and gradient of a model that was trained, and of a fresh one before and after it was given those weights."""
    from pytest_metalperf.worker.serve import Job

    source = {"kind": "import", "module": "plain_steps", "file": __file__, "name": builder.__name__}
    axes = {"framework": framework} if builder is short else {}
    trained, fresh = Job(lambda message: None), Job(lambda message: None)
    trained.prepare(framework, source, "mine", "cpu", axes, 0, {})
    trained.first_batch()
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/weights.npz"
        found = [trained.parity("", file)]
        fresh.prepare(framework, source, "mine", "cpu", axes, 1, {})
        return [*found, fresh.parity("", ""), fresh.parity(file, "")]


def reference_model(framework):
    """What is said of one where Keras is not installed."""
    from pytest_metalperf.worker.models import REFERENCE_MODELS
    from pytest_metalperf.worker.problems import Problem
    from pytest_metalperf.worker.serve import Job

    source = {"kind": "reference", "package": "models", "name": REFERENCE_MODELS["resnet50v2"].build}
    try:
        return Job(lambda message: None).prepare(framework, source, "resnet50v2", "cpu", {}, 0, {})
    except Problem as problem:
        return problem.message


class WithoutKeras(PathFinder):
    """Finds what is installed, but for Keras."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname == "keras" else super().find_spec(fullname, path, target)


def hide_keras():
    sys.meta_path[:] = [WithoutKeras if finder is PathFinder else finder for finder in sys.meta_path]


def main(framework):
    half = {"precision": "mixed_bfloat16"}
    found = {
        "short": outcome(framework, short, product=True),
        "again": outcome(framework, short),
        "layer": outcome(framework, short, layers=2),
        "extra": outcome(framework, short, extra=True),
        "frozen": outcome(framework, short, lr=0.0),
        "remat": outcome(framework, short, remat=True),
        "half": outcome(framework, short, **half),
        "half of its own": outcome(framework, takes_precision, kind="step", **half),
        "half under another name": outcome(framework, other, kind="step", dtype="bfloat16"),
    }
    kinds = ["step", "bare", "returns nothing", "no arrays", "no function"]
    kinds += ["handed over", "no program"] if framework == "jax" else []
    found |= {kind: outcome(framework, other, kind=kind) for kind in kinds}
    if framework == "torch":
        found["elsewhere"] = outcome(framework, elsewhere)
        found["every second"] = outcome(framework, every_second)
    if framework == "jax":
        found["nojit"] = outcome(framework, short, jit_compile=False)
        found["donated"] = outcome(framework, jax_case, case="donated", jit_compile=False)
        found |= {case: outcome(framework, jax_case, case=case) for case in JAX_CASES}
        found["parity of a step"] = from_the_same_weights(framework, step_with_gradient)
    found["parity"] = from_the_same_weights(framework, short)
    found["imported"] = "keras" in sys.modules
    if framework == "mlx":
        found["keras on mlx"] = outcome(framework, of_keras)
    hide_keras()
    found["of keras"] = outcome(framework, of_keras)
    found["no batch"] = outcome(framework, other, kind="no batch")
    found["reference"] = reference_model(framework)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
