"""Keras 3 on PyTorch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from ..fingerprint import facts
from .keras import AHEAD, Batch, OnKeras, Stepper, loss_of, parameters_of
from .torch import Torch


class KerasOnTorch(OnKeras):
    """Keras on PyTorch."""

    def to_host(self, variable: Any) -> Any:
        value = variable.value.detach().cpu()
        return (
            value.float() if value.dtype == self.backend.torch.bfloat16 else value
        ).numpy()  # which NumPy does not know

    def lives_on(self, variable: Any) -> str:
        return "cpu" if variable.value.device.type == "cpu" else "gpu"

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self.backend, jit_compile)

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Batches are made and page-locked by a thread, as a DataLoader does it, and copied without waiting."""
        from keras import tree

        torch, where = self.backend.torch, self.backend.where
        pinned = where.type == "cuda"
        made: queue.Queue[Any] = queue.Queue(maxsize=AHEAD)

        def make() -> None:
            try:
                while True:
                    made.put(tree.map_structure(copied, batch))
            except Exception as error:  # page-locked memory may be short: told where somebody waits for it
                made.put(error)

        def copied(leaf: Any) -> Any:
            if leaf is None:
                return None
            tensor = torch.as_tensor(leaf).clone()
            return tensor.pin_memory() if pinned else tensor

        threading.Thread(target=make, daemon=True).start()
        while True:
            ready = made.get()
            if isinstance(ready, Exception):
                raise ready
            yield tree.map_structure(lambda t: None if t is None else t.to(where, non_blocking=True), ready)

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        model.zero_grad()
        # eagerly under jit_compile too: torch.compile takes Keras' whole step, and fails at this function
        loss = loss_of(model, batch)
        (loss * scale).backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        squares = sum(float((g.float() ** 2).sum()) for g in gradients if g is not None)
        model.zero_grad()
        return float(loss.detach()), squares


class _Stepper(Stepper):
    """Keras' train function, which takes a list of one batch."""

    def __init__(self, model: Any, backend: Torch, jit_compile: bool) -> None:
        super().__init__(model)
        self._backend = backend
        self._compiled = jit_compile
        model.make_train_function(force=True)  # one that the builder trained with knows nothing of our axes

    def __call__(self, batches: Iterator[Any]) -> Any:
        return self.model.train_function([next(batches)])

    def first(self, batches: Iterator[Any]) -> Any:
        return self._backend.noting_fallbacks(lambda: self(batches))

    def work(self, batch: Batch) -> dict[str, Any]:
        """One more step, looked at operation by operation; a compiled step hides them."""
        parameters = parameters_of(self.model)
        if self._compiled:
            return facts(parameters=parameters)
        return self._backend.looked_at(lambda: self.model.train_function([batch]), parameters)
