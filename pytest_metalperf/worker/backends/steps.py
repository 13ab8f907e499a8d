"""From a `Step` to what is timed: which of its checks its parts allow, and what the others would have needed."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..fence import read_back
from ..loop import Trainable
from ..problems import Problem
from ..step import Step
from ..values import Reported, checked, is_finite, numbers, sum_of_bits
from . import PRECISIONS

AXES = frozenset({"precision", "jit_compile", "remat", "input"})
"""Those that act on a Keras model by themselves."""
SCALES = (1024.0, 32.0, 1.0)
"""Of the loss, so that half precision's gradients neither vanish nor overflow: the first that keeps them finite."""


class Home(Protocol):
    """What a framework knows of its own arrays (see `framework.py`)."""

    called: str
    device: str
    precision: str
    waits: bool

    def fence(self, outputs: Any) -> float: ...
    def wait_for(self, leaves: Iterable[Any]) -> None: ...
    def leaves(self, value: Any) -> list[Any]: ...
    def trained_in(self, value: Any) -> list[Any]: ...
    def floats_in(self, value: Any) -> list[Any]: ...
    def where_is(self, value: Any) -> str: ...
    def setter(self, value: Any) -> Callable[[Sequence[Any]], None] | None: ...


def of_step(home: Home, step: Step, name: str, axes: Mapping[str, Any]) -> Trainable:
    """What trains a step, with the checks that its parts allow.

    Raises:
        Problem: of kind ``builder`` or ``device``, for parts that are not what their names say, and parameters that lie or
            compute elsewhere than the workload's name says.
    """
    _check_parts(step, name)
    trainable = Trainable(
        step=step.run,
        fence=home.fence,
        examples=axes.get("batch_size") if step.examples is None else step.examples,
        description="step",
        unreached=AXES,
    )
    if step.parameters is None:
        trainable.unknown.append("whether weights change (parameters)")
    if trainable.examples is None:
        trainable.unknown.append("examples a second (examples)")
    if step.loss_and_gradient is not None:
        trainable.loss_and_gradient = _as_numbers(step.loss_and_gradient)
        trainable.redrawn = contextlib.nullcontext  # computed twice: what draws at random differs
    if step.parameters is None:
        return trainable

    shown = _shower(home, step.parameters)
    floats = home.floats_in(shown())
    if not floats:
        raise Problem(
            "builder",
            f"the `parameters` of {name} hold no array of {home.called}: show what is trained, a module, arrays in dicts and"
            " lists, or a function that returns them",
        )
    if not home.trained_in(shown()):
        raise Problem("builder", f"{name} has no trainable weights: there is nothing to train")
    _check_place(home, floats, name)
    _check_precision(home, floats, name)

    def last_loss() -> float:
        outputs = step.run()
        return checked(Reported(outputs, trainable.fence(outputs)), "in the last batch")

    def checksums() -> list[int]:
        return [_checksum(leaf) for leaf in home.trained_in(shown())]

    def broken_weights() -> list[str]:
        return [f"of shape {_shape(leaf)}" for leaf in home.trained_in(shown()) if not is_finite(leaf)]

    def fence(outputs: Any) -> float:
        home.wait_for([*home.leaves([outputs]), *home.leaves(shown())])  # at once: MLX computes what it is asked for
        return home.fence(outputs)

    def load(path: str) -> None:
        arrays = arrays_for(home.floats_in(shown()), path, name)
        setter = home.setter(shown())
        if setter is not None:
            setter(arrays)

    trainable.parameters = sum(math.prod(_shape(leaf)) for leaf in floats)
    trainable.trainable_variables = len(home.trained_in(shown()))
    trainable.checksums, trainable.broken_weights, trainable.last_loss = checksums, broken_weights, last_loss
    trainable.unchanged = (
        "is the learning rate 0, or do its `parameters` hold arrays that the step has replaced? Then show them by a"
        " function, `parameters=lambda: state`"
    )
    trainable.weights_sum = lambda: sum_of_bits(home.trained_in(shown()))
    trainable.save_weights = lambda path: save_arrays(home.floats_in(shown()), path)
    trainable.load_weights = load if home.setter(shown()) is not None else None
    if home.waits:
        trainable.fence = fence
    return trainable


def save_arrays(leaves: Iterable[Any], path: str) -> None:
    """Write arrays for `arrays_for` to a file."""
    import numpy

    with open(path, "wb") as file:  # noqa: PTH123 - a name for numpy would be given another ending
        numpy.savez(file, *(numbers(leaf, math.inf) for leaf in leaves))


