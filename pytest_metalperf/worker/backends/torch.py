"""PyTorch with Keras 3: the CPU, CUDA GPUs, and Apple's GPU through Metal Performance Shaders (MPS)."""

from __future__ import annotations

import math
import os
import platform
import queue
import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from ..fingerprint import facts
from . import PRECISIONS, process_peak_memory
from .keras import AHEAD, Batch, KerasBackend, Stepper, loss_of, named, parameters_of

_FALLBACK = re.compile(r"The operator '(?:aten::)?([^']+)' is not currently supported on the MPS backend")


class Torch(KerasBackend):
    """Keras on PyTorch."""

    framework = "torch"
    called = "PyTorch"
    install = "torch"
    packages = ("triton",)

    def import_framework(self) -> None:
        import torch

        self.torch = torch

    def versions(self) -> dict[str, str]:
        torch = self.torch
        found = {"torch": str(torch.__version__), **super().versions()}
        if torch.cuda.is_available():
            found["cuda"], found["cudnn"] = str(torch.version.cuda), str(torch.backends.cudnn.version())
        return found

    def devices(self) -> dict[str, str]:
        cuda = self.torch.cuda
        names = [cuda.get_device_name(index) for index in range(cuda.device_count())] if cuda.is_available() else []
        if not names and self.torch.backends.mps.is_available():
            names = ["Apple GPU (MPS)"]
        return named(names)

    def why_no_gpu(self) -> str:
        if platform.system() == "Darwin":
            if not self.torch.backends.mps.is_built():
                return ": this PyTorch was built without MPS"
            return f": its MPS backend needs a later macOS than {platform.mac_ver()[0]}, or a Mac with a GPU for Metal"
        return "" if self.torch.version.cuda else f": PyTorch {self.torch.__version__} was built without CUDA"

    def hide(self, device: str) -> None:
        super().hide(device)
        if device == "cpu":
            self.torch.backends.mps.is_available = lambda: False  # what people ask; no variable hides Apple's GPU
        os.environ["KERAS_TORCH_DEVICE"] = self._called(device)  # Keras reads it as it is imported, maybe by the user

    def _called(self, device: str) -> str:
        """As PyTorch calls a device, without asking for any: CUDA's variables are the user's to set until it begins."""
        version = self.torch.version
        if device == "cpu":
            return "cpu"
        return f"cuda:{device.partition(':')[2] or 0}" if version.cuda or getattr(version, "hip", None) else "mps"

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self.torch.manual_seed(seed)

    def scope(self) -> AbstractContextManager[Any]:
        """Not while steps run: PyTorch's default device costs every call that makes a tensor."""
        return nullcontext() if self.device == "cpu" else cast("AbstractContextManager[Any]", self.where)

    def device_object(self, device: str) -> Any:  # noqa: ARG002
        return self.where

    def where_is(self, value: Any) -> str:
        if not isinstance(value, self.torch.Tensor):
            return ""
        kind = value.device.type
        return f"gpu:{value.device.index or 0}".removesuffix(":0") if kind in ("cuda", "mps") else kind

    def weights_of(self, value: Any) -> Iterable[Any]:
        if isinstance(value, self.torch.nn.Module):
            return [weight for weight in value.parameters() if weight.requires_grad]
        if isinstance(value, self.torch.optim.Optimizer):
            return [weight for group in value.param_groups for weight in group["params"]]
        return ()

    def make_default(self, index: int) -> None:
        torch = self.torch
        self.where = torch.device("cpu")
        if self.device in self.devices() and self.device != "cpu":
            self.where = torch.device(f"cuda:{index}" if torch.cuda.is_available() else "mps")
        if self.where.type == "cuda":
            torch.cuda.set_device(self.where)
        os.environ["KERAS_TORCH_DEVICE"] = str(self.where)

    def fence(self, outputs: Any) -> float:
        value = super().fence(outputs)
        if self.where.type == "cuda":
            self.torch.cuda.synchronize(self.where)
        elif self.where.type == "mps":
            self.torch.mps.synchronize()
        return value

    def to_device(self, leaf: Any) -> Any:
        return self.torch.as_tensor(leaf).to(self.where, copy=True)

    def to_host(self, variable: Any) -> Any:
        value = variable.value.detach().cpu()
        return (value.float() if value.dtype == self.torch.bfloat16 else value).numpy()  # which NumPy does not know

    def lives_on(self, variable: Any) -> str:
        return "cpu" if variable.value.device.type == "cpu" else "gpu"

    def try_jit(self) -> None:
        float(self.torch.compile(lambda a: (a @ a).sum())(self.torch.ones((8, 8), device=self.where)))

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        return _Stepper(model, self, jit_compile)

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """Batches are made and page-locked by a thread, as a DataLoader does it, and copied without waiting."""
        from keras import tree

        torch, pinned = self.torch, self.where.type == "cuda"
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
            yield tree.map_structure(lambda t: None if t is None else t.to(self.where, non_blocking=True), ready)

    def computes_in(self, precision: str, step: Callable[[], Any]) -> bool | None:
        with _operations(on_gpu=False) as seen:
            step()
        return getattr(self.torch, PRECISIONS[precision]) in seen.dtypes

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        model.zero_grad()
        # eagerly under jit_compile too: torch.compile takes Keras' whole step, and fails at this function
        loss = loss_of(model, batch)
        (loss * scale).backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        squares = sum(float((g.float() ** 2).sum()) for g in gradients if g is not None)
        model.zero_grad()
        return float(loss.detach()), squares

    def peak_memory(self) -> int | None:
        """CUDA's allocator tells its peak. What Metal allocates is in the process: Apple's memory is one."""
        if self.where.type == "cuda":
            return int(self.torch.cuda.max_memory_allocated(self.where))
        return process_peak_memory()


