"""What a framework says on stderr while it goes on: a GPU's work that failed, or a loss of NaN; that time is no training's."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TextIO

from .problems import Problem

_FAILED = re.compile(
    # Metal's and MPS' own words: the command buffer is dropped, and the next one is started
    r"command buffer exited with error status"
    r"|Execution of the command buffer was aborted"
    r"|kIOGPUCommandBufferCallbackError\w+"
    r"|Insufficient Memory \(\d+:"
    # CUDA's errors that end a kernel. Not "out of memory", which allocators say and take less, and not "Failed call to
    # cuInit: CUDA_ERROR_NO_DEVICE", which TensorFlow says where there is no GPU, or none to be seen
    r"|CUDA_ERROR_(?:ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ASSERT|ECC_\w+)"
    r"|CUDA error: (?:an illegal|unspecified launch failure|misaligned address|device-side assert|uncorrectable)"
    r"|device-side assert triggered"
    r"|an illegal memory access was encountered"
    r"|uncorrectable ECC error"
    # libraries and XLA, of a kernel that did not run; where they try another one they say so in other words
    r"|CU(?:DNN|BLAS)_STATUS_EXECUTION_FAILED"
    r"|INTERNAL: Failed to (?:execute XLA Runtime executable|launch (?:CUDA|ROCm|XLA) kernel|enqueue async \w+)"
    # a training that has gone to NaN, as PyTorch's anomaly detection and Keras' TerminateOnNaN say it
    r"|Function '\w+' returned nan values in its \d+th output"
    r"|Invalid loss, terminating training"
)


def lines_of(log: TextIO) -> Iterator[str]:
    """The lines of a log one by one, a very long one in pieces: logs may be larger than the memory."""
    return iter(lambda: log.readline(65_536), "")


def failed_work(lines: Iterable[str]) -> str:
    """The first line that tells of a GPU's work which failed; empty where none does."""
    return next((line.strip()[:300] for line in lines if _FAILED.search(line)), "")


def check_log(lines: Iterable[str], name: str) -> None:
    """Raise for a log that tells of failed work: the steps that it cost are fast, and trained nothing.

    Raises:
        Problem: of kind ``device``, with the line.
    """
    if line := failed_work(lines):
        raise Problem(
            "device",
            f"work of {name} failed on its device, and the framework went on: its steps are no training ({line})",
        )


@contextlib.contextmanager
def recorded_stderr() -> Iterator[list[str]]:
    """What native code writes to this process's stderr meanwhile, in a list of one; it is written there too, afterwards."""
    written: list[str] = []
    try:
        number = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        before = os.dup(number)
    except (OSError, ValueError):  # closed, or none at all
        yield written
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), number)
        try:
            yield written
        finally:
            os.dup2(before, number)
            file.seek(0)
            data = file.read()
            written.append(data.decode(errors="replace"))
            with contextlib.suppress(OSError):
                os.write(before, data)
            os.close(before)
