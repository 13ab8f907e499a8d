"""MLX: Apple's GPU, CUDA GPUs and the CPU; what it computes waits until somebody asks for a value."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import math
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..fingerprint import facts
from ..imported import when_imported
from ..lazy import arrays_of
from ..loop import Trainable
from ..problems import Problem
from ..product import Multiplication, in_words
from ..step import Step
from ..values import reported
from . import PRECISIONS, process_peak_memory, steps
from .framework import Framework, named
from .mlx_flop import Products, products_of
from .plain import called, checksum_of, examples_in, four_parts, placed, replaced
from .steps import AXES

_OPERATION = re.compile(r'\[label ="([^"]+)", shape=rectangle\]')
"""Of a graph in the language of Graphviz, as `export_to_dot` writes it."""


class Mlx(Framework):
    """MLX, and what its users write: a module, its optimizer, a loss, a batch."""

    framework = "mlx"
    called = "MLX"
    install = "mlx"
    packages = ("mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "keras-mlx")
    shorthand = "return module, optimizer, loss_fn, (x, y)"
    waits = True

    def __init__(self) -> None:
        self.keras_side = "keras_mlx:KerasOnMlx" if importlib.util.find_spec("keras_mlx") is not None else ""
        super().__init__()

    def import_framework(self) -> None:
        import mlx.core as mx
        import mlx.nn
        import mlx.optimizers
        import mlx.utils

        self.mx: Any = mx
        self.nn: Any = mlx.nn
        self.optimizers: Any = mlx.optimizers
        self.utils: Any = mlx.utils

    def versions(self) -> dict[str, str]:
        return {"mlx": str(self.mx.__version__), **super().versions()}

    def devices(self) -> dict[str, str]:
        return named(str(self.mx.device_info(gpu).get("device_name", "GPU")) for gpu in self._gpus())

    def _gpus(self) -> list[Any]:
        mx = self.mx
        return [mx.Device(mx.gpu, index) for index in range(mx.device_count(mx.gpu))]

    def why_no_gpu(self) -> str:
        if platform.system() == "Darwin":
            return ": MLX needs an arm64 Python on Apple silicon"
        return ": pip install 'mlx[cuda12]' where there is an NVIDIA GPU"

    def hide(self, device: str) -> None:
        super().hide(device)
        if not self.keras_side:
            when_imported("keras", _refused)

    def make_default(self, index: int) -> None:
        mx = self.mx
        self.where = mx.Device(mx.cpu if self.device == "cpu" else mx.gpu, index)
        mx.set_default_device(self.where)

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self.mx.random.seed(seed)

    def device_object(self, device: str) -> Any:  # noqa: ARG002
        return self.where

    def where_is(self, value: Any) -> str:
        """An array of MLX lies nowhere: operations have a device, the default one unless they name another."""
        if not isinstance(value, self.mx.array):
            return ""
        default = self.mx.default_device()
        places = ["cpu"] if default.type == self.mx.cpu else list(named(map(str, self._gpus())))[1:]
        same = (self.mx.Device(default.type, index) == default for index in range(len(places)))
        return next(place for place, is_it in zip(places, same, strict=True) if is_it)

    def weights_of(self, value: Any) -> Iterable[Any]:
        if isinstance(value, self.nn.Module):
            return [array for _, array in self.utils.tree_flatten(value.trainable_parameters())]
        return ()

    def leaves(self, value: Any) -> list[Any]:
        return self._arrays(value, lambda module: module.parameters())

    def floats_in(self, value: Any) -> list[Any]:
        return self._floats(self._arrays(self._modules_in(value) or value, lambda module: module.parameters()))

    def trained_in(self, value: Any) -> list[Any]:
        return self._floats(
            self._arrays(self._modules_in(value) or value, lambda module: module.trainable_parameters())
        )

    def _floats(self, leaves: Iterable[Any]) -> list[Any]:
        return [leaf for leaf in leaves if self.mx.issubdtype(leaf.dtype, self.mx.floating)]

    def _modules_in(self, value: Any) -> list[Any]:
        """Where there are some, what else is shown is the state of an optimizer, and no parameter."""
        parts = value if isinstance(value, (list, tuple)) else [value]
        return [part for part in parts if isinstance(part, self.nn.Module)]

    def _arrays(self, value: Any, of_module: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = []
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, self.nn.Module):
                part = of_module(part)
            elif isinstance(part, self.optimizers.Optimizer):
                part = part.state
            found += [leaf for _, leaf in reported(part) if isinstance(leaf, self.mx.array)]
        return list({id(leaf): leaf for leaf in found}.values())

    def wait_for(self, leaves: Iterable[Any]) -> None:
        self.mx.eval(list(leaves))

    def setter(self, value: Any) -> Callable[[Sequence[Any]], None]:
        def set_to(arrays: Sequence[Any]) -> None:
            for leaf, array in zip(self.floats_in(value), arrays, strict=True):
                leaf[...] = self.mx.array(array).astype(leaf.dtype)

        return set_to

    def to_device(self, leaf: Any) -> Any:
        return self.mx.array(leaf)

    def half(self, dtype: str) -> float:
        mx = self.mx

        def ones(*shape: int) -> Any:
            return mx.ones(shape).astype(getattr(mx, dtype))

        both = mx.conv2d(ones(1, 8, 8, 8), ones(8, 3, 3, 8)), ones(8, 8) @ ones(8, 8)
        return sum(float(one.astype(mx.float32).sum().item()) for one in both)

    def squares(self, arrays: Iterable[Any]) -> float:
        """The sum of the squares of all their elements; MLX' own sum of millions is off by a thousandth on the CPU."""
        import numpy

        found = (numpy.array(array.astype(self.mx.float32), "float64") for array in arrays)
        return sum(float(numpy.square(array).sum()) for array in found)

    def multiplication(self, arithmetic: str) -> Multiplication | None:
        """By default, a GPU that can may round float32 (`MLX_ENABLE_TF32`, MLX' page of environment variables)."""
        if arithmetic not in PRECISIONS.values():
            return None
        mx = self.mx
        rounds = arithmetic == "float32" and self.device != "cpu" and os.environ.get("MLX_ENABLE_TF32", "1") != "0"
        return Multiplication(
            in_words(arithmetic, tf32=rounds),
            lambda matrix: self.to_device(matrix).astype(getattr(mx, arithmetic)),
            mx.matmul,
        )

    def try_jit(self) -> None:
        self.mx.compile(lambda a: (a @ a).sum())(self.mx.ones((8, 8))).item()

    def peak_memory(self) -> int | None:
        """The allocator's of a GPU; a CPU's run is the process."""
        return int(self.mx.get_peak_memory()) if self.device != "cpu" else process_peak_memory()

    def of_step(self, step: Step, name: str, axes: Mapping[str, Any]) -> Trainable:
        trainable = super().of_step(step, name, axes)
        fence = trainable.fence
        self.mx.eval(arrays_of(step.run))  # what is not computed after a step is of that step

        def first(outputs: Any) -> float:
            value = fence(outputs)
            if any(self.graph(array) for array in arrays_of(step.run)):
                raise Problem(
                    "builder",
                    f"the step of {name} leaves a part of its state uncomputed, so its last update would not be timed: return"
                    " Step(step, parameters=[model, optimizer]), or let it end with mx.eval(model.state, optimizer.state)",
                )
            trainable.fence = fence
            return value

        trainable.fence = first
        trainable.work = lambda: steps.alike(lambda: self._looked_at(step, trainable))
        return trainable

    def graph(self, *arrays: Any) -> Counter[str]:
        """The operations that these arrays still wait for."""
        text = io.StringIO()
        self.mx.export_to_dot(text, *arrays)
        return Counter(_OPERATION.findall(text.getvalue()))

    def products_of(self, step: Callable[[], Any]) -> Products:
        """Those of a function that returns all that it computes; it is traced, and what it leaves behind are no values.

        Traced as for the CPU, it multiplies the same: a GPU's kernels that do several operations in one are not exported
        (CrossEntropy), or hide their products (ScaledDotProductAttention). The products are unknown where MLX exports it not
        all the same, or not with its shapes.
        """
        told: list[Any] = []
        self.mx.disable_compile()  # an activation that is compiled is not exported
        try:
            with self.mx.stream(self.mx.cpu):
                self.mx.export_function(told.append, lambda: self.leaves(step()))
            return products_of(told)
        except Exception:
            return Products()
        finally:
            if "MLX_DISABLE_COMPILE" not in os.environ:
                self.mx.enable_compile()

    def _looked_at(self, step: Step, trainable: Trainable) -> dict[str, Any]:
        """One more step; operations that it leaves for the fence to compute, which are all unless it computes them itself."""
        outputs = step.run()
        arrays = [part for _, part in reported(outputs) if isinstance(part, self.mx.array)]
        operations = self.graph(*arrays, *arrays_of(step.run), *self.leaves(step.parameters))
        trainable.fence(outputs)
        return facts(operations=operations, parameters=trainable.parameters)

    def of_shorthand(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable | None:
        parts = four_parts(built, name, self.nn.Module, self.optimizers.Optimizer, self.shorthand)
        if parts is None:
            return None
        module, optimizer, loss_fn, batch = parts
        x, y = placed(batch, name, lambda both: [self.utils.tree_map(self._there, part) for part in both])
        plain = _Plain(self, module, optimizer, loss_fn, x, y, bool(axes.get("jit_compile", False)))
        shown = Step(plain.run, parameters=module, examples=plain.examples, loss_and_gradient=plain.loss_and_gradient)
        trainable = super().of_step(shown, name, axes)
        trainable.description, trainable.unreached = "module", AXES - {"jit_compile"}
        trainable.unchanged = "is the learning rate 0, or are all of the module's parameters frozen?"
        trainable.batch_checksum = plain.batch_checksum
        trainable.work = lambda: plain.looked_at(trainable.parameters)
        return trainable

    def _there(self, leaf: Any) -> Any:
        return self.to_device(leaf) if hasattr(leaf, "shape") else leaf


def _refused(keras: Any) -> None:
    raise Problem(
        "builder",
        f"Keras {keras.__version__} trains on {keras.backend.backend()} here: for MLX pip install keras-mlx, and a Keras"
        " that takes it (keras-nightly), or take --metal-backend tensorflow, torch or jax",
    )


class _Plain:
    """The training step that MLX' users write by hand, of a module, its optimizer, a loss and a batch."""

    def __init__(
        self, backend: Mlx, module: Any, optimizer: Any, loss_fn: Callable[..., Any], x: Any, y: Any, compiled: bool
    ) -> None:
        mx, nn = backend.mx, backend.nn
        self._backend, self._module, self._optimizer = backend, module, optimizer
        self._batch = x, y
        self._compiled = compiled
        self.traces = 0
        takes_model = _required(loss_fn) == 3

        def loss_of(module: Any, x: Any, y: Any) -> Any:
            return loss_fn(module, x, y) if takes_model else loss_fn(called(module, x), y)

        self._gradient = nn.value_and_grad(module, loss_of)

        def update(x: Any, y: Any) -> Any:
            self.traces += 1
            loss, gradients = self._gradient(module, x, y)
            optimizer.update(module, gradients)
            return loss

        optimizer.init(module.trainable_parameters())  # before the first step, which would be compiled twice without
        self._state = [module.state, optimizer.state, mx.random.state]
        mx.eval(self._state, x, y)
        self._plain = update
        self._update = mx.compile(update, inputs=self._state, outputs=self._state) if compiled else update
        self.examples = examples_in(x)

    def run(self) -> Any:
        """A step with what it computes, as a training loop of MLX asks for it."""
        loss = self._update(*self._batch)
        self._backend.mx.eval(loss, self._state)
        return loss

    def loss_and_gradient(self) -> tuple[Any, float]:
        backend, module = self._backend, self._module
        dropping = [(part, "_p_1", part._p_1) for part in module.modules() if hasattr(part, "_p_1")]
        kept = module.parameters()
        with replaced(dropping, 1.0):
            loss, gradients = self._gradient(module, *self._batch)
            flat = [array for _, array in backend.utils.tree_flatten(gradients)]
            squares = backend.squares(flat)
        module.update(kept)  # it is no training: moving averages stay
        return loss, math.sqrt(squares)

    def looked_at(self, parameters: int | None) -> dict[str, Any]:
        """The graph of one more step before anything of it is computed; a compiled one hides its operations."""
        backend, traces = self._backend, self.traces
        with self._unchanged():
            products = backend.products_of(lambda: [self._plain(*self._batch), *backend.leaves(self._state)])
        known: dict[str, Any] = {"flop": products.flop or None, "arithmetic": products.arithmetic}
        if self._compiled:
            return facts(**known, traces=traces, parameters=parameters)
        loss = self._plain(*self._batch)
        operations = backend.graph(loss, *backend.leaves(self._state))
        backend.mx.eval(loss, self._state)
        return facts(**known, operations=operations, parameters=parameters)

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Module and optimizer as they were, once it has ended; random numbers begin anew."""
        kept, slots = self._module.parameters(), self._optimizer.state
        self._optimizer.state = self._backend.utils.tree_map(lambda leaf: leaf, slots)
        try:
            yield
        finally:
            self._module.update(kept)
            self._optimizer.state = slots
            self._backend.mx.random.seed(self._backend.seeded)

    def batch_checksum(self) -> int:
        return checksum_of(self._batch)


def _required(function: Callable[..., Any]) -> int:
    """Arguments that a function must be given by place."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
