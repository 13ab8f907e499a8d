"""What share of the device a step uses: `python tests/speed/ceiling.py --model resnet50v2 --size full --batch 32`.

Two ceilings are measured on the device with JAX: the rate of a large product in the precision that the step multiplies in,
and the bandwidth of a large copy (bytes read and written). The step's FLOP (convolutions and products, from its
fingerprint) over the first and its bytes (what XLA's cost analysis says that its fusions read and write) over the second
are the times that it cannot go below; they are printed beside the time that it takes.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from pytest_metalperf.worker.backends import BACKENDS
from pytest_metalperf.worker.backends.keras import build_all
from pytest_metalperf.worker.models import REFERENCE_MODELS, ReferenceModel
from pytest_metalperf.worker.product import product_rate
from pytest_metalperf.worker.sources import load

OF_KERAS = [name for name, model in REFERENCE_MODELS.items() if not model.backend]


def seconds_of(work: Callable[[], Any], jax: Any, repeats: int = 10) -> float:
    """The median of some turns, after two that are not counted."""
    taken = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        jax.block_until_ready(work())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def ceilings(backend: Any, dtype: str, copied: int) -> tuple[float, float]:
    """FLOP/s of a product, and bytes/s of a copy."""
    jax = backend.jax
    source = jax.random.normal(jax.random.key(2), (copied // 4,), "float32")
    copy = jax.jit(lambda a: a + 1)
    rate = product_rate(backend.multiplication(dtype), backend.fence, backend.clock)
    return rate, 2 * copied / seconds_of(lambda: copy(source), jax)


def step_of(backend: Any, model: ReferenceModel, axes: dict[str, int]) -> tuple[float, float, float]:
    """Seconds, FLOP and bytes of a compiled step."""
    made, host = model.builder()(**axes)
    made.jit_compile = True
    on_keras = backend.on_keras()
    batch = on_keras._there(host)
    build_all(made, batch, on_keras.keras, "jax")
    stepper = on_keras.stepper(made, True)

    def per_step(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            outputs = stepper(itertools.repeat(batch))
        backend.fence(outputs)
        return (time.perf_counter() - start) / steps

    per_step(3)
    steps = max(3, round(0.5 / max(per_step(3), 1e-4)))
    seconds = statistics.median(per_step(steps) for _ in range(5))
    stepper.release()
    said = stepper._step.lower(stepper._taken(), batch).compile().cost_analysis()
    return seconds, float(stepper.work(batch)["flop"]), float(said["bytes accessed"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="gpu")
    parser.add_argument(
        "--model",
        default="resnet50v2",
        choices=sorted(OF_KERAS),
    )
    parser.add_argument("--size", default="full", choices=("quick", "standard", "full"))
    parser.add_argument("--batch", type=int, nargs="*", default=[32])
    parser.add_argument("--precision", nargs="*", default=["float32"])
    parser.add_argument("--copied", type=int, default=2**31, help="bytes")
    asked = parser.parse_args()
    model = REFERENCE_MODELS[asked.model]
    backend = load({"kind": "reference", "package": "backends", "name": BACKENDS["jax"]})()
    backend.set_up(asked.device, asked.precision[0], 0)
    for precision in asked.precision:
        backend.on_keras().keras.config.set_dtype_policy(precision)
        dtype = precision.removeprefix("mixed_")
        rate, bandwidth = ceilings(backend, dtype, asked.copied)
        print(f"{dtype} product {rate / 1e12:.1f} TFLOP/s, copy {bandwidth / 1e12:.3f} TB/s", flush=True)
        for batch in asked.batch:
            seconds, flop, moved = step_of(backend, model, {**model.sizes[asked.size], "batch_size": batch})
            print(
                f"{asked.model} {asked.size} b{batch} {precision}: {1000 * seconds:.2f} ms;"
                f" {flop / 1e12:.2f} TFLOP need {1000 * flop / rate:.2f} ms, {moved / 1e9:.1f} GB need"
                f" {1000 * moved / bandwidth:.2f} ms; {flop / seconds / 1e12:.0f} TFLOP/s are"
                f" {100 * flop / seconds / rate:.0f} % of the product's",
                flush=True,
            )


if __name__ == "__main__":
    main()
