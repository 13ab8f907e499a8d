"""From a compiled Keras 3 model and one batch to a step: what Keras' backends share, and where they differ."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ..loop import Trainable
from ..problems import Problem, first_line, out_of_memory, user_traceback
from ..values import Reported, checked, sum_of_bits
from . import PRECISIONS, remat
from .framework import Framework, shape_of
from .plain import checksum_of, replaced
from .steps import scaled

AHEAD = 2
"""Batches that a pipeline keeps ready."""
DROPPING = re.compile("Dropout|Noise|Random|Cell$")
DROPPED = ("rate", "stddev", "dropout", "recurrent_dropout")

Batch = tuple[Any, ...]


class OnKeras(ABC):
    """Keras on one framework, in a process that has imported it on no other."""

    def __init__(self, backend: Framework, keras: Any) -> None:
        self.backend: Any = backend
        """The framework, as each subclass knows it."""
        self.keras = keras

    remats = True
    """Whether Keras' `remat` computes the same here, the state of layers included."""

    # what differs between the backends

    @abstractmethod
    def to_host(self, variable: Any) -> Any:
        """One variable as a NumPy array."""

    @abstractmethod
    def lives_on(self, variable: Any) -> str:
        """`cpu` or `gpu`: where a variable's value lies."""

    @abstractmethod
    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        """What calls the model's own train step."""

    @abstractmethod
    def pipeline(self, batch: Batch) -> Iterator[Any]:
        """The same batch again and again, copied from the host ahead of time, as this framework's users do it."""

    @abstractmethod
    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        """The loss of a batch, and the sum of squares of the gradient of `scale` times that loss; trains no weight."""

    # what they share

    def trainable(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable:
        """What trains a compiled model on one batch.

        Raises:
            Problem: of kind ``builder``, when the builder returned something else.
        """
        return self._from_model(*self._checked(built, name), name, axes)

    def _checked(self, built: Any, name: str) -> tuple[Any, Batch]:
        keras, returns = self.keras, self.backend.returns
        parts = built if isinstance(built, tuple) else (built,)
        if any(type(part).__module__.partition(".")[0] in ("tf_keras", "keras_legacy") for part in parts):
            raise Problem(
                "builder",
                f"the builder of {name} returned a model of Keras 2 (tf_keras); this trains Keras 3 models:"
                " return a step of it, `lambda: model.train_on_batch(x, y)`",
            )
        if stream := next((part for part in parts if _is_a_stream(part, keras)), None):
            raise Problem(
                "builder",
                f"the builder of {name} returned a {type(stream).__name__}, which yields batches;"
                " return one of them, `model, (x, y)`",
            )
        if not (isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], keras.Model)):
            raise Problem("builder", f"the builder of {name} returned {shape_of(built)}; {returns}")
        model, batch = built
        if isinstance(batch, list):
            batch = tuple(batch)
        if not (isinstance(batch, tuple) and 1 <= len(batch) <= 3):
            raise Problem(
                "builder", f"the builder of {name} returned a model with {shape_of(batch)} as its batch; {returns}"
            )
        for leaf in keras.tree.flatten(batch):
            if _is_sparse(leaf):
                raise Problem(
                    "builder",
                    f"the batch of {name} holds a {type(leaf).__name__}, which would be made dense: other work than `fit` trains;"
                    " return a step, `lambda: model.train_on_batch(x, y)`, or dense arrays",
                )
        if getattr(model, "optimizer", None) is None:
            raise Problem("builder", f"the builder of {name} returned a model that is not compiled; {returns}")
        return model, batch

    def _from_model(self, model: Any, host: Batch, name: str, axes: Mapping[str, Any]) -> Trainable:
        from keras import tree

        try:
            host = tree.map_structure(self._on_the_host, host)
            batch = self._there(host)
        except Exception as error:
            raise Problem(
                "builder",
                f"the batch of {name} cannot be put on the device: {first_line(error)}",
                user_traceback(error),
            ) from error
        shapes = tree.map_structure(lambda leaf: None if leaf is None else tuple(leaf.shape), batch)
        jit_compile = bool(axes.get("jit_compile", self.backend.framework == "jax"))
        model.jit_compile = jit_compile
        if jit_compile and not model.jit_compile and self.backend.framework != "jax":  # which JAX does itself
            without = [layer.name for layer in model._flatten_layers() if not getattr(layer, "supports_jit", True)]
            because = f" because of {', '.join(without)}" if without else ""
            raise Problem("builder", f"Keras does not compile {name}{because}: leave jit_compile out")
        if axes.get("remat") and not self.remats:
            raise Problem(
                "builder", f"Keras checkpoints no layers on {self.backend.called}: leave remat out for {name}"
            )
        try:
            build_all(model, batch, self.keras, self.backend.framework)
            if axes.get("remat") and not remat.checkpoint(model, self.keras):
                raise Problem("builder", f"{name} has no layer that can be checkpointed: leave remat out")
            stepper = self.stepper(model, jit_compile)
            batches = self._feed(batch, host, str(axes.get("input", "device")))
        except Problem:
            raise
        except Exception as error:
            raise _refused(name, model, shapes, error) from error
        self._check_device(model, name)
        _check_precision(model, name, str(axes.get("precision", "float32")))

        def step() -> Any:
            return stepper(batches)

        def guarded() -> Any:  # shapes and losses are first checked by the first batch
            try:
                return stepper.first(batches)
            except Problem:
                raise
            except Exception as error:
                raise _refused(name, model, shapes, error) from error
            finally:
                trainable.step = step

        def last_loss() -> float:
            stepper.release()
            model.reset_metrics()
            outputs = step()
            return checked(Reported(outputs, self.backend.fence(outputs)), "in the last batch")

        def broken_weights() -> list[str]:
            import numpy

            stepper.release()
            held = ((variable, self.to_host(variable)) for variable in model.trainable_variables)
            return [variable.path for variable, array in held if not numpy.isfinite(array).all()]

        def checksums() -> list[int]:
            stepper.release()
            return [zlib.adler32(self.to_host(variable).tobytes()) for variable in model.trainable_variables]

        def loss_and_gradient() -> tuple[float, float]:
            stepper.release()
            kept = [(variable, self.to_host(variable)) for variable in model.non_trainable_variables]
            with _nothing_dropped(model):
                found = scaled(
                    functools.partial(self.gradient, model, batch), float16=axes.get("precision") == "mixed_float16"
                )
            for variable, array in kept:  # it is no training: moving averages and the state of layers stay
                variable.assign(array)
            return found

        @contextlib.contextmanager
        def redrawn() -> Iterator[None]:
            weights = {id(variable) for variable in model.weights}
            # what is no weight is the state of a generator of random numbers
            seeds = [variable for variable in model.non_trainable_variables if id(variable) not in weights]
            kept = [(variable, self.to_host(variable)) for variable in seeds]
            for variable, array in kept:
                variable.assign(array + 1)
            try:
                yield
            finally:
                for variable, array in kept:
                    variable.assign(array)

        def weights_sum() -> int:
            stepper.release()
            return sum_of_bits(map(self.to_host, model.trainable_variables))

        def save_weights(path: str) -> None:
            import numpy

            stepper.release()
            with open(path, "wb") as file:  # noqa: PTH123 - a name for numpy would be given another ending
                arrays = map(self.to_host, model.weights)
                # a file of NumPy's holds no bfloat16
                numpy.savez(file, *(a.astype("float32") if a.dtype.kind == "V" else a for a in arrays))

        def load_weights(path: str) -> None:
            import numpy

            stepper.release()
            with numpy.load(path) as stored:
                arrays = [stored[key] for key in stored.files]
            if [a.shape for a in arrays] != [tuple(v.shape) for v in model.weights]:
                raise Problem("training", f"the other variant's weights do not fit {name}: they have other shapes")
            for variable, array in zip(model.weights, arrays, strict=True):
                variable.assign(array)

        def work() -> dict[str, Any]:
            return stepper.work(batch)

        sizes = [leaf.shape[0] for leaf in tree.flatten(batch) if leaf is not None and len(leaf.shape)]
        trainable = Trainable(
            step=guarded,
            fence=self.backend.fence,
            batches_per_step=int(getattr(model, "steps_per_execution", 1) or 1),
            examples=int(sizes[0]) if sizes else None,
            parameters=parameters_of(model),
            trainable_variables=len(model.trainable_variables),
            checksums=checksums,
            steps_per_update=max(map(_accumulated, _optimizers(model, self.keras))),
            broken_weights=broken_weights,
            last_loss=last_loss,
            work=work,
            loss_and_gradient=loss_and_gradient,
            redrawn=redrawn,
            batch_checksum=lambda: checksum_of(tree.flatten(host)),
            weights_sum=weights_sum,
            save_weights=save_weights,
            load_weights=load_weights,
            description=type(model).__name__,
        )
        return trainable

    def _on_the_host(self, leaf: Any) -> Any:
        """An array as `fit` would take it: NumPy's, wherever a builder put it, and floats in Keras' own precision."""
        if leaf is None:
            return None
        array = self.keras.ops.convert_to_numpy(leaf)
        floats = self.keras.config.floatx()
        return array.astype(floats) if array.dtype.kind == "f" and array.dtype.name != floats else array

    def _feed(self, batch: Batch, host: Batch, kind: str) -> Iterator[Any]:
        """What the train step takes its batches from: the one on the device, or copies of the host's."""
        if kind == "pipeline":
            return self.pipeline(host)
        if kind == "host":
            return (self._there(host) for _ in itertools.repeat(None))
        return itertools.repeat(batch)

    def _there(self, tree: Any) -> Any:
        """A copy of nested arrays on the device; None stays None."""
        from keras import tree as nested

        return nested.map_structure(lambda leaf: leaf if leaf is None else self.backend.to_device(leaf), tree)

    def _check_device(self, model: Any, name: str) -> None:
        if not model.trainable_variables:
            unbuilt = "" if model.built else " before its first step: call its layers once in the builder"
            raise Problem("builder", f"{name} has no trainable weights{unbuilt or ': there is nothing to train'}")
        wanted, found = self.backend.device.partition(":")[0], self.lives_on(model.trainable_variables[0])
        if found != wanted:
            raise Problem(
                "device",
                f"the weights of {name} lie on the {found}, not on the {wanted}: does its builder place them itself?",
            )


