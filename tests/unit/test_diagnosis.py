"""Known symptoms in logs as people post them, none in ordinary ones, and how a measurement that broke tells them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.doctor.symptoms import SYMPTOMS, diagnosis
from pytest_metalperf.measure.fleet import Fleet

pytestmark = pytest.mark.processes

REPEATABLE = settings(derandomize=True, max_examples=100, deadline=None)

PLUGIN = "/Users/me/venv/lib/python3.12/site-packages/tensorflow-plugins/libmetal_plugin.dylib"
LOAD = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "/Users/me/venv/lib/python3.12/site-packages/tensorflow/__init__.py", line 437, in <module>
    _ll.load_library(_plugin_dir)
  File "/Users/me/venv/lib/python3.12/site-packages/tensorflow/python/framework/load_library.py", line 151, in load_library
    py_tf.TF_LoadLibrary(lib)
"""
NOT_LOADED = f"""{LOAD}tensorflow.python.framework.errors_impl.NotFoundError: dlopen({PLUGIN}, 0x0006): \
Library not loaded: @rpath/_pywrap_tensorflow_internal.so
  Referenced from: <D2EF42E3-3A7F-39DD-9982-FB6BCDC2853C> {PLUGIN}
  Reason: tried: '/Users/me/venv/lib/python3.12/site-packages/_solib_darwin_arm64/_pywrap_tensorflow_internal.so' (no such file)
"""
NO_SYMBOL = f"""{LOAD}tensorflow.python.framework.errors_impl.NotFoundError: dlopen({PLUGIN}, 0x0006): \
Symbol not found: __ZN3tsl8internal10LogMessageC1EPKcii
  Referenced from: <D2EF42E3-3A7F-39DD-9982-FB6BCDC2853C> {PLUGIN}
  Expected in: <2FF1A7D9> /Users/me/venv/lib/python3.12/site-packages/tensorflow/python/_pywrap_tensorflow_internal.so
"""
TWICE = """2025-01-11 14:02:37.123456: F tensorflow/c/experimental/stream_executor/stream_executor.cc:808] Non-OK-status: \
stream_executor::MultiPlatformManager::RegisterPlatform( std::move(cplatform)) status: INTERNAL: \
platform is already registered with name: "METAL"
Abort trap: 6
"""
NO_WHEEL = """ERROR: Could not find a version that satisfies the requirement tensorflow-metal (from versions: none)
ERROR: No matching distribution found for tensorflow-metal
"""
ARCHITECTURE = """ImportError: dlopen(/x/numpy/core/_multiarray_umath.so, 0x0002): tried: '/x/numpy/core/_multiarray_umath.so' \
(mach-o file, but is an incompatible architecture (have 'arm64', need 'x86_64'))
"""
OLD_ARCHITECTURE = (
    "OSError: dlopen(/x/libhdf5.dylib, 6): no suitable image found.  Did find:\n\t/x: mach-o, but wrong architecture"
)
AVX = """2025-01-11 F tensorflow/core/platform/cpu_feature_guard.cc:37] The TensorFlow library was compiled to use AVX \
instructions, but these aren't available on your machine.
"""
FAULT = (
    'Fatal Python error: Illegal instruction\n\nCurrent thread 0x1 (most recent call first):\n  File "a.py", line 1\n'
)
NO_GPU = """2025-01-11 I metal_plugin/src/device/metal_device.cc:1154] Metal device set to: Apple M1 (Virtual)
2025-01-11 F metal_plugin/src/device/metal_device.cc:90] No supported GPU was found.
"""
NO_COMPILER = """tensorflow.python.framework.errors_impl.UnimplementedError: Could not find compiler for platform METAL: \
NOT_FOUND: could not find registered compiler for platform METAL -- check target linkage [Op:__inference_one_step_1]
"""
NO_PLATFORM = """NotFoundError: Graph execution error:

Detected at node StatefulPartitionedCall defined at (most recent call last):
could not find registered platform with id: 0x106170d30
\t [[{{node StatefulPartitionedCall}}]] [Op:__inference_train_function_1]
"""
NUMPY = """
A module that was compiled using NumPy 1.x cannot be run in
NumPy 2.1.3 as it may crash. To support both 1.x and 2.x
versions of NumPy, modules must be compiled with NumPy 2.0.
"""
MEMORY = """RuntimeError: MPS backend out of memory (MPS allocated: 7.43 GB, other allocations: 24.46 GB, max allowed: \
32.00 GB). Tried to allocate 129.21 MB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit
"""
VIRTUAL_MEMORY = """RuntimeError: MPS backend out of memory (MPS allocated: 0 bytes, other allocations: 0 bytes, max allowed: \
7.93 GB). Tried to allocate 256 bytes on shared pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit
"""
NOT_ON_MPS = """NotImplementedError: The operator 'aten::linalg_qr.out' is not currently implemented for the MPS device. If you \
want this op to be added in priority during the prototype phase of this feature, please comment on the issue.
"""
FLOAT64 = """  File "/x/train.py", line 7, in batch
TypeError: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32 instead.
"""
JAX_METAL = """Platform 'METAL' is experimental and not all JAX functionality may be correctly supported!
jaxlib.xla_extension.XlaRuntimeError: UNIMPLEMENTED: default_memory_space is not supported.
"""

