"""What a framework layer costs: GPT-2 in Keras, and the same training step plainly in PyTorch, JAX and MLX (opt-in).

    pytest --pyargs pytest_metalperf.suite.gpt --metal-backend tensorflow,torch,jax [--metal-size full] [-k "not over_keras"]

`--metal-backend` says where Keras trains; each plain step has a backend of its own. All begin with the same weights and
compute the same step. Nothing is stored unless it is asked for, and only what has a baseline is gated.
"""

import pytest

from pytest_metalperf import MetalBench, MetalSpeedup


def on(backend: str) -> pytest.MarkDecorator:
    """A test on this backend, whatever the command line names."""
    return pytest.mark.metal_bench(backend=backend, on_missing="warn")


@pytest.mark.metal_bench(on_missing="warn")
def test_gpt(metal_bench: MetalBench) -> None:
    metal_bench("gpt")


@on("torch")
def test_gpt_torch(metal_bench: MetalBench) -> None:
    metal_bench("gpt-torch")


@on("jax")
def test_gpt_jax(metal_bench: MetalBench) -> None:
    metal_bench("gpt-jax")


@on("mlx")
def test_gpt_mlx(metal_bench: MetalBench) -> None:
    metal_bench("gpt-mlx")


@on("torch")
def test_torch_over_keras(metal_speedup: MetalSpeedup, metal_device: str) -> None:
    metal_speedup("gpt-torch", over="gpt", device=metal_device)


@on("jax")
def test_jax_over_keras(metal_speedup: MetalSpeedup, metal_device: str) -> None:
    metal_speedup("gpt-jax", over="gpt", device=metal_device)
