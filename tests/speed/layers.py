"""Builders without Keras for the commands of this folder: equal dense layers and a batch, in PyTorch, JAX and MLX.

Each returns its framework's shorthand, or with `how="step"` a `Step` around the loop that the framework's guide writes.
"""

from __future__ import annotations

from typing import Any

TENTH = 0.1
"""Of a layer's output, so that a deep stack without normalisation neither vanishes nor overflows: it is added to its input."""


def data(width: int, batch_size: int) -> tuple[Any, Any]:
    """Inputs of shape (batch, width) and targets of shape (batch, 1), float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(batch_size, width)).astype("float32"), rng.normal(size=(batch_size, 1)).astype("float32")


def torch_layers(
    device: Any,
    depth: int = 20,
    width: int = 4096,
    batch_size: int = 4096,
    how: str = "shorthand",
    planted: str = "",
    precision: str = "float32",
) -> Any:
    """PyTorch's, with SGD, by autocast in the half that a mixed `precision` names.

    `planted` adds what the fingerprint must see: `extra` an operation, `on_cpu` one on the CPU.
    """
    import torch

    class Layer(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            return torch.add(x, super().forward(x), alpha=TENTH)

    class Planted(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.cpu().tanh().to(x.device) if planted == "on_cpu" else x.tanh()

    layers = [Layer(width, width) for _ in range(depth)] + ([Planted()] if planted else [])
    module = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1)).to(device)
    optimizer = torch.optim.SGD(module.parameters(), 1e-4)
    loss_fn = torch.nn.functional.mse_loss
    x, y = (torch.as_tensor(array).to(device) for array in data(width, batch_size))

    half = torch.float32 if precision == "float32" else getattr(torch, precision.removeprefix("mixed_"))

    def loss_of() -> Any:
        with torch.autocast(x.device.type, half, enabled=half != torch.float32):
            return loss_fn(module(x), y)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss

    def loss_and_gradient() -> Any:
        loss = loss_of()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        return loss.detach(), torch.sqrt(sum((gradient.float() ** 2).sum() for gradient in gradients))

    if how == "shorthand":
        return module, optimizer, loss_fn, (x, y)
    from pytest_metalperf import Step

    return Step(step, parameters=module, examples=batch_size, loss_and_gradient=loss_and_gradient)


def jax_layers(
    device: Any,
    depth: int = 20,
    width: int = 4096,
    batch_size: int = 4096,
    how: str = "shorthand",
    planted: str = "",
    precision: str = "float32",
) -> Any:
    """JAX' own, with gradient descent; computes in the half that a mixed `precision` names."""
    import jax

    dtype = precision.removeprefix("mixed_")
    sizes = [*[width] * (depth + 1), 1]
    keys = jax.random.split(jax.random.key(0), len(sizes))
    weights = [width**-0.5 * jax.random.normal(key, pair) for key, *pair in zip(keys, sizes, sizes[1:], strict=False)]
    state, batch = jax.device_put(({"params": weights}, data(width, batch_size)), device)

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        x = x.astype(dtype)
        for weight in weights[:-1]:
            x = x + TENTH * (x @ weight.astype(dtype))
        x = jax.numpy.tanh(x) if planted else x
        return (((x @ weights[-1].astype(dtype)).astype("float32") - y) ** 2).mean()

    def step_fn(state: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(state["params"], *batch)
        return {"params": jax.tree.map(lambda w, g: w - 1e-4 * g, state["params"], gradients)}, loss

    if how == "shorthand":
        return step_fn, state, batch
    from pytest_metalperf import Step

    update, held = jax.jit(step_fn, donate_argnums=0), [state]

    @jax.jit
    def loss_and_gradient(weights: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, *batch)
        return loss, sum((gradient**2).sum() for gradient in gradients) ** 0.5

    def step() -> Any:
        held[0], loss = update(held[0], batch)
        return loss

    shown = {"parameters": lambda: held[0]["params"], "program": (update, state, batch)}
    parity = {"loss_and_gradient": lambda: loss_and_gradient(held[0]["params"], batch)}
    return Step(step, examples=batch_size, **shown, **parity)


def mlx_layers(
    device: Any,
    depth: int = 20,
    width: int = 4096,
    batch_size: int = 4096,
    how: str = "shorthand",
    planted: str = "",
    precision: str = "float32",
) -> Any:
    """MLX' own, with SGD; computes in the half that a mixed `precision` names."""
    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optimizers
    from mlx.utils import tree_flatten

    dtype = getattr(mx, precision.removeprefix("mixed_"))

    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [width**-0.5 * mx.random.normal((width, width)) for _ in range(depth)]
            self.last = width**-0.5 * mx.random.normal((width, 1))

        def __call__(self, x: Any) -> Any:
            x = x.astype(dtype)
            for weight in self.weights:
                x = x + TENTH * (x @ weight.astype(dtype))
            return ((mx.tanh(x) if planted else x) @ self.last.astype(dtype)).astype(mx.float32)

    module, optimizer = Layers(), optimizers.SGD(1e-4)
    x, y = map(mx.array, data(width, batch_size))

    def loss_fn(module: Any, x: Any, y: Any) -> Any:
        return nn.losses.mse_loss(module(x), y)

    gradient = nn.value_and_grad(module, loss_fn)

    def step() -> Any:
        loss, gradients = gradient(module, x, y)
        optimizer.update(module, gradients)
        mx.eval(loss, module.parameters(), optimizer.state)
        return loss

    def loss_and_gradient() -> Any:
        loss, gradients = gradient(module, x, y)
        return loss, mx.linalg.norm(mx.concatenate([one.flatten() for _, one in tree_flatten(gradients)]))

    if how == "shorthand":
        return module, optimizer, loss_fn, (x, y)
    from pytest_metalperf import Step

    parameters = [module, optimizer]
    return Step(step, parameters=parameters, examples=batch_size, loss_and_gradient=loss_and_gradient)


BUILDERS = {"torch": torch_layers, "jax": jax_layers, "mlx": mlx_layers}
