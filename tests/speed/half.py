"""Half precision and devices without Keras: `python -m pytest tests/speed/half.py --metal-backend torch -s`.

`metal_speedup` checks first that both sides compute the same, by a shorthand and by a `Step` that shows its loss and gradient.
Prints the ratio with its interval.
"""

from __future__ import annotations

import layers
import pytest


@pytest.fixture
def builder(request):
    return layers.BUILDERS[request.config.getoption("--metal-backend")]


how = pytest.mark.parametrize("how", ["shorthand", "step"])


@how
def test_half_precision(metal_speedup, builder, how):
    sides = {"of": {"precision": "mixed_bfloat16"}, "over": {"precision": "float32"}}
    said("mixed_bfloat16 over float32", how, metal_speedup(builder, **sides, how=how, device="gpu", name="half"))


@how
def test_gpu_over_cpu(metal_speedup, builder, how):
    size = {"width": 1024, "batch_size": 1024, "depth": 8}
    said("GPU over CPU", how, metal_speedup(builder, **size, how=how, at_least=1.5, name="devices"))


def said(what, how, found):
    print(f"\n{what}, {how}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f}); parity: {found.parity}")