class Stepper:
    """Calls a model's own train step on the next of some batches.

    Attributes:
        traces: how often Python ran through the train step: under compilation, how often it was traced.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.traces = 0
        self.train_step = self._counted(model.train_step)

    def _counted(self, train_step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(train_step)
        def counted(*arguments: Any) -> Any:
            self.traces += 1
            self.traced()
            return train_step(*arguments)

        return counted

    def traced(self) -> None:
        """Called whenever Python runs through the train step, before it."""

    def __call__(self, batches: Iterator[Any]) -> Any:
        """Train once; returns the logs, values on the device that need not be ready."""
        raise NotImplementedError

    def first(self, batches: Iterator[Any]) -> Any:
        """The first call of all, which may look at what is traced and run."""
        return self(batches)

    def release(self) -> None:
        """Leave in the model's variables what was trained, so that they can be read and set."""

    def work(self, batch: Batch) -> dict[str, Any]:  # noqa: ARG002
        """Noise-free facts of a step; called when nothing more is timed."""
        return {}


def build_all(model: Any, batch: Batch, keras: Any, framework: str) -> None:
    """Create every variable before the first step, as far as `fit` would create it too.

    A model may train without `call()`, by its own `train_step`. It may also have optimizers of its own, beside one that
    `compile` insists on and nothing uses: where `fit` leaves that one unbuilt, its slots would be memory that no training
    has.

    A train function that creates variables in its first call is traced twice by TensorFlow: building the optimizer
    first halves the time to DenseNet121's first batch (`tests/speed/first_batch.py`). Metrics are variables too.
    """
    x, y = batch[0], (batch[1] if len(batch) > 1 else None)
    metrics = getattr(model, "_compile_metrics", None)
    metrics_unbuilt = metrics is not None and not metrics.built
    if (metrics_unbuilt or not model.built) and type(model).call is not keras.Model.call:
        outputs = model(x)
        if metrics_unbuilt:
            model.compute_metrics(x, y, outputs)
            model.reset_metrics()
    if framework == "jax" or len(_optimizers(model, keras)) == 1:
        model.optimizer.build(model.trainable_variables)


