"""Our step against the framework's own: `python tests/speed/step.py --backend jax --device gpu --model resnet50v2 --size full`.

Three of the same model in one process take turns: our step as a run times it, Keras' `fit` on batches that lie on the
device, and a loop written by hand around the same model (no metrics, no checks). Prints seconds per batch of each, and the
ratios ours / theirs with quartiles over the rounds. Small images in small batches (`--image 32 --batch 1`) leave what the
host does for a step, which is all that the three can differ in.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from pytest_metalperf.worker.backends import BACKENDS
from pytest_metalperf.worker.loop import run_block
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.worker.sources import load

LEAST_SECONDS = 0.5
"""Of one turn."""


def fit(backend: Any, model: Any, batch: Any) -> Callable[[int], float]:
    """Seconds per batch of `fit`, which answers for so many steps less what an epoch costs by itself."""
    given = tuple(part for part in batch if part is not None)

    def batches() -> Any:
        while True:
            yield given

    if backend.framework == "tensorflow":
        data = backend.tf.data.Dataset.from_tensors(given).repeat()
        if backend.device != "cpu":
            data = data.apply(backend.tf.data.experimental.prefetch_to_device(backend.place_name, 2))
    else:
        data = batches()

    def epoch(steps: int) -> float:
        start = time.perf_counter()
        model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)
        return time.perf_counter() - start

    return lambda steps: (epoch(2 * steps + 1) - epoch(steps + 1)) / steps


def by_hand(backend: Any, model: Any, batch: Any) -> Callable[[int], float]:
    """Seconds per batch of the loop that the framework's guide writes."""
    step, value = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[backend.framework](backend, model, batch)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        value(loss)
        return (time.perf_counter() - start) / steps

    return seconds


def _tensorflow(backend: Any, model: Any, batch: Any) -> tuple[Callable[[], Any], Callable[[Any], float]]:
    tf = backend.tf
    x, y = batch[0], batch[1] if len(batch) > 1 else None

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        weights = [variable.value for variable in model.trainable_variables]
        model.optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)
        return loss

    return step, lambda loss: float(loss + 0)


def _torch(backend: Any, model: Any, batch: Any) -> tuple[Callable[[], Any], Callable[[Any], float]]:
    torch = backend.torch
    x, y = batch[0], batch[1] if len(batch) > 1 else None

    def step() -> Any:
        loss = model.compute_loss(x, y, model(x, training=True))
        model.zero_grad()
        loss.backward()
        weights = model.trainable_variables
        with torch.no_grad():
            model.optimizer.apply([variable.value.grad for variable in weights], weights)
        return loss

    return step, lambda loss: float(loss.detach() + 0)


def _jax(backend: Any, model: Any, batch: Any) -> tuple[Callable[[], Any], Callable[[Any], float]]:
    jax = backend.jax
    x, y = batch[0], batch[1] if len(batch) > 1 else None
    where = backend.where

    def loss_of(trained: Any, others: Any, x: Any, y: Any) -> Any:
        outputs, others = model.stateless_call(trained, others, x, training=True)
        loss, _ = model.stateless_compute_loss(trained, others, [], x=x, y=y, y_pred=outputs)
        return loss, others

    def update(state: Any, x: Any, y: Any) -> Any:
        trained, others, optimizer = state
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained, others, x, y)
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        return loss, (trained, others, optimizer)

    jitted = jax.jit(update, donate_argnums=0)
    parts = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    state = [jax.device_put(tuple([variable.value for variable in part] for part in parts), where)]

    def step() -> Any:
        loss, state[0] = jitted(state[0], x, y)
        return loss

    return step, lambda loss: float(loss + 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow", choices=sorted(BACKENDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="resnet50v2-head", choices=sorted(REFERENCE_MODELS))
    parser.add_argument("--size", default="quick", choices=("quick", "standard", "full"))
    parser.add_argument("--image", type=int, help="pixels, in the place of the size's own")
    parser.add_argument("--batch", type=int, help="examples, in the place of the size's own")
    parser.add_argument(
        "--ours-last", action="store_true", help="build ours after the others, which moves it in memory"
    )
    parser.add_argument("--rounds", type=int, default=12)
    asked = parser.parse_args()

    backend = load({"kind": "reference", "package": "backends", "name": BACKENDS[asked.backend]})()
    backend.place(asked.device, "float32", 0)
    model = REFERENCE_MODELS[asked.model]
    given = {key: value for key, value in (("image_size", asked.image), ("batch_size", asked.batch)) if value}
    axes = {**model.sizes[asked.size], **given}

    def built() -> tuple[Any, Any]:
        made, host = model.builder()(**axes)
        made.optimizer.build(made.trainable_variables)
        return made, host

    def ours() -> Callable[[int], float]:
        trainable = backend.trainable(built(), asked.model, {})
        return lambda steps: run_block(trainable, steps, time.perf_counter)[0]

    def theirs(way: Callable[..., Callable[[int], float]]) -> Callable[[int], float]:
        made, host = built()
        made.jit_compile = asked.backend == "jax"
        return way(backend, made, backend._there(host))

    makers = {"ours": ours, "fit": lambda: theirs(fit), "by hand": lambda: theirs(by_hand)}
    ways = {name: makers[name]() for name in (list(makers)[::-1] if asked.ours_last else makers)}
    for seconds in ways.values():  # trace, compile, and bring clocks up
        seconds(2)
    steps = max(3, round(LEAST_SECONDS / max(ways["ours"](5), 1e-4)))
    rounds: list[dict[str, float]] = []
    for number in range(asked.rounds):
        order = list(ways) if number % 2 == 0 else list(ways)[::-1]
        rounds.append({name: ways[name](steps) for name in order})
    place = f"{asked.model}[{axes['image_size']}px,b{axes['batch_size']}]@{asked.device}:{asked.backend}"
    milliseconds = {name: 1000 * statistics.median(one[name] for one in rounds) for name in ways}
    print(f"{place}: " + ", ".join(f"{name} {value:.3f} ms" for name, value in milliseconds.items()))
    for name in ("fit", "by hand"):
        low, middle, high = statistics.quantiles([one["ours"] / one[name] for one in rounds], n=4)
        print(
            f"{place}: ours / {name} {middle:.4f} (quartiles {low:.4f} to {high:.4f}, {asked.rounds} rounds of {steps})"
        )


if __name__ == "__main__":
    main()
