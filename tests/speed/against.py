"""Trials of --metal-against on this machine: an interpreter with itself, and a training step made longer in a commit.

    python tests/speed/against.py [--same 20] [--longer 20] [--by 0.10]

Each trial is one pytest of a small project, three convolutions trained on 64 px images, in a git repository of its own:
`same` compares the working tree with this interpreter, `longer` compares a working tree whose step takes longer with
its last commit. Prints a line per trial and counts at the end. As a pytest plugin (`-p against`) this module is the
listener that reports a trial's figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_metalperf import Measurement

FILE = "METALPERF_TRIAL"

MODEL = """
import time

import keras
import numpy as np
from pytest_metalperf.worker.fence import read_back

LONGER = {longer}


def build(batch_size=8, image_size=64):
    images = keras.Input((image_size, image_size, 3))
    x = images
    for filters in (32, 64, 128):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    x = keras.ops.convert_to_tensor(random.random((batch_size, image_size, image_size, 3), dtype="float32"))
    y = keras.ops.convert_to_tensor(random.integers(10, size=batch_size))

    def step():
        start = time.perf_counter()
        loss = read_back(model.train_on_batch(x, y))
        end = start + (time.perf_counter() - start) * (1 + LONGER)
        while time.perf_counter() < end:
            pass
        return loss

    return step
"""

TEST = """
from model import build


def test_step(metal_bench):
    metal_bench(build, name="convolutions")
"""


def pytest_metalperf_measured(measurement: Measurement) -> None:
    """Report the trial's figures."""
    judgement, reference = measurement.judgement, measurement.reference
    assert judgement is not None, measurement.error
    assert reference is not None
    figures = {
        "verdict": measurement.verdict,
        "ratio": 1 + judgement.change,
        "low": 1 + judgement.change_low,
        "high": 1 + judgement.change_high,
        "pair_sd": judgement.run_sd,
        "pairs": len(measurement.runs),
        "measured_seconds": sum(
            sum(run.samples) * run.batches_per_block for run in [*measurement.runs, *reference.runs]
        ),
        "samples": [
            [list(one.samples), list(other.samples)]
            for one, other in zip(measurement.runs, reference.runs, strict=True)
        ],
    }
    Path(os.environ[FILE]).write_text(json.dumps(figures))


def trial(longer: float, keep: Path | None) -> dict:
    """One comparison in a fresh repository."""
    with tempfile.TemporaryDirectory() as folder:
        root, result = Path(folder) / "project", Path(folder) / "figures.json"
        root.mkdir()
        (root / "model.py").write_text(MODEL.format(longer=0.0))
        (root / "test_model.py").write_text(TEST)
        git = ["git", "-C", str(root), "-c", "user.name=trial", "-c", "user.email=trial@localhost"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "the step"]):
            subprocess.run([*git, *words], check=True)
        if longer:
            (root / "model.py").write_text(MODEL.format(longer=longer))
        path = os.pathsep.join([str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")])
        since = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "against", "-p", "no:cacheprovider", f"--rootdir={root}"),
                *("--metal-devices", "cpu", "--metal-size", "quick"),
                f"--metal-against={'HEAD' if longer else sys.executable}",
            ],
            cwd=root,
            env={**os.environ, FILE: str(result), "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if not result.exists():
            sys.exit(done.stdout + done.stderr)
        figures: dict = json.loads(result.read_text())
        figures["wall_seconds"] = time.monotonic() - since
        if keep is not None:
            with keep.open("a") as file:
                file.write(json.dumps({"longer": longer, **figures}) + "\n")
        return figures


def main() -> None:
    """All trials, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same", type=int, default=20)
    parser.add_argument("--longer", type=int, default=20)
    parser.add_argument("--by", type=float, default=0.10)
    parser.add_argument("--keep", type=Path, help="append every trial with its samples to this file")
    known = parser.parse_args()
    for name, longer, count in (("same", 0.0, known.same), (f"+{known.by:.0%}", known.by, known.longer)):
        results = []
        for number in range(count):
            one = trial(longer, known.keep)
            results.append(one)
            print(
                f"{name} {number + 1}: {one['verdict']}, ratio {one['ratio']:.4f} ({one['low']:.4f} to {one['high']:.4f}),"
                f" {one['pairs']} pairs that differ by {one['pair_sd']:.1%}, {one['measured_seconds']:.0f} s measured,"
                f" {one['wall_seconds']:.0f} s in all",
                flush=True,
            )
        if results:
            holds = sum(one["low"] <= 1 + longer <= one["high"] for one in results)
            slower = sum(one["verdict"] == "slower" for one in results)
            print(
                f"{name}: {slower} of {count} slower, {holds} of {count} intervals hold {1 + longer:g},"
                f" longest {max(one['measured_seconds'] for one in results):.0f} s of measuring,"
                f" {max(one['wall_seconds'] for one in results):.0f} s in all"
            )


if __name__ == "__main__":
    main()
