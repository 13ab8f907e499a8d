"""TensorFlow 2.16 and later: the CPU, CUDA GPUs, and Apple's GPU through a pluggable device."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..product import Multiplication, in_words
from . import process_peak_memory
from .framework import Framework, named


class TensorFlow(Framework):
    """TensorFlow, whose users train Keras models or steps of their own."""

    framework = "tensorflow"
    called = "TensorFlow"
    install = "metal" if platform.system() == "Darwin" else "tensorflow"
    packages = ("tensorflow-metal", "tensorflow-metal-plugin", "tensorflow-macos", "tensorflow-intel")
    keras_side = "keras_tensorflow:KerasOnTensorFlow"

    def import_framework(self) -> None:
        import tensorflow as tf

        self.tf = tf

    def versions(self) -> dict[str, str]:
        found = {"tensorflow": self.tf.__version__, **super().versions()}
        cuda = self.tf.sysconfig.get_build_info()
        if self.gpus() and cuda.get("cuda_version"):
            found["cuda"], found["cudnn"] = str(cuda["cuda_version"]), str(cuda.get("cudnn_version", "unknown"))
        return found

    def gpus(self) -> list[Any]:
        return list(self.tf.config.list_physical_devices("GPU"))

    def devices(self) -> dict[str, str]:
        details = map(self.tf.config.experimental.get_device_details, self.gpus())
        return named(str(detail.get("device_name", "GPU")) for detail in details)

    def why_no_gpu(self) -> str:
        if platform.system() == "Darwin":
            return (
                ": on Apple silicon install tensorflow-metal 1.2.0 with TensorFlow 2.18 or 2.19"
                " in an arm64 Python up to 3.12 (pip install 'pytest-metalperf[metal]')"
            )
        return ""

    def hide(self, device: str) -> None:
        super().hide(device)
        if device == "cpu":
            self.tf.config.set_visible_devices([], "GPU")  # Metal's too, which no variable hides

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self.tf.random.set_seed(seed)

    def device_object(self, device: str) -> Any:  # noqa: ARG002
        return self.device_name

    def where_is(self, value: Any) -> str:
        if not isinstance(value, (self.tf.Tensor, self.tf.Variable)) or not isinstance(value.device, str):
            return ""
        return self.device if "GPU" in value.device.upper() and self.device != "cpu" else "cpu"

    def weights_of(self, value: Any) -> Iterable[Any]:
        if not (isinstance(value, self.tf.Module) or self._is_keras(value, "Layer")):
            return ()
        return [self._plain(weight) for weight in value.trainable_variables]

    def _plain(self, weight: Any) -> Any:
        return weight.value if self._is_keras(weight, "Variable") else weight

    def _is_keras(self, value: Any, kind: str) -> bool:
        """Whether that is Keras' `Layer` or `Variable`; Keras is asked only where somebody has imported it."""
        keras = sys.modules.get("keras")
        return keras is not None and isinstance(value, getattr(keras, kind))

    def make_default(self, index: int) -> None:
        tf, gpus = self.tf, self.gpus()
        if self.device == "cpu":
            tf.config.set_visible_devices([], "GPU")  # or operations without a named device would go there
        else:
            tf.config.set_visible_devices([gpus[index]], "GPU")
            tf.config.experimental.set_memory_growth(gpus[index], True)

    @property
    def device_name(self) -> str:
        """The one visible device, as TensorFlow names it."""
        return "/CPU:0" if self.device == "cpu" else "/GPU:0"

    def to_device(self, leaf: Any) -> Any:
        with self.tf.device(self.device_name):
            return self.tf.identity(self.tf.convert_to_tensor(leaf))

    def leaves(self, value: Any) -> list[Any]:
        tf, found = self.tf, []
        for part in tf.nest.flatten(value):
            if self._is_keras(part, "Layer"):  # Keras' models are such too
                found += [weight.value for weight in part.weights]
            elif isinstance(part, tf.Module):
                found += [self._plain(weight) for weight in part.variables]
            else:
                found.append(self._plain(part))
        return list({id(one): one for one in found if isinstance(one, (tf.Tensor, tf.Variable))}.values())

    def trained_in(self, value: Any) -> list[Any]:
        return [leaf for leaf in self.floats_in(value) if getattr(leaf, "trainable", True)]

    def setter(self, value: Any) -> Callable[[Sequence[Any]], None] | None:
        found = self.floats_in(value)
        if not all(isinstance(one, self.tf.Variable) for one in found):
            return None

        def set_to(arrays: Sequence[Any]) -> None:
            for variable, array in zip(found, arrays, strict=True):
                variable.assign(self.tf.cast(array, variable.dtype))

        return set_to

    def half(self, dtype: str) -> float:
        tf = self.tf

        def ones(*shape: int) -> Any:
            return tf.cast(tf.ones(shape), dtype)

        convolved = tf.nn.conv2d(ones(1, 8, 8, 8), ones(3, 3, 8, 8), 1, "VALID")
        both = convolved, ones(8, 8) @ ones(8, 8)
        return sum(float(tf.reduce_sum(tf.cast(one, "float32"))) for one in both)

    def multiplication(self, arithmetic: str) -> Multiplication:
        """By default, float32 may be rounded to TF32 on an NVIDIA GPU that has it, in products and convolutions alike."""
        tf = self.tf
        allowed = (
            arithmetic == "float32"
            and self.device != "cpu"
            and tf.test.is_built_with_cuda()
            and tf.config.experimental.tensor_float_32_execution_enabled()
        )

        def multiply(left: Any, right: Any) -> Any:
            with tf.device(self.device_name):
                return tf.matmul(left, right)

        return Multiplication(
            in_words(arithmetic, tf32=allowed),
            lambda matrix: tf.cast(self.to_device(matrix), arithmetic),
            multiply,
        )

    def try_jit(self) -> None:
        tf = self.tf
        with tf.device(self.device_name):
            float(tf.function(lambda a: tf.reduce_sum(a @ a), jit_compile=True)(tf.ones((8, 8))))

    def try_precision(self, precision: str) -> None:
        """Nowhere but on the device: where it has no kernel, TensorFlow would silently take the CPU's."""
        anywhere = self.tf.config.get_soft_device_placement()
        self.tf.config.set_soft_device_placement(False)
        try:
            with self.tf.device(self.device_name):
                super().try_precision(precision)
        finally:
            self.tf.config.set_soft_device_placement(anywhere)

    def peak_memory(self) -> int | None:
        """CUDA's allocator tells its peak; Metal's answers 0, which is unknown, and lives in the process anyway."""
        if self.device == "cpu":
            return process_peak_memory()
        try:
            peak = int(self.tf.config.experimental.get_memory_info("GPU:0")["peak"])
        except (ValueError, KeyError, RuntimeError):
            peak = 0
        if peak:
            return peak
        return process_peak_memory() if platform.system() == "Darwin" else None