class _Stepper(Stepper):
    """Keras' train function, which takes a list of one batch."""

    def __init__(self, model: Any, backend: Torch, jit_compile: bool) -> None:
        super().__init__(model)
        self._backend = backend
        self._compiled = jit_compile
        self._fallbacks: Counter[str] = Counter()
        model.make_train_function(force=True)  # one that the builder trained with knows nothing of our axes

    def __call__(self, batches: Iterator[Any]) -> Any:
        return self.model.train_function([next(batches)])

    def first(self, batches: Iterator[Any]) -> Any:
        """PyTorch warns of the first operation that Metal has not and the CPU does instead; of all, if it is told to."""
        if self._backend.where.type != "mps":
            return self(batches)
        torch = self._backend.torch
        before = torch.is_warn_always_enabled()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.set_warn_always(True)
            try:
                outputs = self(batches)
            finally:
                torch.set_warn_always(before)
        for warning in caught:
            self._fallbacks.update(_FALLBACK.findall(str(warning.message)))
        return outputs

    def work(self, batch: Batch) -> dict[str, Any]:
        """One more step, looked at operation by operation; a compiled step hides them."""
        parameters = parameters_of(self.model)
        if self._compiled:
            return facts(parameters=parameters)
        from torch.utils.flop_counter import FlopCounterMode

        backend = self._backend
        convolution = backend.torch.ops.aten.convolution_backward
        flop = FlopCounterMode(display=False, custom_mapping={convolution: convolution_backward_flop})
        with flop, _operations(on_gpu=backend.device != "cpu") as seen:
            backend.fence(self.model.train_function([batch]))
        return facts(
            operations=seen.operations,
            on_cpu=seen.on_cpu + self._fallbacks,
            flop=float(flop.get_total_flops()) or None,
            parameters=parameters,
        )


def convolution_backward_flop(
    grad_out: Any,
    images: Any,
    kernel: Any,
    *rest: Any,
    **_: Any,
) -> int:
    """Of a convolution's gradients: each that is asked for costs what the forward pass does.

    Shapes as PyTorch's counter hands them over. Its own formula takes a grouped convolution's gradient for that of one
    without groups, which makes seven times as much of MobileNetV3's step.
    """
    transposed, mask = rest[4], rest[7]
    positions = math.prod(images if transposed else grad_out)
    return int(2 * positions * math.prod(kernel[1:]) * sum(map(bool, mask[:2])))


def _operations(*, on_gpu: bool) -> Any:
    """A mode that counts operations as they are dispatched, those whose results lie on the CPU, and the dtypes of results."""
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    class Operations(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.operations: Counter[str] = Counter()
            self.on_cpu: Counter[str] = Counter()
            self.dtypes: set[Any] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
            self.operations[name] += 1
            tensors = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            self.dtypes |= {tensor.dtype for tensor in tensors}
            if on_gpu and any(tensor.device.type == "cpu" and tensor.dim() for tensor in tensors):
                self.on_cpu[name] += 1
            return out

    return Operations()