def parameters_of(model: Any) -> int:
    """How many there are; Keras' own count refuses a model that trains without `call()`."""
    return sum(math.prod(variable.shape) for variable in model.weights)


def _optimizers(model: Any, keras: Any) -> list[Any]:
    """The one that the model was compiled with, and those that it keeps itself."""
    kept = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    return [model.optimizer, *(one for one in kept if one is not model.optimizer)]


def _accumulated(optimizer: Any) -> int:
    """Steps whose gradients an optimizer gathers before it moves a weight."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
    return int(getattr(inner, "gradient_accumulation_steps", None) or 1)


def _check_precision(model: Any, name: str, precision: str) -> None:
    """Layers that name their own dtype take no notice of the policy that the workload's name promises.

    Some may do so, as a last layer does; most of the parameters must compute in what the name says.
    """
    wanted = PRECISIONS.get(precision, "float32")
    if wanted == "float32":
        return
    layers = [layer for layer in model._flatten_layers() if layer.weights and not list(layer._layers)]
    counts = [(layer.count_params(), layer.compute_dtype == wanted) for layer in layers]
    whole, right = sum(count for count, _ in counts), sum(count for count, as_named in counts if as_named)
    if right < whole / 2:
        raise Problem(
            "builder",
            f"{right:,} of {whole:,} parameters of {name} are in layers that compute in {wanted}, which precision {precision}"
            " asks for: do its layers name a dtype of their own?",
        )


def loss_of(model: Any, batch: Batch) -> Any:
    """The loss of a batch as the model's own train step computes it, training mode included."""
    x, y, weight = [*batch, None, None][:3]
    outputs = model(x, training=True) if getattr(model, "_call_has_training_arg", True) else model(x)
    compute = getattr(model, "_compute_loss", None)
    if compute is None:  # Keras before 3.5
        return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight)
    return compute(x=x, y=y, y_pred=outputs, sample_weight=weight, training=True)


