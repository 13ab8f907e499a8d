"""Known symptoms of a broken environment: what a log says, why, and the fix.

Their words are those of TensorFlow's, PyTorch's, JAX' and pip's own messages, as users have posted them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .environment import JAX_FIX, METAL_FIX, METAL_PYTHONS


class Symptom(NamedTuple):
    """What shows a known trouble.

    Attributes:
        pattern: a regular expression that its message holds.
        cause: a clause that says what is wrong.
        fix: what to do.
    """

    pattern: str
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"{self.cause}; fix: {self.fix}"


CLASHES = (
    Symptom(
        r"Loaded runtime CuDNN library: \S+ but source was compiled with"
        r"|Found \w+ version \d+, but JAX was built against version"
        r"|cuDNN version (?:incompatibility|mismatch): PyTorch was compiled"
        r"|CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH",
        "this process loaded another version of a CUDA library than the framework was built with",
        "import no second framework there, unset LD_LIBRARY_PATH, or install releases that ask for the same nvidia packages",
    ),
    Symptom(
        r"undefined symbol: _*(?:nvJitLink|cublas|cudnn|cusparse|cusolver|cufft|nccl)\w*",
        "two CUDA libraries that belong together are of different versions",
        "unset LD_LIBRARY_PATH, and install the framework anew with the nvidia packages that it asks for",
    ),
)
"""Of two frameworks in one process, or one beside a foreign CUDA: told in a log, and in other words where a step then fails."""
SYMPTOMS = (
    *CLASHES,
    Symptom(
        r"Library not loaded: @rpath/_pywrap_tensorflow_internal\.so",
        "tensorflow-metal does not load with TensorFlow 2.20 or later",
        METAL_FIX,
    ),
    Symptom(
        r"[Ss]ymbol not found: _*ZN3tsl8internal10LogMessageC1EPKcii|libmetal_plugin\.dylib.*[Ss]ymbol not found",
        "tensorflow-metal 1.1.0 and older do not load with TensorFlow 2.18 or later",
        METAL_FIX,
    ),
    Symptom(
        r"platform is already registered with name: ?\"?METAL",
        "TensorFlow found two Metal plugins, or one by two paths",
        "leave one of tensorflow-metal and tensorflow-metal-plugin, in a fresh virtual environment",
    ),
    Symptom(
        r"No matching distribution found for tensorflow-metal(?!-)",
        "tensorflow-metal has no wheel for this Python",
        f"use {METAL_PYTHONS}",
    ),
    Symptom(
        r"incompatible architecture|mach-o, but wrong architecture",
        "Python and a library are compiled for different processors",
        "use a native arm64 Python, and install everything anew in it",
    ),
    Symptom(
        r"[Ii]llegal (hardware )?instruction(?! was encountered)|ended by SIGILL"
        r"|compiled to use AVX instructions, but these aren't available",
        "the library uses instructions that this processor has not (x86-64 code with AVX under Rosetta or on an old CPU)",
        "on Apple silicon use a native arm64 Python; elsewhere a build for this CPU",
    ),
    Symptom(
        r"No supported GPU was found\.",
        "tensorflow-metal found no GPU, as in a virtual machine",
        "use real hardware, or --metal-devices cpu",
    ),
    Symptom(
        r"Could not find compiler for platform METAL|could not find registered platform with id",
        "XLA does not compile for Metal",
        "leave jit_compile off on this device",
    ),
    Symptom(
        r"compiled using NumPy 1\.x cannot be run in\s+NumPy 2|_ARRAY_API not found",
        "a library was built for NumPy 1 and NumPy 2 is installed",
        "pip install 'numpy<2', or a newer release of that library",
    ),
    Symptom(
        r"default_memory_space is not supported",
        "jax-metal does not work with jax 0.5 or later",
        f"pip uninstall jax-metal; {JAX_FIX}",
    ),
    Symptom(
        r"Failed to parse StableHLO program\.",
        "jax-mps cannot read what this JAX compiles: it is built for one minor version of jaxlib",
        "python -m pytest_metalperf doctor names the versions that fit",
    ),
    Symptom(
        r"Unable to import backend : mlx",
        "this Keras takes no backend from a package, as keras-mlx is one",
        "pip uninstall keras; pip install keras-nightly, or pip uninstall keras-mlx and unset KERAS_BACKEND",
    ),
    Symptom(
        r"total bytes of NDArray > 2\*\*32|product of dimension sizes > 2\*\*31",
        "one array is larger than this version of macOS lets Metal hold (4 GB, or 2**31 elements)",
        "try a smaller batch_size or image_size, or a newer macOS",
    ),
    Symptom(
        r"The MPS backend is supported on MacOS (\d+\.\d+)\+",
        "this PyTorch trains on Apple's GPU from a later macOS on",
        "update macOS to the version that the message names, or install an older PyTorch",
    ),
    Symptom(
        r"Placeholder storage has not been allocated on MPS device",
        "the model lies on Apple's GPU, and its batch (or a part of the model) on the CPU",
        "let the builder take `device`, and move model and batch there with .to(device)",
    ),
    Symptom(
        r"Insufficient Memory \(\d+:|kIOGPUCommandBufferCallbackErrorOutOfMemory",
        "Metal had no memory left for this work, and dropped it",
        "try a smaller batch_size, and close what else uses the GPU",
    ),
    Symptom(
        r"command buffer exited with error status|Execution of the command buffer was aborted"
        r"|kIOGPUCommandBufferCallbackError",
        "Metal dropped work that the framework had given it",
        "try a smaller batch_size; if it stays, report it to the framework with the line above",
    ),
    Symptom(
        r"MPS framework doesn't support float64",
        "Apple's GPU has no float64, and a builder or its data asks for it",
        "make them float32",
    ),
    Symptom(
        r"MPS backend out of memory \(MPS allocated: 0 bytes",
        "Metal gives this machine no memory, as in a virtual machine",
        "use real hardware, or --metal-devices cpu",
    ),
    Symptom(
        r"The operator '[^']+' is not currently implemented for the MPS device",
        "PyTorch has not this operation for Apple's GPU",
        "set PYTORCH_ENABLE_MPS_FALLBACK=1, and the CPU does it; the fingerprint then counts it among operations on the CPU",
    ),
    Symptom(
        r"MPS backend out of memory",
        "PyTorch's share of the memory that CPU and GPU have in common is full",
        "try a smaller batch_size; PYTORCH_MPS_HIGH_WATERMARK_RATIO is that share",
    ),
)


def diagnosis(text: str, of: Iterable[Symptom] = SYMPTOMS) -> Symptom | None:
    """The first known symptom that a message or a log shows; None where none does."""
    return next((one for one in of if re.search(one.pattern, text)), None)
