"""From a compiled Keras 3 model and one batch to a step: what Keras' three backends share, and where they differ."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import itertools
import math
import os
import platform
import random
import re
import sys
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

from ..fence import read_back
from ..loop import Trainable
from ..problems import Problem, first_line, out_of_memory, user_traceback
from ..values import Reported, checked
from . import PRECISIONS, Backend, remat

RETURNS = "a builder returns a compiled keras.Model with one batch, `return model, (x, y)`, or a zero-argument step"
SCALES = (1024.0, 32.0, 1.0)
"""Of the loss, so that half precision's gradients neither vanish nor overflow: the first that keeps them finite."""
AHEAD = 2
"""Batches that a pipeline keeps ready."""
DROPPING = re.compile("Dropout|Noise|Random|Cell$")
DROPPED = ("rate", "stddev", "dropout", "recurrent_dropout")

Batch = tuple[Any, ...]


class KerasBackend(Backend):
    """Keras on one of its backends, in a process that has imported it on no other."""

    framework = ""
    """As KERAS_BACKEND names it."""
    called = ""
    """As people name it."""
    install = ""
    """The extra that installs it."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions can change the speed, beside the framework itself."""

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = self.framework
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # TensorFlow's and XLA's
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # NVML's order: gpu:1 is the same card for both
        try:
            self.import_framework()
        except ImportError as error:
            raise Problem(
                "backend",
                f"{self.called} cannot be imported by {platform.python_implementation()} {platform.python_version()}"
                f" ({first_line(error)}): pip install 'pytest-metalperf[{self.install}]'",
            ) from error
        self.device = "cpu"
        self.keras: Any = None

    @abstractmethod
    def import_framework(self) -> None:
        """Import the framework, and nothing that would already choose a device.

        Raises:
            ImportError: when it is not there.
        """

    def import_keras(self) -> Any:
        """Keras, which takes its backend and on PyTorch its device from the environment as it is imported.

        None where it is not installed: a step of the user's own needs none.
        """
        if "keras" not in sys.modules and importlib.util.find_spec("keras") is None:
            return None
        try:
            import keras
        except ImportError as error:
            raise Problem(
                "backend", f"Keras cannot be imported ({first_line(error)}): pip install 'keras>=3'"
            ) from error
        if int(keras.__version__.partition(".")[0]) < 3 or keras.backend.backend() != self.framework:
            raise Problem(
                "backend",
                f"Keras {keras.__version__} on {keras.backend.backend()} was imported; this needs Keras 3 on {self.called}"
                " (and no tf_keras: unset TF_USE_LEGACY_KERAS)",
            )
        self.keras = keras
        return keras

    def versions(self) -> dict[str, str]:
        found = {"python": platform.python_version()}
        for name in ("keras", "numpy", *self.packages):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
        if "tf_keras" in sys.modules:  # a step of the user's own may train a model of Keras 2
            found["tf_keras"] = metadata.version("tf_keras")
        return found

    def why_missing(self, device: str, devices: Mapping[str, str]) -> str:
        if "gpu" in devices:
            there = ", ".join(devices)
            return f"{self.called} sees no {device} here; there is {there} (gpu is the first, gpu:1 the second)"
        return f"{self.called} sees no GPU here{self.why_no_gpu()}"

    def why_no_gpu(self) -> str:
        """The remedy, after `… sees no GPU here`, where one is known."""
        return ""

    def hide(self, device: str) -> None:
        self.device = device
        if device == "cpu":  # also from a framework that the user's step imports itself; read when CUDA or HIP begin
            os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIP_VISIBLE_DEVICES"] = "-1"

    def set_up(self, device: str, precision: str, seed: int) -> None:
        if precision not in PRECISIONS:
            raise Problem("device", f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        index = int(device.partition(":")[2] or 0)
        if device != "cpu" and device not in self.devices():
            raise Problem("device", self.why_missing(device, self.devices()))
        self.device = device
        self.make_default(index)
        keras = self.import_keras()
        if keras is None:
            self.seed(seed)
            return
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy(precision)
        if precision != "float32":
            self.try_precision(precision)

    def seed(self, seed: int) -> None:
        """What Keras' `set_random_seed` seeds, where there is no Keras."""
        import numpy

        random.seed(seed)
        numpy.random.seed(seed)

    @abstractmethod
    def make_default(self, index: int) -> None:
        """Make all that follows happen on `self.device`, a GPU's number `index`, alone; a CPU's run hides the GPUs."""

    def try_precision(self, precision: str) -> None:
        """A convolution and a matrix product in it, where a device that has no kernels for it says so at once.

        Raises:
            Problem: of kind ``device``, when this device cannot.
        """
        ops, dtype = self.keras.ops, PRECISIONS[precision]

        def ones(*shape: int) -> Any:
            """In float32 first, as weights are: no more than casts, which mixed precision needs anyway, is asked for."""
            return ops.cast(ops.ones(shape, dtype="float32"), dtype)

        try:
            convolved = ops.conv(ones(1, 8, 8, 8), ones(3, 3, 8, 8), data_format="channels_last")
            for computed in (convolved, ops.matmul(ones(8, 8), ones(8, 8))):
                ops.convert_to_numpy(ops.sum(ops.cast(computed, "float32")))
        except Exception as error:
            raise Problem(
                "device",
                f"the {self.device} of {self.called} cannot compute in {dtype} ({first_line(error)}):"
                " use precision float32, or another device",
            ) from error

    # what differs between the backends

    @abstractmethod
    def to_device(self, leaf: Any) -> Any:
        """A fresh copy of one array on the device."""

    @abstractmethod
    def to_host(self, variable: Any) -> Any:
        """One variable as a NumPy array."""

    @abstractmethod
    def lives_on(self, variable: Any) -> str:
        """`cpu` or `gpu`: where a variable's value lies."""

    @abstractmethod
    def try_jit(self) -> None:
        """Compile a small function as `jit_compile` would, and run it; whatever it raises says that this cannot be done."""

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
        if callable(built) and (self.keras is None or not isinstance(built, self.keras.Model)):
            _no_arguments(built, name)
            return Trainable(step=built, fence=self.fence, examples=axes.get("batch_size"), description="step function")
        if self.keras is None:
            raise Problem(
                "builder",
                f"the builder of {name} returned a {type(built).__name__}, and Keras is not installed: return a zero-argument"
                " step, or pip install 'keras>=3' for Keras models",
            )
        return self._from_model(*_checked(built, name, self.keras), name, axes)

    def fence(self, outputs: Any) -> float:
        """Wait for the whole step, and read a value computed on the device after it."""
        return read_back(outputs)

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
        jit_compile = bool(axes.get("jit_compile", self.framework == "jax"))
        model.jit_compile = jit_compile
        if jit_compile and not model.jit_compile and self.framework != "jax":  # which JAX does itself
            without = [layer.name for layer in model._flatten_layers() if not getattr(layer, "supports_jit", True)]
            because = f" because of {', '.join(without)}" if without else ""
            raise Problem("builder", f"Keras does not compile {name}{because}: leave jit_compile out")
        try:
            build_all(model, batch, self)
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
            return checked(Reported(outputs, self.fence(outputs)), "in the last batch")

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
            loss, squares, scale = math.nan, math.nan, 1.0
            kept = [(variable, self.to_host(variable)) for variable in model.non_trainable_variables]
            with _nothing_dropped(model):
                for scale in SCALES if str(axes.get("precision")) == "mixed_float16" else (1.0,):
                    loss, squares = self.gradient(model, batch, scale)
                    if math.isfinite(squares):
                        break
            for variable, array in kept:  # it is no training: moving averages and the state of layers stay
                variable.assign(array)
            return loss, math.sqrt(squares) / scale

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

        def batch_checksum() -> int:
            leaves = [leaf for leaf in tree.flatten(host) if leaf is not None]
            return zlib.adler32(b"".join(leaf.tobytes() for leaf in leaves))

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
            fence=self.fence,
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
            batch_checksum=batch_checksum,
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

        return nested.map_structure(lambda leaf: leaf if leaf is None else self.to_device(leaf), tree)

    def _check_device(self, model: Any, name: str) -> None:
        if not model.trainable_variables:
            unbuilt = "" if model.built else " before its first step: call its layers once in the builder"
            raise Problem("builder", f"{name} has no trainable weights{unbuilt or ': there is nothing to train'}")
        wanted, found = self.device.partition(":")[0], self.lives_on(model.trainable_variables[0])
        if found != wanted:
            raise Problem(
                "device",
                f"the weights of {name} lie on the {found}, not on the {wanted}: does its builder place them itself?",
            )


def named(gpus: Iterable[str]) -> dict[str, str]:
    """The devices of a backend that sees these GPUs: `{"cpu": "", "gpu": "NVIDIA H200", "gpu:1": …}`."""
    return {"cpu": "", **{"gpu" if index == 0 else f"gpu:{index}": name for index, name in enumerate(gpus)}}


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


def build_all(model: Any, batch: Batch, backend: KerasBackend) -> None:
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
    if (metrics_unbuilt or not model.built) and type(model).call is not backend.keras.Model.call:
        outputs = model(x)
        if metrics_unbuilt:
            model.compute_metrics(x, y, outputs)
            model.reset_metrics()
    if backend.framework == "jax" or len(_optimizers(model, backend.keras)) == 1:
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


@contextlib.contextmanager
def _nothing_dropped(model: Any) -> Iterator[None]:
    """Dropout off while it lasts: no two devices draw alike."""
    found = []
    for layer in model._flatten_layers():
        if DROPPING.search(type(layer).__name__):
            found += [(layer, key, value) for key in DROPPED if (value := getattr(layer, key, None))]
    try:
        for layer, key, _ in found:
            setattr(layer, key, 0.0)
        yield
    finally:
        for layer, key, value in found:
            setattr(layer, key, value)


def _checked(built: Any, name: str, keras: Any) -> tuple[Any, Batch]:
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
        raise Problem("builder", f"the builder of {name} returned {_shape_of(built)}; {RETURNS}")
    model, batch = built
    if isinstance(batch, list):
        batch = tuple(batch)
    if not (isinstance(batch, tuple) and 1 <= len(batch) <= 3):
        raise Problem(
            "builder", f"the builder of {name} returned a model with {_shape_of(batch)} as its batch; {RETURNS}"
        )
    for leaf in keras.tree.flatten(batch):
        if _is_sparse(leaf):
            raise Problem(
                "builder",
                f"the batch of {name} holds a {type(leaf).__name__}, which would be made dense: another work than `fit` trains;"
                " return a step, `lambda: model.train_on_batch(x, y)`, or dense arrays",
            )
    if getattr(model, "optimizer", None) is None:
        raise Problem("builder", f"the builder of {name} returned a model that is not compiled; {RETURNS}")
    return model, batch


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


def _no_arguments(step: Any, name: str) -> None:
    try:
        needed = [
            p.name
            for p in inspect.signature(step).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return
    if needed:
        raise Problem("builder", f"the step that {name} returned needs arguments ({', '.join(needed)}); {RETURNS}")


def _shape_of(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        inner = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {len(value)} ({inner})"
    return "None" if value is None else f"a {type(value).__name__}"
