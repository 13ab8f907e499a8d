"""What a backend is: devices, placement, a trainable step and its fence, memory, versions."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..clock import RealTime
from ..fence import read_back
from ..loop import Clock, Trainable
from ..machine import Watch, heat
from ..machine.counters import peak_footprint
from ..machine.reading import fields, read
from ..product import Multiplication

PRECISIONS = {"float32": "float32", "mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
"""Values of the axis, which are Keras' dtype policies, and what each computes in."""
BACKENDS: dict[str, str] = {
    "tensorflow": "tensorflow:TensorFlow",
    "torch": "torch:Torch",
    "jax": "jax:Jax",
    "mlx": "mlx:Mlx",
}
"""Backends of this package: name -> module and class below `backends`. Plugins add theirs by a hook."""


VARIABLES = {
    "MPS_MAX_COMMIT_COUNT", "MPS_ENABLE_GEMM_PLUGIN", "MPS_DEVICE_CACHE_SIZE", "TURN_OFF_REMAPPER",
    "TF_MPS_DISABLE_ALLOCATION_CACHE", "TF_METAL_SYNCHRONOUS", "TF_DISABLE_METAL", "TF_ENABLE_ONEDNN_OPTS",
    "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_DETERMINISTIC_OPS",
    "TF_CUDNN_DETERMINISTIC", "TF_CUDNN_USE_AUTOTUNE", "TF_GPU_THREAD_MODE", "TF_GPU_THREAD_COUNT", "TF_GPU_ALLOCATOR",
    "TF_FORCE_GPU_ALLOW_GROWTH", "TF_ENABLE_AUTO_MIXED_PRECISION", "TF_OVERRIDE_GLOBAL_THREADPOOL",
    "XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_ENABLE_X64", "JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_DISABLE_JIT",
    "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_DTYPE_BITS", "JAX_NUM_CPU_DEVICES", "JAX_DEBUG_NANS",
    "JAX_ENABLE_CHECKS", "JAX_THREEFRY_PARTITIONABLE", "JAX_DEFAULT_PRNG_IMPL",
    "JAX_MPS_ASYNC_DISPATCH", "JAX_MPS_CACHE_LIMIT_BYTES", "JAX_MPS_NO_OPTIMIZE", "JAX_MPS_LIBRARY_PATH",
    "MPS_NO_COMPILE", "METALJAX_PLUGIN_PATH", "ENABLE_PJRT_COMPATIBILITY",
    "MLX_BFS_MAX_WIDTH", "MLX_DISABLE_COMPILE", "MLX_ENABLE_TF32", "MLX_MAX_MB_PER_BUFFER", "MLX_MAX_MB_TRANSIENT_ONLY",
    "MLX_MAX_OPS_PER_BUFFER", "MLX_METAL_FAST_SYNCH", "MLX_METAL_GPU_ARCH", "MLX_SDPA_BLOCKS", "MLX_USE_CUDA_GRAPHS",
    "PYTORCH_ENABLE_MPS_FALLBACK", "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO",
    "PYTORCH_MPS_FAST_MATH", "PYTORCH_MPS_PREFER_METAL", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_JIT", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE", "TORCH_USE_CUDA_DSA", "TORCH_SHOW_CPP_STACKTRACES",
    "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_ORDER", "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_MODULE_LOADING", "CUDA_CACHE_DISABLE", "CUDA_INJECTION64_PATH", "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "MTL_DEBUG_LAYER", "MTL_SHADER_VALIDATION",
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "OMP_DYNAMIC", "OMP_SCHEDULE",
    "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "GOTO_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES",
    "PYTHONOPTIMIZE", "PYTHON_GIL", "PYTHON_JIT", "PYTHONMALLOC",
}  # fmt: skip
"""Environment variables that change what is computed where, or how fast. Names, since what merely begins like one may be
a secret (Terraform's TF_VAR_…), and a baseline is made to be read.
"""
FAMILIES = ("XLA_PYTHON_CLIENT_", "METALJAX_", "KMP_", "MALLOC_")
"""What all names of further ones begin with."""
ELSEWHERE = {
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "JAX_PLATFORMS", "JAX_PLATFORM_NAME", "CUDA_INJECTION64_PATH",
    "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "JAX_MPS_LIBRARY_PATH", "METALJAX_PLUGIN_PATH",
    "GOMP_CPU_AFFINITY", "OMP_PLACES",
}  # fmt: skip
"""Of VARIABLES those that say where to compute, or that make a process load what a file names."""
ALWAYS = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
"""What our own backends and the frameworks set where nobody else has."""


