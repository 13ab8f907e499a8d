"""JAX on CPU, CUDA GPUs, and Apple's by a plugin such as jax-mps or metaljax."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib import metadata
from typing import Any

from ..fingerprint import facts
from ..loop import Trainable
from ..problems import Problem, first_line
from ..product import Multiplication, in_words
from ..step import Step
from ..values import loss_in, reported
from . import PRECISIONS, process_peak_memory, stablehlo
from .framework import Framework, named, shape_of
from .plain import checksum_of
from .steps import AXES, arrays_for, scaled

OF_APPLE = ("jax-mps", "metaljax", "jax-metal")
"""Plugins that bring Apple's GPU; the last is Apple's own, which ended with JAX 0.4."""
SHORT = {"float16": "f16", "bfloat16": "bf16"}
"""As programs name them."""


class Jax(Framework):
    """JAX, and what its users write: a function of state and batch."""

    framework = "jax"
    called = "JAX"
    install = "jax"
    packages = ("jaxlib",)
    keras_side = "keras_jax:KerasOnJax"
    shorthand = "return step_fn, state, batch"
    waits = True
    program: Callable[[], Any] | None = None
    """Lowers the step of the user's own that trains here."""

    def import_framework(self) -> None:
        # memory as needed, as the other side of a pair may need some too; the allocator stays the same
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        self.jax = jax

    def versions(self) -> dict[str, str]:
        return {"jax": str(self.jax.__version__), **super().versions(), **plugins()}

    def gpus(self) -> list[Any]:
        found = _of_gpus(self.jax.devices())
        if not found:  # a plugin may leave the CPU JAX' default, as metaljax does
            from jax.extend import backend

            clients: Mapping[str, Any] = getattr(
                backend, "backends", dict
            )()  # JAX 0.4 tells them not, and had no such plugin
            found = _of_gpus(device for client in clients.values() for device in client.devices())
        return found

    def devices(self) -> dict[str, str]:
        return named(_kind_of(device) for device in self.gpus())

    def why_no_gpu(self) -> str:
        chosen = os.environ.get("JAX_PLATFORMS")
        if chosen:
            return f": JAX_PLATFORMS={chosen} lets it look for no other; unset it"
        if platform.system() != "Darwin":
            return ": pip install 'jax[cuda12]' where there is an NVIDIA GPU"
        there = [f"{name} {version}" for name, version in self.versions().items() if name in OF_APPLE]
        if there:
            return f": {' and '.join(there)} shows it none; python -m pytest_metalperf doctor says what it needs"
        return ": pip install jax-mps, or metaljax (Apple silicon, macOS 14 and Python 3.12, or later)"

    def hide(self, device: str) -> None:
        super().hide(device)
        if device == "cpu":
            self.jax.config.update("jax_platforms", "cpu")  # before anything looks for devices

    def device_object(self, device: str) -> Any:  # noqa: ARG002
        return self.where

    def where_is(self, value: Any) -> str:
        if not isinstance(value, self.jax.Array) or isinstance(value, self.jax.core.Tracer):
            return ""
        gpus = self.gpus()
        names = list(named(map(str, gpus)))
        # of its sharding: an array whose buffers a step has taken over (donate_argnums) tells nothing of devices itself
        found = {d: "cpu" if d.platform == "cpu" else names[1 + gpus.index(d)] for d in value.sharding.device_set}
        return " and ".join(sorted(set(found.values())))

    def make_default(self, index: int) -> None:
        if self.device == "cpu":
            self.where = self.jax.devices("cpu")[0]
        else:
            self.where = self.gpus()[index]
        self.jax.config.update("jax_default_device", self.where)

    def fence(self, outputs: Any) -> float:
        value = super().fence(outputs)
        self.jax.block_until_ready(getattr(outputs, "state", None))
        return value

    def to_device(self, leaf: Any) -> Any:
        return self.jax.device_put(leaf, self.where)

    def leaves(self, value: Any) -> list[Any]:
        found = [leaf for leaf in self.jax.tree.leaves(value) if isinstance(leaf, self.jax.Array)]
        if any(leaf.is_deleted() for leaf in found):
            raise Problem(
                "builder",
                "`parameters` are arrays that the step has handed over (donate_argnums): show those that it trains now by a"
                " function, `parameters=lambda: state`",
            )
        return found

    def wait_for(self, leaves: Iterable[Any]) -> None:
        self.jax.block_until_ready(list(leaves))

    def setter(self, value: Any) -> Callable[[Sequence[Any]], None] | None:
        """Arrays never change; a list or a dict can hold others."""
        if not isinstance(value, (list, dict)):
            return None

        def set_to(arrays: Sequence[Any]) -> None:
            whole = self._with(value, self.floats_in(value), arrays)
            if isinstance(value, list):
                value[:] = whole
            else:
                value.update(whole)

        return set_to

    def _with(self, tree: Any, old: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """The same tree with these arrays in the place of those."""
        new = {id(leaf): array for leaf, array in zip(old, arrays, strict=True)}

        def replaced(leaf: Any) -> Any:
            return self.to_device(new[id(leaf)].astype(leaf.dtype)) if id(leaf) in new else leaf

        return self.jax.tree.map(replaced, tree)

    def half(self, dtype: str) -> float:
        jnp = self.jax.numpy

        def ones(*shape: int) -> Any:
            return jnp.ones(shape, "float32").astype(dtype)

        convolved = self.jax.lax.conv(ones(1, 8, 8, 8), ones(8, 8, 3, 3), (1, 1), "VALID")
        return sum(float(one.astype("float32").sum()) for one in (convolved, ones(8, 8) @ ones(8, 8)))

    def computes_in(self, precision: str, step: Callable[[], Any]) -> bool | None:  # noqa: ARG002
        if self.program is None:
            return None
        return re.search(rf"[x<]{SHORT[PRECISIONS[precision]]}>", self.program().as_text()) is not None

    def of_step(self, step: Step, name: str, axes: Mapping[str, Any]) -> Trainable:
        trainable = super().of_step(step, name, axes)
        if step.program is None:
            trainable.unknown.append("its operations (program)")
            return trainable
        parts = tuple(step.program) if isinstance(step.program, (tuple, list)) else (step.program,)
        if not hasattr(parts[0], "lower"):
            raise Problem(
                "builder",
                f"`program` of {name} is a function that jax.jit made and its arguments, such as `(update, state, batch)`",
            )
        try:  # now: the step hands its arguments over
            lowered = parts[0].lower(*parts[1:])
        except Exception as error:
            raise Problem("builder", f"`program` of {name} cannot be traced: {first_line(error)}") from error
        self.program = lambda: lowered
        trainable.work = lambda: counted(lowered, None, trainable.parameters)
        return trainable

    def of_shorthand(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable | None:
        if not (isinstance(built, tuple) and len(built) == 3 and callable(built[0])):
            return None
        step_fn, state, batch = built
        compiled = bool(axes.get("jit_compile", True))
        plain = _Plain(
            self.jax, step_fn, self._there(state, "state", name), self._there(batch, "batch", name), compiled
        )
        shown = Step(plain.run, parameters=lambda: plain.parameters(self), examples=plain.examples)
        trainable = super().of_step(shown, name, axes)
        trainable.description, trainable.unreached = "step function", AXES - {"jit_compile"}
        trainable.unchanged = "is the learning rate 0, or does the step function return the state that it was given?"
        self._show_gradient(plain, trainable, name, axes)
        if not plain.shows_parameters(self):
            trainable.parameters = None

        def fence(outputs: Any) -> float:
            self.wait_for(self.leaves(plain.state))
            return self.fence(outputs)

        trainable.fence = fence
        if compiled:
            self.program = plain.lowered
            trainable.work = lambda: counted(plain.lowered(), plain.traces, trainable.parameters)
        return trainable

    def _show_gradient(self, plain: _Plain, trainable: Trainable, name: str, axes: Mapping[str, Any]) -> None:
        """The loss that the function returns has a gradient by its state: JAX derives it, whatever the function does with it."""
        float16 = axes.get("precision") == "mixed_float16"

        def load(path: str) -> None:
            shown = self.floats_in(plain.parameters(self))
            plain.state = self._with(plain.state, shown, arrays_for(shown, path, name))

        trainable.loss_and_gradient = lambda: plain.loss_and_gradient(float16=float16)
        trainable.redrawn = plain.redrawn
        trainable.batch_checksum = plain.batch_checksum
        trainable.load_weights = load

    def _there(self, tree: Any, what: str, name: str) -> Any:
        """A copy of all arrays, committed to the device as a step returns them: else XLA compiles the second step anew."""

        def there(leaf: Any) -> Any:
            if not (hasattr(leaf, "dtype") or isinstance(leaf, (bool, int, float, complex))):
                raise Problem(
                    "builder",
                    f"the {what} of {name} holds a {type(leaf).__name__}, which jax.jit does not take: keep arrays alone in it",
                )
            copy = leaf.copy() if isinstance(leaf, self.jax.Array) else self.jax.numpy.array(leaf)
            return self.jax.device_put(copy, self.where)

        return self.jax.tree.map(there, tree)

    def multiplication(self, arithmetic: str) -> Multiplication | None:
        """By default, float32 may be rounded to TF32 on an NVIDIA GPU that has it."""
        jax = self.jax
        name, _, precision = arithmetic.partition(" ")
        if name not in stablehlo.TYPES.values():  # 8 bits, whole numbers: products of another kind
            return None
        product = jax.jit(partial(jax.lax.dot, precision=jax.lax.Precision[precision or "DEFAULT"]))
        cuda = self.device != "cpu" and "cuda" in str(self.where.client.platform_version).lower()
        allowed = name == "float32" and cuda and precision != "HIGHEST"
        return Multiplication(in_words(name, tf32=allowed), lambda matrix: self.to_device(matrix).astype(name), product)

    def try_jit(self) -> None:
        float(self.jax.jit(lambda a: (a @ a).sum())(self.jax.numpy.ones((8, 8))))

    def peak_memory(self) -> int | None:
        if self.device == "cpu":
            return process_peak_memory()
        peak = (self.where.memory_stats() or {}).get("peak_bytes_in_use")
        return int(peak) if peak else None


def plugins() -> dict[str, str]:
    """The distributions that bring JAX a device, by their entry points, and their versions."""
    found = metadata.entry_points(group="jax_plugins")
    return {point.dist.name: point.dist.version for point in found if point.dist is not None}


def _of_gpus(devices: Iterable[Any]) -> list[Any]:
    return [device for device in devices if device.platform != "cpu"]


def _kind_of(device: Any) -> str:
    """`NVIDIA H200`; the platform's name where a plugin tells no more than that it is a GPU."""
    kind = str(device.device_kind)
    return str(device.platform) if kind == "gpu" else kind


def counted(lowered: Any, traces: int | None, parameters: int | None) -> dict[str, Any]:
    """The fingerprint of a program as it was traced: what XLA makes of it differs with what its autotuner finds."""
    found = stablehlo.counted(lowered.compiler_ir("stablehlo"))
    return facts(
        operations=found.operations,
        flop=None if found.unknown else found.flop or None,
        traces=traces,
        parameters=parameters,
        arithmetic=found.arithmetic,
    )


class _Plain:
    """A function of state and batch, jitted with the state's buffers reused, as JAX' users do it."""

    def __init__(self, jax: Any, step_fn: Callable[..., Any], state: Any, batch: Any, compiled: bool) -> None:
        self.state, self.traces = state, 0
        self._jax, self._step_fn, self._batch = jax, step_fn, batch

        def traced(state: Any, batch: Any) -> Any:
            self.traces += 1
            found = step_fn(state, batch)
            if not (isinstance(found, tuple) and len(found) == 2):
                raise Problem(
                    "builder",
                    f"the step function returned {shape_of(found)}; it returns the new state and the loss, `return state, loss`",
                )
            return found

        self._step: Any = jax.jit(traced, donate_argnums=0) if compiled else traced
        sizes = [leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape]
        self.examples = int(sizes[0]) if sizes else None

    def run(self) -> Any:
        self.state, loss = self._step(self.state, self._batch)
        return loss

    def lowered(self) -> Any:
        """The program, without a trace of the training's own."""
        traces = self.traces
        try:
            return self._step.lower(self.state, self._batch)
        finally:
            self.traces = traces

    def loss_and_gradient(self, *, float16: bool) -> tuple[float, float] | None:
        """The loss at the state as it is, and the norm of its gradient by all floats of the state; None where there is none.

        The update that the function makes of its own gradient does not enter: two that train differently may agree.
        """
        leaves = self._jax.tree.leaves(self.state)
        try:
            self._jax.eval_shape(self._gradient, leaves, self._batch, 1.0)
        except Exception:  # what is traced here is the user's function, whose operations may have no derivative
            return None

        def gradient(scale: float) -> tuple[float, float]:
            loss, squares = self._gradient(leaves, self._batch, scale)
            return float(loss), float(squares)

        loss, norm = scaled(gradient, float16=float16)
        if math.isfinite(loss) and not math.isfinite(norm):  # the function may mend that in its own gradient
            return None
        return loss, norm

    @cached_property
    def _gradient(self) -> Any:
        jax, structure = self._jax, self._jax.tree.structure(self.state)
        jnp = jax.numpy

        def scaled_loss(floats: Mapping[int, Any], leaves: Sequence[Any], batch: Any, scale: float) -> tuple[Any, Any]:
            whole = [floats.get(index, leaf) for index, leaf in enumerate(leaves)]
            _, outputs = self._step_fn(structure.unflatten(whole), batch)
            told = [(path, leaf) for path, leaf in reported(outputs) if hasattr(leaf, "dtype")]
            loss = jnp.mean(loss_in(told).astype("float32"))
            return scale * loss, loss

        def gradient(leaves: Sequence[Any], batch: Any, scale: float) -> tuple[Any, Any]:
            floats = {i: leaf for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)}
            gradients, loss = jax.grad(scaled_loss, has_aux=True)(floats, leaves, batch, scale)
            return loss, sum(jnp.sum(jnp.square(one.astype("float32"))) for one in gradients.values())

        return jax.jit(gradient)  # always: a function that hands its arguments over would take the state's own

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Other keys while it lasts, of the kinds that draw otherwise on each device; threefry draws the same on all."""
        jax, kept = self._jax, self.state

        def other(leaf: Any) -> Any:
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                kind = jax.random.key_impl(leaf)
                same = "threefry" in str(kind)
                return leaf if same else jax.random.wrap_key_data(jax.random.key_data(leaf) ^ 1, impl=kind)
            return leaf ^ 1 if leaf.dtype == "uint32" and leaf.shape[-1:] == (4,) else leaf  # `rbg`, without a type

        self.state = jax.tree.map(other, self.state)
        try:
            yield
        finally:
            self.state = kept

    def batch_checksum(self) -> int:
        return checksum_of(self._jax.tree.leaves(self._batch))

    def shows_parameters(self, backend: Jax) -> bool:
        """Whether the state tells its parameters from the rest."""
        return bool(backend.floats_in(_parameters_of(self.state)))

    def parameters(self, backend: Jax) -> Any:
        """The parameters, as far as the state tells them; else the whole of it."""
        return _parameters_of(self.state) if self.shows_parameters(backend) else self.state


def _parameters_of(state: Any) -> Any:
    """What is called `params`, or stands first."""
    if isinstance(state, Mapping):
        return state.get("params")
    if hasattr(state, "params"):
        return state.params
    return state[0] if isinstance(state, (tuple, list)) and len(state) > 1 else None