JAX_MPS = """jax_plugins/mps/__init__.py:146: UserWarning: jax-mps was built for jaxlib 0.11.x, but jaxlib 0.10.2 is installed.
jax.errors.JaxRuntimeError: UNKNOWN: Failed to parse StableHLO program. The program may be malformed or use an unsupported format.
"""
KERAS_MLX = """  File "/x/keras/src/backend/__init__.py", line 67, in <module>
ValueError: Unable to import backend : mlx
"""
CUDNN = """E1027 15:11:27.184481 3266602 cuda_dnn.cc:456] Loaded runtime CuDNN library: 9.1.0 but source was compiled with: \
9.8.0.  CuDNN library needs to have matching major version and equal or higher minor version.
"""
OLD_CUDNN = "CUDA backend failed to initialize: Found cuDNN version 8700, but JAX was built against version 8800, which is newer."
TORCH_CUDNN = "RuntimeError: cuDNN version incompatibility: PyTorch was compiled  against (9, 1, 0) but found (8, 9, 2)"
SUBLIBRARY = "RuntimeError: cuDNN error: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH"
NO_JIT_LINK = "libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12"
NDARRAY = """/AppleInternal/Library/BuildRoots/x/MPSNDArray.mm:850: failed assertion `[MPSNDArray \
initWithDevice:descriptor:isTextureBacked:] Error: total bytes of NDArray > 2**32'
"""
DIMENSIONS = (
    "failed assertion `[MPSTemporaryNDArray initWithDevice:descriptor:] Error: product of dimension sizes > 2**31'"
)
OLD_MACOS = (
    "RuntimeError: The MPS backend is supported on MacOS 14.0+. Current OS version can be queried using `sw_vers`"
)
PLACEHOLDER = "RuntimeError: Placeholder storage has not been allocated on MPS device!"
INSUFFICIENT = """Error: command buffer exited with error status.
\tThe Metal Performance Shaders operations encoded on it may not have completed.
\tError:
\t(null)
\tInsufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)
"""
ABORTED = """Error: command buffer exited with error status.
\tThe Metal Performance Shaders operations encoded on it may not have completed.
"""