def is_computing(name: str) -> bool:
    """Whether that is a variable which says how to compute, so that a replay sets it as it was."""
    return name not in ELSEWHERE and (name in VARIABLES or name.startswith(FAMILIES))


def variables() -> dict[str, str]:
    """Those of them that are set: as much provenance as versions are."""
    there = {
        name: value
        for name, value in sorted(os.environ.items())
        if (name in VARIABLES or name.startswith(FAMILIES)) and ALWAYS.get(name) != value
    }
    # bytes that are no text could not travel to the parent
    return {name: value.encode("utf-8", "replace").decode() for name, value in there.items()}


class Backend(ABC):
    """One framework in one fresh process. Importing it is part of `__init__`; the methods are called in this order."""

    clock: Clock = staticmethod(RealTime.perf_counter)

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of all that can change the speed: the framework, its plugins, Keras, NumPy, Python."""

    @abstractmethod
    def devices(self) -> dict[str, str]:
        """The devices that this backend can train on, `{"cpu": "", "gpu": "NVIDIA H200", "gpu:1": …}`."""

    def hide(self, device: str) -> None:  # noqa: B027 - most have nothing to hide
        """Hide what a run on `device` must not see, before a module of the user's is imported; compute nothing."""

    @abstractmethod
    def set_up(self, device: str, precision: str, seed: int) -> None:
        """Make all that follows happen on `device` alone, in `precision`, from `seed`.

        Raises:
            Problem: of kind ``device``, when the device is not there or cannot do that precision.
        """

    def scope(self) -> AbstractContextManager[Any]:
        """What a builder is called in, so that what it makes without naming a device lies on the one that was asked for."""
        return nullcontext()

    def device_object(self, device: str) -> Any:
        """What a builder gets that declares `device`: the framework's own object."""
        return device

    def where_is(self, value: Any) -> str:  # noqa: ARG002
        """`cpu`, `gpu` or `gpu:1`: where a value or a model lies; empty where nobody can tell."""
        return ""

    def weights_of(self, value: Any) -> Iterable[Any]:  # noqa: ARG002
        """The trainable weights of a model or an optimizer of this framework; none of anything else."""
        return ()

    def computes_in(self, precision: str, step: Callable[[], Any]) -> bool | None:  # noqa: ARG002
        """Whether a step of the user's own computes anything in the dtype of `precision`, by one more; None is unknown."""
        return None

    @abstractmethod
    def trainable(self, built: Any, name: str, axes: Mapping[str, Any]) -> Trainable:
        """What trains what a builder returned: a compiled model with a batch, a `Step`, or a function that trains once.

        Raises:
            Problem: of kind ``builder``, when it returned something else.
        """

    def why_missing(self, device: str, devices: Mapping[str, str]) -> str:
        """One sentence on why `device` is not among `devices`, with the remedy where there is one."""
        return f"there is no {device} for {type(self).__name__} here (there is {', '.join(devices)})"

    def watch(self, device: str) -> Watch:
        """What looks at the machine's conditions, and counts energy, while a run on `device` is measured."""
        return Watch(device, RealTime.monotonic)

    def heat(self, device: str) -> str:
        """What heat holds `device` back now, in words; empty for none. A run waits for it to pass, two minutes at most."""
        return heat(device)

    def multiplication(self, arithmetic: str) -> Multiplication | None:  # noqa: ARG002
        """How matrices are multiplied here in one arithmetic that the facts of a step name; None is unknown."""
        return None

    def fence(self, outputs: Any) -> float:
        """Wait for what is computed, and read a value computed on the device after it."""
        return read_back(outputs)

    def peak_memory(self) -> int | None:
        """Peak bytes of the device's allocator, or of this process where the device's memory is the host's."""
        return process_peak_memory()


def process_peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None is unknown.

    macOS: the footprint, which counts what Metal allocates and what was compressed. Linux: the resident set since this
    program began (VmHWM, proc(5)); getrusage's would begin with that of the process that started it, which is pytest.
    """
    if sys.platform == "darwin":
        return peak_footprint()
    kilobytes = fields(read("/proc/self/status")).get("VmHWM", "").partition(" ")[0]
    return int(kilobytes) * 1024 if kilobytes.isdigit() else None
