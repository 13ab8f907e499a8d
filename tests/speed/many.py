"""What the plugin costs each test of a large suite, beside measuring.

    python tests/speed/many.py [TESTS]

A thousand workloads are recorded, gated, and updated with the fake backend. Its workers answer in pytest's own process, and the
processor's time that they take is left out. Printed are milliseconds of the processor a test, for the first and the last
hundred, and the peak memory of the process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parents[1] / "support"
SUITE = """
import pytest
from fake_backend import build

@pytest.mark.parametrize("number", range({tests}))
def test_it(metal_bench, number):
    metal_bench(build, name=f"model {{number}}")
"""
CONFTEST = """
def pytest_metalperf_backends():
    from fake_backend import Fake
    return {"fake": Fake}
"""
INI = "[pytest]\nmetal_backend = fake\nmetal_machine = here\nmetal_devices = cpu\nmetal_runs = 2\n"
MODES = {
    "recorded": ["--metal-update-baselines"],
    "gated": [],
    "extended": ["--metal-update-baselines", "--metal-update-mode=extend"],
}


class Clock:
    """Takes the processor's time of each test, without what its runs took."""

    def __init__(self) -> None:
        self.tests: list[float] = []
        self._runs = 0.0

    def watch_runs(self) -> None:
        """Leave out what happens between asking for runs and getting them."""
        from pytest_metalperf.session import MetalSession

        measure = MetalSession.runs

        def runs(*arguments: Any, **keywords: Any) -> Any:
            since = time.process_time()
            found = measure(*arguments, **keywords)
            self._runs += time.process_time() - since
            return found

        MetalSession.runs = runs  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        since, before = time.process_time(), self._runs
        result = yield
        self.tests.append(time.process_time() - since - (self._runs - before))
        return result


def session(mode: str) -> int:
    """One session in this process; prints its line."""
    sys.path.insert(0, str(SUPPORT))
    import in_process

    from pytest_metalperf.measure import worker

    worker.Process = in_process.start  # type: ignore[attr-defined]
    clock = Clock()
    clock.watch_runs()
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", *MODES[mode]], plugins=[clock])
    each = [1000 * seconds for seconds in clock.tests]
    hundred = min(100, len(each) // 2)
    first, last = (sorted(part)[len(part) // 2] for part in (each[1 : hundred + 1], each[-hundred:]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(
        f"{len(each)} tests {mode}: {first:.1f} ms a test at first, {last:.1f} ms at last, {sum(each) / 1000:.1f} s in all,"
        f" {peak:.0f} MB",
        file=sys.stderr,
    )
    return int(status)


def main() -> None:
    """Print all figures."""
    tests = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {"conftest.py": CONFTEST, "test_it.py": SUITE.format(tests=tests), "pytest.ini": INI}.items():
            (folder / file).write_text(text)
        for mode in MODES:
            subprocess.run(
                [sys.executable, __file__, "--session", mode],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(SUPPORT)},
                stdout=subprocess.DEVNULL,
                check=True,
            )


if __name__ == "__main__":
    sys.exit(session(sys.argv[2])) if sys.argv[1:2] == ["--session"] else main()