@pytest.mark.parametrize(
    ("log", "cause", "fix"),
    [
        (
            NOT_LOADED,
            "does not load with TensorFlow 2.20 or later",
            "TensorFlow 2.18 or 2.19 with tensorflow-metal 1.2.0",
        ),
        (
            NO_SYMBOL,
            "1.1.0 and older do not load with TensorFlow 2.18",
            "TensorFlow 2.18 or 2.19 with tensorflow-metal 1.2.0",
        ),
        (TWICE, "two Metal plugins, or one by two paths", "a fresh virtual environment"),
        (NO_WHEEL, "no wheel for this Python", "arm64 Python 3.10 to 3.12"),
        (NO_WHEEL.replace("-metal\n", "-metal==1.2.0\n"), "no wheel for this Python", "arm64 Python 3.10 to 3.12"),
        (
            "zsh: illegal hardware instruction  python3",
            "instructions that this processor has not",
            "a native arm64 Python",
        ),
        ("Illegal instruction: 4", "instructions that this processor has not", "a native arm64 Python"),
        ("Illegal instruction (core dumped)", "instructions that this processor has not", "a build for this CPU"),
        (FAULT, "instructions that this processor has not", "a native arm64 Python"),
        (AVX, "instructions that this processor has not", "a build for this CPU"),
        ("the worker was ended by SIGILL in its phase 'import'", "instructions that this processor", "native arm64"),
        (ARCHITECTURE, "compiled for different processors", "a native arm64 Python"),
        (OLD_ARCHITECTURE, "compiled for different processors", "a native arm64 Python"),
        (NO_GPU, "found no GPU, as in a virtual machine", "real hardware, or --metal-devices cpu"),
        (NO_COMPILER, "XLA does not compile for Metal", "leave jit_compile off"),
        (NO_PLATFORM, "XLA does not compile for Metal", "leave jit_compile off"),
        (NUMPY, "built for NumPy 1 and NumPy 2 is installed", "numpy<2"),
        (NUMPY.replace("\n", "\r\n"), "built for NumPy 1 and NumPy 2 is installed", "numpy<2"),
        ("AttributeError: _ARRAY_API not found", "built for NumPy 1 and NumPy 2 is installed", "numpy<2"),
        (JAX_METAL, "jax-metal does not work with jax 0.5 or later", "pip uninstall jax-metal"),
        (JAX_MPS, "built for one minor version of jaxlib", "doctor names the versions that fit"),
        (KERAS_MLX, "takes no backend from a package, as keras-mlx", "pip install keras-nightly"),
        (CUDNN, "another version of a CUDA library", "import no second framework there"),
        (OLD_CUDNN, "another version of a CUDA library", "import no second framework there"),
        (TORCH_CUDNN, "another version of a CUDA library", "import no second framework there"),
        (SUBLIBRARY, "another version of a CUDA library", "import no second framework there"),
        (NO_JIT_LINK, "that belong together are of different versions", "unset LD_LIBRARY_PATH"),
        (FLOAT64, "no float64", "make them float32"),
        (VIRTUAL_MEMORY, "no memory, as in a virtual machine", "--metal-devices cpu"),
        (NOT_ON_MPS, "has not this operation", "PYTORCH_ENABLE_MPS_FALLBACK=1"),
        (MEMORY, "the memory that CPU and GPU have in common is full", "a smaller batch_size"),
        (NDARRAY, "one array is larger than", "a smaller batch_size"),
        (DIMENSIONS, "one array is larger than", "a smaller batch_size"),
        (OLD_MACOS, "from a later macOS on", "update macOS"),
        (PLACEHOLDER, "its batch (or a part of the model) on the CPU", ".to(device)"),
        (INSUFFICIENT, "no memory left", "a smaller batch_size"),
        (ABORTED, "Metal dropped work", "a smaller batch_size"),
    ],
)
def test_symptoms_are_found_in_what_people_post(log, cause, fix):
    found = diagnosis(f"Metal device set to: Apple M1 Pro\n\n{log}\nlast words\n")
    assert found == diagnosis(log)
    assert cause in found.cause
    assert fix in found.fix
    assert str(found) == f"{found.cause}; fix: {found.fix}"


def test_every_symptom_is_tested():
    logs = (
        NOT_LOADED,
        NO_SYMBOL,
        TWICE,
        NO_WHEEL,
        ARCHITECTURE,
        FAULT,
        NO_GPU,
        VIRTUAL_MEMORY,
        NOT_ON_MPS,
        NO_COMPILER,
        NUMPY,
        JAX_METAL,
        JAX_MPS,
        KERAS_MLX,
        CUDNN,
        NO_JIT_LINK,
        FLOAT64,
        MEMORY,
        NDARRAY,
        OLD_MACOS,
        PLACEHOLDER,
        INSUFFICIENT,
        ABORTED,
    )
    assert {diagnosis(log) for log in logs} == set(SYMPTOMS)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "Metal device set to: Apple M1 Pro\nsystemMemory: 32.00 GB\nmaxCacheSize: 10.67 GB",
        "pluggable_device_factory.cc:305] Could not identify NUMA node of platform GPU ID 0, defaulting to 0.\n"
        "Created TensorFlow device (/device:GPU:0 with 0 MB memory) -> physical PluggableDevice (device: 0, name: METAL)",
        "Plugin optimizer for device_type GPU is enabled.",
        "cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available CPU instructions in performance-critical"
        " operations.\nTo enable the following instructions: AVX2 AVX512F FMA, in other operations, rebuild TensorFlow.",
        "cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register factory for plugin cuDNN when one has"
        " already been registered",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        "ResourceExhaustedError: OOM when allocating tensor with shape[128,256] on /device:GPU:0 by allocator GPU_0_bfc",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: an illegal instruction was encountered",  # of a broken kernel, on any CPU
        "cpu_aot_loader.cc:210] Machine type used for XLA:CPU compilation doesn't match the machine type for execution."
        " This could lead to execution errors such as SIGILL.",  # a warning, of a compilation cache
        "ValueError: Input 0 of layer dense is incompatible with the layer: expected axis -1 to have value 10, shape (8, 9)",
        "ModuleNotFoundError: No module named 'ranker'",
        "ModuleNotFoundError: No module named 'tensorflow'",
        "ERROR: No matching distribution found for tensorflow==2.99",
        "ERROR: No matching distribution found for tensorflow-metal-plugin",  # the other one, for other Pythons
        "UserWarning: The operator 'aten::nonzero' is not currently supported on the MPS backend and will fall back to the CPU",
        "ImportError: numpy.core.multiarray failed to import",
        "NotFoundError: Could not find registered optimizer with id 7",
        'File "/Users/me/metal/train.py", line 3, in build\nKeyError: "METAL"\nAbort trap: 6',
    ],
)
def test_ordinary_words_are_no_symptom(log):
    assert diagnosis(log) is None


