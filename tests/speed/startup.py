"""What an installed and unused plugin costs at start-up: `python tests/speed/startup.py`.

Runs pytest over an empty suite with and without the plugin, in turn, each in a fresh process, and prints the median
difference with its quartiles. Then lists which heavy packages `pytest_metalperf.plugin` brings in (none).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 40
HEAVY = ("numpy", "scipy", "execnet", "msgspec", "psutil", "cloudpickle", "tensorflow", "keras", "torch", "jax")


def seconds(folder: str, *arguments: str) -> float:
    """Wall time of one `pytest --collect-only` over one trivial test."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *arguments]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the cost."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        without = ("-p", "no:metalperf")
        for arguments in ((), without):
            seconds(folder, *arguments)
        pairs = [(seconds(folder), seconds(folder, *without)) for _ in range(ROUNDS)]
    extra = sorted(1000 * (on - off) for on, off in pairs)
    low, middle, high = statistics.quantiles(extra, n=4)
    base = statistics.median(1000 * off for _, off in pairs)
    least = 1000 * (min(on for on, _ in pairs) - min(off for _, off in pairs))
    print(f"start-up, fastest of each: {least:+.1f} ms")
    print(f"start-up: {middle:+.1f} ms (quartiles {low:+.1f} to {high:+.1f}) on {base:.0f} ms, {ROUNDS} pairs in turn")
    code = f"import sys, pytest_metalperf.plugin; print(*[m for m in {HEAVY!r} if m in sys.modules] or ['none'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    print(f"heavy packages imported by pytest_metalperf.plugin: {found}")


if __name__ == "__main__":
    main()