def arrays_for(leaves: Iterable[Any], path: str, name: str) -> list[Any]:
    """The arrays that the other side wrote, for those of this one.

    Raises:
        Problem: where they have other shapes.
    """
    import numpy

    with numpy.load(path) as stored:
        arrays = [stored[key] for key in stored.files]
    if [array.shape for array in arrays] != [_shape(leaf) for leaf in leaves]:
        raise Problem("training", f"the other variant's parameters do not fit {name}: they have other shapes")
    return arrays


def _shower(home: Home, parameters: Any) -> Callable[[], Any]:
    """A function that shows the parameters as they are when it is called."""
    if callable(parameters) and not home.leaves(parameters):
        return parameters  # type: ignore[no-any-return]
    return lambda: parameters


def _check_parts(step: Step, name: str) -> None:
    if not callable(step.run):
        raise Problem("builder", f"`run` of {name} is no function that trains once")
    if step.loss_and_gradient is not None and not callable(step.loss_and_gradient):
        raise Problem(
            "builder", f"`loss_and_gradient` of {name} is no function that returns a loss and a gradient's norm"
        )
    count = step.examples
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise Problem("builder", f"`examples` of {name} is a whole number from 1, got {count!r}")


def _check_place(home: Home, leaves: Iterable[Any], name: str) -> None:
    found = {home.where_is(leaf) for leaf in leaves} - {""}
    if found - {home.device.removesuffix(":0")}:
        raise Problem(
            "device",
            f"the parameters of {name} lie on {' and '.join(sorted(found))}, and its name says {home.device}: let the builder"
            " declare an argument `device`, and put them there",
        )


def _check_precision(home: Home, leaves: Iterable[Any], name: str) -> None:
    """Most parameters must have a type that the workload's name says: float32, or the half that mixed precision computes in."""
    counts: Counter[str] = Counter()
    for leaf in leaves:
        counts[dtype_of(leaf)] += math.prod(_shape(leaf))
    allowed = {"float32", PRECISIONS[home.precision]}
    wrong = sum(count for dtype, count in counts.items() if dtype not in allowed)
    if 2 * wrong > counts.total():
        dtype = max((one for one in counts if one not in allowed), key=lambda one: counts[one])
        named = next((axis for axis, computed in PRECISIONS.items() if computed == dtype), "")
        remedy = f"let the builder take `precision`, and ask for {named}" if named else "make them float32"
        raise Problem(
            "builder",
            f"{wrong:,} of {counts.total():,} parameters of {name} are {dtype}, and its name says precision {home.precision}:"
            f" {remedy}",
        )


def scaled(compute: Callable[[float], tuple[Any, float]], *, float16: bool) -> tuple[Any, float]:
    """A loss and the norm of its gradient, of the first scale that keeps float16's gradients finite.

    Args:
        compute: from a scale of the loss to the loss without it, and the sum of the squares of the gradients with it.
        float16: whether the gradients are computed in it; others need no scale.
    """
    loss, squares, scale = math.nan, math.nan, 1.0
    for scale in SCALES if float16 else (1.0,):
        loss, squares = compute(scale)
        if math.isfinite(squares):
            break
    return loss, math.sqrt(squares) / scale


def alike(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The facts of two steps in a row, if they are the same.

    A step that updates every k-th time does another work then, and which one is looked at is the clock's choice.

    Raises:
        Problem: where they differ.
    """
    first, second = look(), look()
    if first != second:
        raise Problem("training", "two steps in a row do not do the same work")
    return first


def dtype_of(leaf: Any) -> str:
    """`float32`, whatever framework says it."""
    return str(getattr(leaf.dtype, "name", leaf.dtype)).rpartition(".")[2]


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in leaf.shape)


def _checksum(leaf: Any) -> int:
    array = numbers(leaf, math.inf)
    return zlib.adler32(b"" if array is None else array.tobytes())


def _as_numbers(compute: Callable[[], tuple[Any, Any]]) -> Callable[[], tuple[float, float]]:
    def computed() -> tuple[float, float]:
        found = compute()
        if not (isinstance(found, (tuple, list)) and len(found) == 2):
            raise Problem("builder", "`loss_and_gradient` returns two values: the loss, and the norm of its gradient")
        loss, norm = found
        return read_back(loss), read_back(norm)

    return computed
