"""PyTorch: the CPU, CUDA GPUs, and Apple's GPU through Metal Performance Shaders (MPS)."""

from __future__ import annotations

import math
import os
import platform
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

from ..fingerprint import facts
from ..loop import Trainable
from ..product import Multiplication, in_words
from ..step import Step
from ..values import reported
from . import PRECISIONS, process_peak_memory, steps
from .framework import Framework, named
from .plain import called, checksum_of, examples_in, four_parts, placed, replaced
from .steps import AXES, scaled

_FALLBACK = re.compile(r"The operator '(?:aten::)?([^']+)' is not currently supported on the MPS backend")
CONVOLUTION = " convolution"
"""Of an arithmetic that convolutions have, where products may have another."""


class Torch(Framework):
    """PyTorch, and what its users write: a module, its optimizer, a loss, a batch."""

    framework = "torch"
    called = "PyTorch"
    install = "torch"
    packages = ("triton",)
    keras_side = "keras_torch:KerasOnTorch"
    shorthand = "return module, optimizer, loss_fn, (x, y)"

    def __init__(self) -> None:
        super().__init__()
        self._fallbacks: Counter[str] = Counter()

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

    def leaves(self, value: Any) -> list[Any]:
        torch = self.torch
        found: list[Any] = []
        for _, part in reported(value):
            if isinstance(part, torch.nn.Module):
                found += part.parameters()
            elif isinstance(part, torch.optim.Optimizer):
                found += [weight for group in part.param_groups for weight in group["params"]]
            elif isinstance(part, torch.Tensor):
                found.append(part)
        return list({id(leaf): leaf for leaf in found}.values())

    def trained_in(self, value: Any) -> list[Any]:
        return [leaf for leaf in self.floats_in(value) if leaf.requires_grad]

    def setter(self, value: Any) -> Callable[[Sequence[Any]], None]:
        def set_to(arrays: Sequence[Any]) -> None:
            with self.torch.no_grad():
                for leaf, array in zip(self.floats_in(value), arrays, strict=True):
                    leaf.copy_(self.torch.as_tensor(array))

        return set_to

    def half(self, dtype: str) -> float:
        torch = self.torch

        def ones(*shape: int) -> Any:
            return torch.ones(shape, device=self.where).to(getattr(torch, dtype))

        convolved = torch.nn.functional.conv2d(ones(1, 8, 8, 8), ones(8, 8, 3, 3))
        return float(convolved.float().sum()) + float((ones(8, 8) @ ones(8, 8)).float().sum())

    def multiplication(self, arithmetic: str) -> Multiplication:
        """A convolution of float32 has a setting of its own, by which CUDA's tensor cores may round it to TF32."""
        torch, cuda = self.torch, self.where.type == "cuda"
        name, convolution = arithmetic.removesuffix(CONVOLUTION), arithmetic.endswith(CONVOLUTION)
        allowed = name == "float32" and cuda and allows_tf32(torch.backends, convolution=convolution)
        dtype = getattr(torch, name)
        return Multiplication(
            in_words(name, tf32=allowed),
            lambda matrix: self.to_device(matrix).to(dtype),
            torch.matmul,
            partial(_tf32, torch.backends.cuda.matmul) if allowed and convolution else nullcontext,
        )

    def try_jit(self) -> None:
        float(self.torch.compile(lambda a: (a @ a).sum())(self.torch.ones((8, 8), device=self.where)))

    def computes_in(self, precision: str, step: Callable[[], Any]) -> bool | None:
        with _operations(on_gpu=False) as seen:
            step()
        return getattr(self.torch, PRECISIONS[precision]) in seen.dtypes

    def noting_fallbacks(self, first: Callable[[], Any]) -> Any:
        """What `first` returns. PyTorch warns of the first operation that Metal has not and the CPU does instead.

        It warns of all of them, if it is told to.
        """
        if self.where.type != "mps":
            return first()
        torch = self.torch
        before = torch.is_warn_always_enabled()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.set_warn_always(True)
            try:
                outputs = first()
            finally:
                torch.set_warn_always(before)
        for warning in caught:
            self._fallbacks.update(_FALLBACK.findall(str(warning.message)))
        return outputs

    def looked_at(self, step: Callable[[], Any], parameters: int | None) -> dict[str, Any]:
        """One more step, looked at operation by operation."""
        from torch.utils.flop_counter import FlopCounterMode

        flop = FlopCounterMode(display=False, custom_mapping=_counted_here(self.torch.ops.aten))
        with flop, _operations(on_gpu=self.device != "cpu", flop=flop.get_total_flops) as seen:
            self.fence(step())
        return facts(
            operations=seen.operations,
            on_cpu=seen.on_cpu + self._fallbacks,
            flop=float(flop.get_total_flops()) or None,
            parameters=parameters,
            arithmetic=seen.arithmetic,
        )

    def of_step(self, step: Step, name: str, axes: Mapping[str, Any]) -> Trainable:
        trainable = super().of_step(step, name, axes)

        def first() -> Any:
            try:
                return self.noting_fallbacks(step.run)
            finally:
                trainable.step = step.run

        trainable.step = first
        trainable.work = lambda: steps.alike(lambda: self.looked_at(step.run, trainable.parameters))
        return trainable

    def of_shorthand(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable | None:
        parts = four_parts(built, name, self.torch.nn.Module, self.torch.optim.Optimizer, self.shorthand)
        if parts is None:
            return None
        module, optimizer, loss_fn, batch = parts
        plain = _Plain(self, module, optimizer, loss_fn, placed(batch, name, self._there), axes)
        trainable = self.of_step(
            Step(plain.run, parameters=module, loss_and_gradient=plain.loss_and_gradient, examples=plain.examples),
            name,
            axes,
        )
        trainable.description, trainable.unreached = "module", AXES - {"precision", "jit_compile"}
        trainable.unchanged = "is the learning rate 0, or does the optimizer hold other parameters than the module's?"
        trainable.batch_checksum = plain.batch_checksum
        if plain.compiled:  # which hides its operations
            trainable.work = lambda: facts(parameters=trainable.parameters)
        return trainable

    def _there(self, batch: Any) -> Any:
        """A copy of the batch's arrays on the device; what is no array stays as it is."""
        from torch.utils import _pytree as pytree

        def there(leaf: Any) -> Any:
            return self.to_device(leaf) if hasattr(leaf, "__array__") else leaf

        return pytree.tree_map(there, tuple(batch))

    def peak_memory(self) -> int | None:
        """CUDA's allocator tells its peak. What Metal allocates is in the process: Apple's memory is one."""
        if self.where.type == "cuda":
            return int(self.torch.cuda.max_memory_allocated(self.where))
        return process_peak_memory()


class _Plain:
    """The training step that PyTorch's users write by hand, of a module, its optimizer, a loss and a batch."""

    def __init__(
        self, backend: Torch, module: Any, optimizer: Any, loss_fn: Any, batch: Any, axes: Mapping[str, Any]
    ) -> None:
        torch = self._torch = backend.torch
        self._module, self._optimizer, self._loss_fn = module, optimizer, loss_fn
        self._x, self._y = batch
        precision = str(axes.get("precision", "float32"))
        self._dtype = None if precision == "float32" else getattr(torch, PRECISIONS[precision])
        kind = backend.where.type
        self._kind = kind
        # float16's gradients vanish without; Metal's kernels for it are not in every PyTorch that trains there
        scales = self._dtype == torch.float16 and kind != "mps"
        self._scaler = torch.amp.GradScaler(kind) if scales else None
        self.compiled = bool(axes.get("jit_compile", False))
        self._forward = torch.compile(module) if self.compiled else module
        self.examples = examples_in(self._x)

    def run(self) -> Any:
        self._optimizer.zero_grad()
        loss = self._loss(self._forward)
        if self._scaler is None:
            loss.backward()
            self._optimizer.step()
        else:
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        return loss.detach()

    def _loss(self, forward: Any) -> Any:
        with nullcontext() if self._dtype is None else self._torch.autocast(self._kind, dtype=self._dtype):
            return self._loss_fn(called(forward, self._x), self._y)

    def loss_and_gradient(self) -> tuple[Any, float]:
        torch, module = self._torch, self._module
        kept = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
        trained = [weight for weight in module.parameters() if weight.requires_grad]

        def gradient(scale: float) -> tuple[Any, float]:
            loss = self._loss(module)
            gradients = torch.autograd.grad(loss * scale, trained, allow_unused=True)
            return loss.detach(), sum(float((g.float() ** 2).sum()) for g in gradients if g is not None)

        with _nothing_dropped(module):
            found = scaled(gradient, float16=self._dtype == torch.float16)
        with torch.no_grad():
            for buffer, value in kept:  # it is no training: moving averages stay
                buffer.copy_(value)
        return found

    def batch_checksum(self) -> int:
        return checksum_of((self._x, self._y))


def _nothing_dropped(module: Any) -> AbstractContextManager[None]:
    """Dropout off while it lasts: no two devices draw alike."""
    found = [
        (part, key, value)
        for part in module.modules()
        for key in ("p", "dropout", "dropout_p")
        if isinstance(value := getattr(part, key, None), float) and ("Dropout" in type(part).__name__ or key != "p")
    ]
    return replaced(found, 0.0)


def _counted_here(aten: Any) -> dict[Any, Callable[..., int]]:
    """Formulas for operations of which PyTorch's counter has none, or a wrong one."""
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def attention_backward(grad_out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(grad_out, query, key, value))

    return {
        aten.convolution_backward: convolution_backward_flop,
        aten._scaled_dot_product_flash_attention_for_cpu: attention,  # whose GPU's kernels it counts
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }


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


def allows_tf32(backends: Any, *, convolution: bool) -> bool:
    """Whether CUDA may round float32 to TF32 in products, or in convolutions. PyTorch 2.9 and later have a setting for it."""
    of = backends.cudnn if convolution else backends.cuda.matmul
    new = of.conv if convolution and hasattr(of, "conv") else of
    return str(new.fp32_precision) == "tf32" if hasattr(new, "fp32_precision") else bool(of.allow_tf32)


@contextmanager
def _tf32(matmul: Any) -> Iterator[None]:
    """Products round as convolutions do while it lasts."""
    key, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, key)
    setattr(matmul, key, value)
    try:
        yield
    finally:
        setattr(matmul, key, before)


def _operations(*, on_gpu: bool, flop: Callable[[], int] = lambda: 0) -> Any:
    """A mode that counts operations as they are dispatched, those whose results lie on the CPU, and the dtypes of results.

    `flop` tells how many were counted until now: an operation that adds some is a product or a convolution.
    """
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    class Operations(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.operations: Counter[str] = Counter()
            self.on_cpu: Counter[str] = Counter()
            self.dtypes: set[Any] = set()
            self.arithmetic: set[str] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            before = flop()
            out = func(*args, **(kwargs or {}))
            name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
            if not name.startswith("profiler::"):  # what marks a step of an optimizer for those who look
                self.operations[name] += 1
            tensors = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            self.dtypes |= {tensor.dtype for tensor in tensors}
            if flop() > before:
                given = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
                types = {steps.dtype_of(one) for one in given if one.is_floating_point()}
                self.arithmetic |= {one + CONVOLUTION if one == "float32" and "conv" in name else one for one in types}
            if on_gpu and any(tensor.device.type == "cpu" and tensor.dim() for tensor in tensors):
                self.on_cpu[name] += 1
            return out

    return Operations()