@REPEATABLE
@given(st.text())
def test_no_text_raises(text):
    assert diagnosis(text) is None


# in a measurement

BREAKS = """
import os, sys
from fake_backend import FakeModel

def known():
    print({twice!r}, file=sys.stderr, flush=True)
    for line in range(100):  # until it is past what a failure shows of the log
        print("more", line, file=sys.stderr, flush=True)
    os.abort()

def unknown():
    print("Metal device set to: Apple M1 Pro", file=sys.stderr, flush=True)
    os.abort()

def raises():
    raise TypeError({float64!r})

def clashes():
    def step():
        print({cudnn!r}, file=sys.stderr, flush=True)
        print({twice!r}, file=sys.stderr, flush=True)  # of a mistake in a step the log's other symptoms say nothing
        raise RuntimeError("DNN library initialization failed.")
    return step

def test_known(metal_bench): metal_bench(known)
def test_unknown(metal_bench): metal_bench(unknown)
def test_raises(metal_bench): metal_bench(raises)
def test_clashes(metal_bench): metal_bench(clashes)
"""


@pytest.mark.skipif(os.name != "posix", reason="ends by signals")
def test_a_measurement_that_broke_tells_cause_and_fix_in_one_line(suite):
    suite.write(BREAKS.format(twice=TWICE, cudnn=CUDNN, float64=FLOAT64.splitlines()[1].removeprefix("TypeError: ")))
    assert suite.run("--junitxml=out.xml").ret == 1
    cases = ET.parse(suite.pytester.path / "out.xml").iter("testcase")
    texts = {case.get("name"): case.findtext("failure") for case in cases}
    logs = {"known": TWICE, "raises": FLOAT64, "unknown": "", "clashes": CUDNN}
    for test, log in ((f"test_{name}[cpu]", log) for name, log in logs.items()):
        told = [line for line in texts[test].splitlines() if line.startswith("  known     ")]
        assert told == [f"  known     {diagnosis(one)}" for one in (log,) if one]
    assert "was ended by SIGABRT in its phase 'build'\n  known  " in texts["test_known[cpu]"]
    assert "was ended by SIGABRT in its phase 'build'" in texts["test_unknown[cpu]"]
    assert "raises raised TypeError: Cannot convert a MPS Tensor" in texts["test_raises[cpu]"]


SEES_NO_GPU = """
import sys
from fake_backend import Fake

class Clashes(Fake):
    def devices(self):
        print({cudnn!r}, file=sys.stderr, flush=True)
        return {{"cpu": ""}}
"""


def test_a_gpu_that_a_clash_hides_is_told_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path / "lock"))
    (tmp_path / "clashes.py").write_text(SEES_NO_GPU.format(cudnn=OLD_CUDNN))
    source = {"kind": "import", "module": "clashes", "file": str(tmp_path / "clashes.py"), "name": "Clashes"}
    fleet = Fleet(session="test")
    try:
        missing = fleet.probe({**source, "root": str(tmp_path)}, "gpu").missing
    finally:
        fleet.close()
    assert missing == f"there is no gpu for Clashes here (there is cpu); {diagnosis(OLD_CUDNN)}"
