"""Keras 3 on TensorFlow."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..fingerprint import facts
from ..problems import Problem, first_line
from .keras import AHEAD, Batch, OnKeras, Stepper, loss_of, parameters_of


class KerasOnTensorFlow(OnKeras):
    """Keras on TensorFlow."""

    def to_host(self, variable: Any) -> Any:
        return variable.numpy()

    def lives_on(self, variable: Any) -> str:
        return "gpu" if "GPU" in variable.value.device.upper() else "cpu"

    def stepper(self, model: Any, jit_compile: bool) -> Stepper:
        if jit_compile:
            try:
                self.backend.try_jit()
            except Exception as error:
                why = f"XLA does not compile for the {self.backend.device} ({first_line(error)}): leave jit_compile off"
                raise Problem("device", why) from error
        return _Stepper(model, self.backend.tf, on_gpu=self.backend.device != "cpu")

    def pipeline(self, batch: Batch) -> Iterator[Any]:
        tf = self.backend.tf
        given = batch[: max(i for i, part in enumerate(batch) if part is not None) + 1]  # (x, None) is (x,) to Keras
        if any(part is None for part in given):
            raise Problem(
                "builder", "a batch with weights and without targets cannot come through tf.data: use input host"
            )
        data = tf.data.Dataset.from_tensors(_tuples(given)).repeat()
        if self.backend.device == "cpu":
            return iter(data.prefetch(tf.data.AUTOTUNE))
        return iter(data.apply(tf.data.experimental.prefetch_to_device(self.backend.device_name, AHEAD)))

    def gradient(self, model: Any, batch: Batch, scale: float) -> tuple[float, float]:
        """In a graph, as the step that is timed: what a plugin does wrong in graphs alone is right where nothing is fused."""
        tf = self.backend.tf

        def computed() -> tuple[Any, list[Any]]:
            with tf.GradientTape() as tape:
                loss = loss_of(model, batch)
                scaled = loss * scale
            gradients = tape.gradient(scaled, [variable.value for variable in model.trainable_variables])
            return loss, [tf.reduce_sum(tf.square(tf.convert_to_tensor(g))) for g in gradients if g is not None]

        if not model.run_eagerly:
            computed = tf.function(computed, jit_compile=model.jit_compile)
        loss, squares = computed()
        return float(loss), sum(map(float, squares))


def _tuples(nested: Any) -> Any:
    """Lists of arrays as tuples, which Keras takes alike: tf.data would make one array of a list."""
    if isinstance(nested, Mapping):
        return {key: _tuples(part) for key, part in nested.items()}
    return tuple(map(_tuples, nested)) if isinstance(nested, (list, tuple)) else nested


class _Stepper(Stepper):
    """Keras' train function; its first call also collects the graphs that are executed."""

    def __init__(self, model: Any, tf: Any, *, on_gpu: bool) -> None:
        super().__init__(model)
        self._tf = tf
        self._on_gpu = on_gpu
        self._graph: Any = None
        self._metadata: Any = None
        self._arithmetic: set[str] = set()
        model.train_step = self.train_step
        model.make_train_function(force=True)  # one that the builder trained with knows nothing of our axes

    def __call__(self, batches: Iterator[Any]) -> Any:
        return self.model.train_function(batches)

    def traced(self) -> None:
        self._graph = self._tf.compat.v1.get_default_graph()

    def first(self, batches: Iterator[Any]) -> Any:
        """Collecting costs no trace of its own. The API is private, the same from 2.16 to 2.21; without it, no facts."""
        try:
            from tensorflow.python.eager import context

            running = context.context()
            running.enable_graph_collection()
        except (ImportError, AttributeError, RuntimeError):
            return self(batches)
        try:
            return self(batches)
        finally:
            with contextlib.suppress(AttributeError, RuntimeError):
                self._metadata = running.export_run_metadata()
                running.disable_graph_collection()

    def work(self, batch: Batch) -> dict[str, Any]:  # noqa: ARG002
        operations: Counter[str] = Counter()
        on_cpu: Counter[str] = Counter()
        for graphs in getattr(self._metadata, "function_graphs", ()):
            for graph in graphs.partition_graphs:
                for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
                    operations[node.op] += 1
                    if self._on_gpu and "CPU" in node.device and node.op not in _ON_THE_HOST:
                        on_cpu[node.op] += 1
        return facts(
            operations=operations,
            on_cpu=on_cpu,
            flop=self._flop(),
            arithmetic=self._arithmetic,
            traces=None if self.model.run_eagerly else self.traces,
            parameters=parameters_of(self.model),
        )

    def _flop(self) -> float | None:
        """Floating-point operations of the traced graph, by the registry that TensorFlow's profiler uses.

        Of operations that the outputs and updates need: a tape also traces gradients that nothing asks for, and the
        runtime prunes them. None where products lie in a loop or a branch, of which the graph does not say how often it runs.
        """
        graph = self._graph
        try:
            from tensorflow.python.framework import ops

            needed, left = set(), [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
            while left:
                operation = left.pop()
                if operation not in needed:
                    needed.add(operation)
                    left += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
            if _products_in_calls(graph, needed):
                return None
            counts = [
                _gradient_flop(operation)
                or _product_flop(operation)
                or ops.get_stats_for_node_def(graph, operation.node_def, "flops").value
                or 0.0
                for operation in needed
            ]
        except Exception:  # private, the same from 2.16 to 2.21: no figure is better than no run
            return None
        multiplied = [one for one, flop in zip(needed, counts, strict=True) if flop and _MULTIPLIES.search(one.type)]
        types = {operation.outputs[0].dtype for operation in multiplied}
        self._arithmetic = {one.name for one in types if one.is_floating}
        return float(sum(counts)) or None


def _products_in_calls(graph: Any, needed: Iterable[Any]) -> bool:
    """Whether functions that these operations call, loops and branches among them, multiply anything."""
    left = {name for operation in needed for name in _called(operation.node_def)}
    if not left:
        return False
    bodies = {function.signature.name: function.node_def for function in graph.as_graph_def().library.function}
    seen: set[str] = set()
    while left:
        name = left.pop()
        seen.add(name)
        nodes = bodies.get(name, ())
        if any(_MULTIPLIES.search(node.op) for node in nodes):
            return True
        left |= {called for node in nodes for called in _called(node)} - seen
    return False


def _called(node: Any) -> set[str]:
    """The functions that an operation calls; what it would call for a gradient is not among them."""
    functions = [value.func.name for key, value in node.attr.items() if not key.startswith("_") and value.func.name]
    return {*functions, *(one.name for key, value in node.attr.items() for one in value.list.func)}


def _product_flop(operation: Any) -> float:
    """Of a product of batches of matrices, for which the registry looks for another attribute that says "transposed"."""
    if not operation.type.startswith("BatchMatMul"):
        return 0.0
    of = operation.inputs[0].shape.as_list()
    return float(2 * operation.outputs[0].shape.num_elements() * of[-2 if operation.get_attr("adj_x") else -1])


def _gradient_flop(operation: Any) -> float:
    """Of a convolution's gradients, which the registry counts as if there were no strides: what the forward pass costs."""
    if operation.type not in ("Conv2DBackpropInput", "Conv2DBackpropFilter"):
        return 0.0
    kernel = operation.inputs[1] if operation.type == "Conv2DBackpropInput" else operation.outputs[0]
    height, width, channels, _ = kernel.shape.as_list()
    return float(2 * operation.inputs[2].shape.num_elements() * height * width * channels)


_ON_THE_HOST = frozenset(
    {
        "_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv", "NoOp", "Const", "Identity", "IdentityN", "VarHandleOp",
        "Shape", "ShapeN", "Size", "Rank", "Placeholder", "StridedSlice", "Pack", "ConcatV2", "GatherV2", "Range", "Prod",
        "StatefulPartitionedCall", "PartitionedCall", "OptionalFromValue", "IteratorGetNext",
    }
)  # fmt: skip
"""What a GPU's step does on the host by design: moving values, naming resources, arithmetic on shapes."""

_MULTIPLIES = re.compile(r"MatMul|Conv|Einsum|RNN")
"""Operations of the types whose FLOP are most of a model's."""
