"""Which batch size trains most examples a second here, and what it costs in memory (opt-in).

    pytest --pyargs pytest_metalperf.suite.batch_sizes [--metal-size full] [-k mobilenetv3]

The line below the table names the best; a size that does not fit is told and left out.
Nothing is stored unless it is asked for, and only what has a baseline is gated.
"""

import pytest

from pytest_metalperf import MetalBench

pytestmark = pytest.mark.metal_bench(on_missing="warn")


@pytest.mark.parametrize("batch_size", [32, 64, 128, 256])
@pytest.mark.parametrize("model", ["resnet50v2", "mobilenetv3", "densenet121"])
def test_batch_size(metal_bench: MetalBench, model: str, batch_size: int) -> None:
    metal_bench(model, batch_size=batch_size)
