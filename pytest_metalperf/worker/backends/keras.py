"""From a compiled Keras 3 model and one batch to a step: what all of Keras' backends share."""

from __future__ import annotations

import inspect
import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from ..fence import read_back
from ..loop import Trainable
from ..problems import Problem, first_line, user_traceback

RETURNS = "a builder returns a compiled keras.Model with one batch, `return model, (x, y)`, or a zero-argument step"


def keras_or_step(
    built: Any, name: str, axes: Mapping[str, Any], to_device: Callable[[Any], Any], to_host: Callable[[Any], Any]
) -> Trainable:
    """Make a Trainable of what a builder returned.

    Args:
        built: `(model, (x, y))` or a zero-argument callable.
        name: the workload's name, for messages.
        axes: the workload's axes; `jit_compile` and `batch_size` are looked at.
        to_device: turns one array into a tensor on the device.
        to_host: turns one variable into a NumPy array.
    """
    import keras

    if callable(built) and not isinstance(built, keras.Model):
        _no_arguments(built, name)
        return Trainable(step=built, fence=read_back, examples=axes.get("batch_size"), description="step function")
    if not (isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], keras.Model)):
        raise Problem("builder", f"the builder of {name} returned {_shape_of(built)}; {RETURNS}")
    model, batch = built
    if isinstance(batch, list):
        batch = tuple(batch)
    if not (isinstance(batch, tuple) and 1 <= len(batch) <= 3):
        raise Problem(
            "builder", f"the builder of {name} returned a model with {_shape_of(batch)} as its batch; {RETURNS}"
        )
    if getattr(model, "optimizer", None) is None:
        raise Problem("builder", f"the builder of {name} returned a model that is not compiled; {RETURNS}")
    return _from_model(model, batch, name, axes, to_device, to_host)


def _from_model(
    model: Any,
    batch: tuple[Any, ...],
    name: str,
    axes: Mapping[str, Any],
    to_device: Callable[[Any], Any],
    to_host: Callable[[Any], Any],
) -> Trainable:
    from keras import tree

    try:
        batch = tree.map_structure(lambda leaf: leaf if leaf is None else to_device(leaf), batch)
    except Exception as error:
        raise Problem(
            "builder", f"the batch of {name} cannot be put on the device: {first_line(error)}", user_traceback(error)
        ) from error
    shapes = tree.map_structure(lambda leaf: None if leaf is None else tuple(leaf.shape), batch)
    model.jit_compile = bool(axes.get("jit_compile", False))
    try:
        build_all(model, batch)
        model.make_train_function()
    except Problem:
        raise
    except Exception as error:
        raise _refused(name, model, shapes, error) from error
    if not model.trainable_variables:
        raise Problem("builder", f"{name} has no trainable weights: there is nothing to train")

    def step() -> Any:
        return model.train_function(endless)

    def guarded() -> Any:  # shapes and losses are first checked by the first batch
        try:
            return model.train_function(endless)
        except Exception as error:
            raise _refused(name, model, shapes, error) from error
        finally:
            trainable.step = step

    def last_loss() -> float:
        model.reset_metrics()
        return read_back(step())

    endless = itertools.repeat(batch)
    sizes = [leaf.shape[0] for leaf in tree.flatten(batch) if leaf is not None and len(leaf.shape)]
    trainable = Trainable(
        step=guarded,
        fence=read_back,
        batches_per_step=int(getattr(model, "steps_per_execution", 1) or 1),
        examples=int(sizes[0]) if sizes else None,
        parameters=int(model.count_params()),
        trainable_variables=len(model.trainable_variables),
        checksums=lambda: [zlib.adler32(to_host(v).tobytes()) for v in model.trainable_variables],
        last_loss=last_loss,
        description=type(model).__name__,
    )
    return trainable


def build_all(model: Any, batch: tuple[Any, ...]) -> None:
    """Create every variable before the first step.

    A train function that creates variables in its first call is traced twice by TensorFlow: building the optimizer
    first halves the time to DenseNet121's first batch (`tests/speed/first_batch.py`). Metrics are variables too.
    """
    x, y = batch[0], (batch[1] if len(batch) > 1 else None)
    metrics = getattr(model, "_compile_metrics", None)
    metrics_unbuilt = metrics is not None and not metrics.built
    if metrics_unbuilt or not model.built:
        outputs = model(x)
        if metrics_unbuilt:
            model.compute_metrics(x, y, outputs)
            model.reset_metrics()
    model.optimizer.build(model.trainable_variables)


def _refused(name: str, model: Any, shapes: tuple[Any, ...], error: Exception) -> Problem:
    x, y = shapes[0], (shapes[1] if len(shapes) > 1 else None)
    takes = getattr(model, "input_shape", None) if getattr(model, "built", False) and hasattr(model, "inputs") else None
    expects = f" (its input is {takes})" if takes else ""
    return Problem(
        "training",
        f"{name} cannot train on its batch, x {x}, y {y}{expects}: {first_line(error)}",
        user_traceback(error),
    )


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
