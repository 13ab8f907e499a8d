"""TensorFlow 2.16 and later, with Keras 3: the CPU, CUDA GPUs, and Apple's GPU through a pluggable device."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from ..loop import Trainable
from ..problems import Problem, first_line
from . import Backend, process_peak_memory
from .keras import keras_or_step

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
PLUGINS = ("tensorflow-metal", "tensorflow-metal-plugin", "tensorflow-macos", "tensorflow-intel")


class TensorFlow(Backend):
    """Keras on TensorFlow."""

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        try:
            import tensorflow as tf
        except ImportError as error:
            raise Problem(
                "backend",
                f"TensorFlow cannot be imported by {platform.python_implementation()} {platform.python_version()}"
                f" ({first_line(error)}): pip install 'pytest-metalperf[tensorflow]', or [metal] on Apple silicon",
            ) from error
        import keras

        if int(keras.__version__.partition(".")[0]) < 3 or keras.backend.backend() != "tensorflow":
            raise Problem(
                "backend",
                f"Keras {keras.__version__} on {keras.backend.backend()} was imported; this needs Keras 3 on TensorFlow"
                " 2.16 or later (and no tf_keras: unset TF_USE_LEGACY_KERAS)",
            )
        self.tf, self.keras = tf, keras
        self.device = "/CPU:0"

    def versions(self) -> dict[str, str]:
        import numpy

        found = {"tensorflow": self.tf.__version__, "keras": self.keras.__version__, "numpy": numpy.__version__}
        found["python"] = platform.python_version()
        for name in PLUGINS:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        cuda = self.tf.sysconfig.get_build_info()
        if self.gpus() and cuda.get("cuda_version"):
            found["cuda"], found["cudnn"] = str(cuda["cuda_version"]), str(cuda.get("cudnn_version", "unknown"))
        return found

    def gpus(self) -> list[Any]:
        return list(self.tf.config.list_physical_devices("GPU"))

    def devices(self) -> dict[str, str]:
        found = {"cpu": ""}
        for index, gpu in enumerate(self.gpus()):
            details = self.tf.config.experimental.get_device_details(gpu)
            found["gpu" if index == 0 else f"gpu:{index}"] = str(details.get("device_name", "GPU"))
        return found

    def why_missing(self, device: str, devices: Mapping[str, str]) -> str:
        if "gpu" in devices:
            there = ", ".join(devices)
            return f"TensorFlow sees no {device} here; there is {there} (gpu is the first, gpu:1 the second)"
        if platform.system() == "Darwin":
            return (
                "TensorFlow sees no GPU here: on Apple silicon install tensorflow-metal 1.2.0 with TensorFlow 2.18 or 2.19"
                " in an arm64 Python up to 3.12 (pip install 'pytest-metalperf[metal]')"
            )
        return "TensorFlow sees no GPU here"

    def place(self, device: str, precision: str, seed: int) -> None:
        tf = self.tf
        if precision not in PRECISIONS:
            raise Problem("device", f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        gpus = self.gpus()
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")  # or operations without a named device would go there
        else:
            index = int(device.partition(":")[2] or 0)
            if index >= len(gpus):
                raise Problem("device", self.why_missing(device, self.devices()))
            tf.config.set_visible_devices([gpus[index]], "GPU")
            tf.config.experimental.set_memory_growth(gpus[index], True)
            self.device = "/GPU:0"
        self.keras.utils.set_random_seed(seed)
        self.keras.config.set_dtype_policy(precision)

    def trainable(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable:
        tf = self.tf
        if isinstance(built, tuple) and any(isinstance(part, tf.data.Dataset) for part in built):
            raise Problem(
                "builder",
                f"the builder of {name} returned a tf.data.Dataset; it must return one batch, `model, (x, y)`",
            )

        def to_device(leaf: Any) -> Any:
            with tf.device(self.device):
                return tf.identity(tf.convert_to_tensor(leaf))

        return keras_or_step(built, name, axes, to_device, lambda variable: variable.numpy())

    def peak_memory(self) -> int | None:
        """CUDA's allocator tells its peak; Metal's answers 0, which is unknown, and lives in the process anyway."""
        if self.device == "/GPU:0":
            try:
                peak = int(self.tf.config.experimental.get_memory_info("GPU:0")["peak"])
            except (ValueError, KeyError, RuntimeError):
                peak = 0
            if peak:
                return peak
            return process_peak_memory() if platform.system() == "Darwin" else None
        return process_peak_memory()
