"""What stacks cost: telling what a worker has loaded; an environment made, found again, made by two, made after a kill.

    python tests/speed/stacks.py [--backend tensorflow] [--packages numpy,termcolor] [--kills 10] [--whole] [--uv UV]

Asks the package index for what this interpreter has loaded, into a cache of its own that is removed at the end. With
`--whole`, the whole stack is made, and a worker there must tell the same stack. Ends with status 1 where anything is
other than it should be.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.interpreter import HERE, Interpreter
from pytest_metalperf.references.collected import Collected, collected
from pytest_metalperf.references.environment import Environments
from pytest_metalperf.references.installer import find_uv
from pytest_metalperf.references.stack import Stack, difference
from pytest_metalperf.references.stack_file import path_of, read, write

AGAIN = """
import sys
from pathlib import Path
from pytest_metalperf.references.environment import Environments
from pytest_metalperf.references.stack_file import read
made = Environments(Path(sys.argv[1]), sys.argv[4:]).of(read(Path(sys.argv[2]), sys.argv[3]))
print(made.seconds > 0)
"""


def told(backend: str, interpreter: Interpreter = HERE) -> tuple[Collected, float]:
    """What a worker with that framework has loaded, and the seconds that telling it took."""
    fleet = Fleet()
    try:
        worker = fleet.start(interpreter)
        worker.ask("look", backend=backend, device="cpu")
        fleet.wait([worker])
        start = time.perf_counter()
        worker.ask("stack")
        fleet.wait([worker])
        return collected(worker.results["stack"], Path(__file__).parents[2]), time.perf_counter() - start
    finally:
        fleet.close()


def made(what: str, cache: Path, uv: list[str], stack: Stack, tools: tuple = ()) -> tuple[Environments, Path]:
    environments = Environments(cache, uv)
    start = time.perf_counter()
    found = environments.of(stack, tools)
    row(what, time.perf_counter() - start)
    return environments, found.python


def row(what: str, seconds: float, more: str = "") -> None:
    print(f"{what:<46} {seconds:8.3f} s  {more}".rstrip(), flush=True)


def unfinished(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.is_dir() and path.name.startswith(("unfinished-", "gone-"))]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--backend", default="tensorflow")
    options.add_argument("--packages", default="numpy,termcolor")
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--whole", action="store_true")
    options.add_argument("--uv", nargs="*")
    given = options.parse_args()
    uv, wrong = given.uv or find_uv(), []
    for _ in range(3):
        found, seconds = told(given.backend)
        row(f"a worker with {given.backend} tells its stack", seconds, f"{len(found.stack.packages)} packages")
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        start = time.perf_counter()
        whole = write(folder, found.stack)
        wrong += [] if read(folder, whole) == found.stack else ["what was read is not what was written"]
        row("written and read", time.perf_counter() - start, f"{path_of(folder, whole).stat().st_size} bytes")
        few = tuple(one for one in found.stack.packages if one.name in given.packages.split(","))
        small = replace(found.stack, packages=few)
        first, _ = made(f"{len(few)} packages, made", cache, uv, small)
        other, _ = made("found in the cache by another session", cache, uv, small)
        for one in (first, other):
            one.close()
        command = [sys.executable, "-c", AGAIN, str(folder / "two"), name, write(folder, small), *uv]
        start = time.perf_counter()
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = sorted(process.communicate()[0].strip() for process in both)
        row("two sessions at once", time.perf_counter() - start, f"made: {' and '.join(said)}")
        wrong += [] if said == ["False", "True"] else ["two at once did not make it once"]
        draw, command[3] = random.Random(given.seed), str(folder / "killed")
        for _ in range(given.kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.2, 2.0))
            process.kill()
            process.wait()
            again, python = made(
                f"after a kill ({len(unfinished(folder / 'killed'))} unfinished)", folder / "killed", uv, small
            )
            again.close()
            wrong += [f"left: {left}" for left in unfinished(folder / "killed")]
            used = subprocess.run([str(python), "-c", f"import {few[0].name}"], check=False).returncode
            wrong += ["what was made after a kill does not import"] if used else []
            for kept in (folder / "killed").glob("*/metalperf.json"):
                kept.unlink()  # made anew the next time
        if given.whole:
            environments, python = made("the whole stack, made", cache, uv, found.stack, found.tools)
            there, seconds = told(given.backend, Interpreter(name="there", python=str(python)))
            differs = difference(found.stack, there.stack)
            row("a worker there tells its stack", seconds, differs.words() or "the same")
            wrong += ["the stack there is another"] if differs else []
            environments.close()
            environments, _ = made("the whole stack, found", cache, uv, found.stack, found.tools)
            environments.close()
    print("\n".join(wrong) or "nothing was other than it should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
