"""Whether mixed precision, gradient checkpointing and an input pipeline pay here (opt-in; nothing is promised).

    pytest --pyargs pytest_metalperf.suite.what_pays [--metal-size full] [-k cyclegan]

Each is compared, interleaved, with its absence; below the table stand time, memory and energy of both.
"""

import pytest

from pytest_metalperf import MetalSpeedup

every_model = pytest.mark.parametrize(
    "model", ["resnet50v2", "mobilenetv3", "densenet121", "cyclegan", "style-transfer"]
)


@every_model
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(metal_speedup: MetalSpeedup, model: str, precision: str, metal_device: str) -> None:
    metal_speedup(model, of={"precision": precision}, over={"precision": "float32"}, device=metal_device)


@every_model
def test_gradient_checkpointing(metal_speedup: MetalSpeedup, model: str, metal_device: str) -> None:
    metal_speedup(model, of={"remat": True}, over={"remat": False}, device=metal_device)


@every_model
def test_input_pipeline(metal_speedup: MetalSpeedup, model: str, metal_device: str) -> None:
    metal_speedup(model, of={"input": "pipeline"}, over={"input": "host"}, device=metal_device)


@every_model
def test_compilation(metal_speedup: MetalSpeedup, model: str, metal_device: str) -> None:
    metal_speedup(model, of={"jit_compile": True}, over={"jit_compile": False}, device=metal_device)