def _nothing_dropped(model: Any) -> AbstractContextManager[None]:
    """Dropout off while it lasts: no two devices draw alike."""
    found = []
    for layer in model._flatten_layers():
        if DROPPING.search(type(layer).__name__):
            found += [(layer, key, value) for key in DROPPED if (value := getattr(layer, key, None))]
    return replaced(found, 0.0)


def _is_a_stream(part: Any, keras: Any) -> bool:
    """Whether it yields batches, whatever framework it is of."""
    named = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(part).__mro__}
    return (
        isinstance(part, (keras.utils.PyDataset, Iterator))
        or bool(named & {"tensorflow.DatasetV2", "torch.DataLoader", "torch.Dataset"})
    ) and not isinstance(part, keras.Model)


def _is_sparse(leaf: Any) -> bool:
    """Whether an array leaves out its zeros, or has rows of several lengths."""
    kind = type(leaf)
    home = kind.__module__
    return (
        kind.__name__ in ("SparseTensor", "RaggedTensor", "IndexedSlices")
        or home.startswith(("scipy.sparse", "jax.experimental.sparse"))
        or (str(getattr(leaf, "layout", "torch.strided")) not in ("torch.strided", "None") and home.startswith("torch"))
    )


def _refused(name: str, model: Any, shapes: Batch, error: Exception) -> Problem:
    if out_of_memory(error):  # told by whoever knows the device and what else was tried
        raise error
    x, y = shapes[0], (shapes[1] if len(shapes) > 1 else None)
    takes = getattr(model, "input_shape", None) if getattr(model, "built", False) and hasattr(model, "inputs") else None
    expects = f" (its input is {takes})" if takes else ""
    return Problem(
        "training",
        f"{name} cannot train on its batch, x {_cut(x)}, y {_cut(y)}{expects}: {first_line(error)}",
        user_traceback(error),
    )


def _cut(shapes: Any) -> str:
    """A list of lists is a batch of thousands of inputs."""
    text = str(shapes)
    return text if len(text) <= 200 else f"{text[:200]}…"
