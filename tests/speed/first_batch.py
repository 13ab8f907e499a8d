"""Time to the first batch, against plain `compile` and `train_on_batch`.

Each side in fresh processes of the same environment, in turn. Counted from the built model to the first trained
batch: for us the optimizer's variables, the trace and the batch; plainly `train_on_batch` alone, which does all three.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

GOALS = {"densenet121": 0.6, "cyclegan": 0.75}
NAMES = ("resnet50v2-head", "resnet50v2", "mobilenetv3", "densenet121", "cyclegan", "style-transfer")

CHILD = """
import sys, time
from pytest_metalperf.worker.backends.tensorflow import TensorFlow
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.worker.sources import load
side, name = sys.argv[1:]
backend = TensorFlow()
backend.set_up("cpu", "float32", 0)
model = REFERENCE_MODELS[name]
built, batch = load({"kind": "reference", "package": "models", "name": model.build})(**model.sizes["quick"])
start = time.perf_counter()
if side == "ours":
    trainable = backend.trainable((built, batch), name, {})
    trainable.fence(trainable.step())
else:
    built.train_on_batch(*batch)
print(time.perf_counter() - start)
"""


def seconds(side: str, name: str) -> float:
    """One fresh process."""
    done = subprocess.run([sys.executable, "-c", CHILD, side, name], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="pairs of fresh processes (default: 3)")
    parser.add_argument("names", nargs="*", default=NAMES)
    asked = parser.parse_args()
    for name in asked.names:
        pairs = [(seconds("ours", name), seconds("plain", name)) for _ in range(asked.rounds)]
        ratios = sorted(ours / plain for ours, plain in pairs)
        print(
            f"first batch of {name}: ours {statistics.median(p[0] for p in pairs):.1f} s, plain"
            f" {statistics.median(p[1] for p in pairs):.1f} s; ratio {statistics.median(ratios):.2f}"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(pairs)} pairs in turn; goal {GOALS.get(name, 1.0):g})",
            flush=True,
        )


if __name__ == "__main__":
    main()
