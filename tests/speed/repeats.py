"""One `metal_speedup`, again and again: `python -m pytest tests/speed/repeats.py --metal-devices gpu -s`.

ResNet50V2 in half precision over float32, three fresh pairs each time. Prints each ratio, and at the end their spread.
"""

from __future__ import annotations

import statistics

import pytest

REPEATS = 5
seen: list[float] = []


@pytest.mark.metal_bench(max_runs=3)
@pytest.mark.parametrize("repeat", range(REPEATS))
def test_speedup(metal_speedup, repeat):
    speedup = metal_speedup(
        "resnet50v2",
        of={"precision": "mixed_bfloat16"},
        over={"precision": "float32"},
        device="gpu",
        name=f"repeat-{repeat}",
    )
    seen.append(speedup.value)
    spread = statistics.stdev(seen) / statistics.fmean(seen) if len(seen) > 1 else 0.0
    print(
        f"\nrepeat {repeat}: {speedup.value:.4f} ({speedup.low:.4f} to {speedup.high:.4f}); sd so far {100 * spread:.2f} %"
    )
