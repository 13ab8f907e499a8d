"""Our step against the framework's own: `python tests/speed/step.py --backend jax --device gpu --model resnet50v2 --size full`.

Five of the same model in one process take turns, in another order each round: our step as a run times it, Keras' `fit` on
batches that lie on the device, a loop of nothing but Keras' `train_step` (not with JAX, where `fit` does not use it), a loop
written by hand (no metrics, no checks), and that loop once more, which shows by how much two of the same differ. Prints
seconds per batch of each and the ratios, for every process (each second one builds ours last, which moves it in memory) and
over all. Small images in small batches (`--image 32 --batch 1`) leave what the host does for a step, which is all that they
can differ in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from ways import compared, in_turn, timed

from pytest_metalperf.worker.backends import BACKENDS
from pytest_metalperf.worker.loop import run_block
from pytest_metalperf.worker.models import REFERENCE_MODELS
from pytest_metalperf.worker.sources import load
from pytest_metalperf.workloads.workload import Workload

OURS, FIT, KERAS, HAND, AGAIN = "ours", "fit", "Keras' train_step", "by hand", "by hand again"
RATIOS = (OURS, FIT), (OURS, KERAS), (OURS, HAND), (KERAS, HAND), (AGAIN, HAND)
OF_KERAS = [name for name, model in REFERENCE_MODELS.items() if not model.backend]


def fit(backend: Any, model: Any, batch: Any) -> Callable[[int], float]:
    """Seconds per batch of `fit`, from the end of its first step to the end of its last but one."""
    from keras import tree

    given = tuple(part for part in batch if part is not None)

    def batches() -> Any:
        while True:
            yield given

    if backend.framework == "tensorflow":
        data = backend.tf.data.Dataset.from_tensors(given).repeat()
        if backend.device != "cpu":
            data = data.apply(backend.tf.data.experimental.prefetch_to_device(backend.device_name, 2))
    else:
        data = batches()
    model.make_train_function()
    called = model.train_function

    def seconds(steps: int) -> float:
        begun: list[float] = []
        last: Any = None

        def noted(*arguments: Any) -> Any:
            nonlocal last
            if last is not None:
                if len(begun) in (0, steps):
                    float(tree.flatten(last)[0] + 0)
                begun.append(time.perf_counter())
            last = called(*arguments)
            return last

        model.train_function = noted
        model.fit(data, steps_per_epoch=steps + 2, epochs=1, verbose=0)
        return (begun[steps] - begun[0]) / steps

    return seconds


def train_step(backend: Any, model: Any, batch: Any) -> Callable[[int], float]:
    """Seconds per batch of Keras' own step, called by nothing else."""
    given = tuple(part for part in batch if part is not None)
    step = backend.tf.function(model.train_step) if backend.framework == "tensorflow" else model.train_step
    return timed(lambda: step(given)["loss"], lambda loss: float(loss + 0))


def by_hand(backend: Any, model: Any, batch: Any) -> Callable[[int], float]:
    """Seconds per batch of the loop that the framework's guide writes."""
    return timed(*{"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[backend.framework](backend, model, batch))


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


def measured(asked: argparse.Namespace, ours_last: bool) -> list[dict[str, float]]:
    """Seconds per batch of each way in each round, in this process."""
    backend = load({"kind": "reference", "package": "backends", "name": BACKENDS[asked.backend]})()
    backend.set_up(asked.device, "float32", 0)
    axes = axes_of(asked)

    def built() -> tuple[Any, Any]:
        made, host = REFERENCE_MODELS[asked.model].builder()(**axes)
        made.optimizer.build(made.trainable_variables)
        return made, host

    def ours() -> Callable[[int], float]:
        trainable = backend.trainable(built(), asked.model, {})
        return lambda steps: run_block(trainable, steps, time.perf_counter)[0]

    def theirs(way: Callable[..., Callable[[int], float]]) -> Callable[[int], float]:
        made, host = built()
        made.jit_compile = asked.backend == "jax"
        return way(backend, made, backend.on_keras()._there(host))

    makers = {OURS: ours, FIT: lambda: theirs(fit), KERAS: lambda: theirs(train_step)}
    makers |= {HAND: lambda: theirs(by_hand), AGAIN: lambda: theirs(by_hand)}
    if asked.backend == "jax":
        del makers[KERAS]
    ways = {name: makers[name]() for name in (list(makers)[::-1] if ours_last else makers)}
    return in_turn(ways, OURS, asked.rounds)


def axes_of(asked: argparse.Namespace) -> dict[str, Any]:
    """The size's, but for what was asked."""
    given = {key: value for key, value in (("image_size", asked.image), ("batch_size", asked.batch)) if value}
    return {**REFERENCE_MODELS[asked.model].sizes[asked.size], **given}


def main() -> None:
    """Measure in fresh processes, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow", choices=sorted(set(BACKENDS) - {"mlx"}))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="resnet50v2-head", choices=sorted(OF_KERAS))
    parser.add_argument("--size", default="quick", choices=("quick", "standard", "full"))
    parser.add_argument("--image", type=int, help="pixels, in the place of the size's own")
    parser.add_argument("--batch", type=int, help="examples, in the place of the size's own")
    parser.add_argument("--rounds", type=int, default=12, help="in each process")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()

    axes = axes_of(asked)
    place = Workload(asked.model, asked.device, asked.backend, axes).id
    compared(place, measured, asked, RATIOS)


if __name__ == "__main__":
    main()
