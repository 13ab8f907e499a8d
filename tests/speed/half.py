"""Half precision and devices without Keras: `python -m pytest tests/speed/half.py --metal-backend torch -s`.

`metal_speedup` checks first that both sides compute the same. Prints the ratio with its interval.
"""

from __future__ import annotations

import layers
import pytest


@pytest.fixture
def builder(request):
    return layers.BUILDERS[request.config.getoption("--metal-backend")]


def test_half_precision(metal_speedup, builder):
    found = metal_speedup(
        builder, of={"precision": "mixed_bfloat16"}, over={"precision": "float32"}, device="gpu", name="half"
    )
    print(f"\nmixed_bfloat16 over float32: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")


def test_gpu_over_cpu(metal_speedup, builder):
    found = metal_speedup(builder, width=1024, batch_size=1024, depth=8, at_least=1.5, name="devices")
    print(f"\nGPU over CPU: {found.value:.1f} ({found.low:.1f} to {found.high:.1f})")
