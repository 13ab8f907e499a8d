"""Small wrong changes of the code that decides and stores: a command that counts those that our tests do not notice.

    python tests/attacks/mutation.py [MUTANTS] [SEED] [FILE]

A random sample of all mutants (`mutants.py`) of `gate/`, `baselines/`, `judge/` and `settings.py`, or of the files whose name
matches. Each is written into a copy of this repository, which sessions and workers that are processes import too. The
tests that reach the changed line run against it, the fastest first, until one fails; a line that runs at import is that of all
tests that reach its folder. Which tests reach which line is measured once for each state of the code, in `build/mutation`,
where verdicts are kept too: a command that was ended goes on where it stopped. Tests that need a
framework are left out, and a slow one that fails without the change too is not believed.

Why not a library: mutmut 3 changes functions only, where half of `settings.py` runs at import, and takes no random sample;
cosmic-ray runs one command for every mutant, whatever tests reach it, which would be ten minutes each.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from equivalent import EQUIVALENT
from mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutation"
PLACES = ("gate", "baselines", "judge", "settings.py")
MARKS = "not tensorflow and not torch and not jax and not gate"
ARGUMENTS = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=no", "-m", MARKS]
STAGES = (2.0, 10.0, 60.0)
"""Seconds of tests that one process runs against a mutant before the next one takes over; what is beyond is left out."""
SLOW = 0.3
ELSEWHERE = 99
LOADED = ("numpy", "scipy.special", "scipy.stats", "msgspec", "psutil", "execnet", "cloudpickle", "tabulate")
Z = 1.959964


class Times:
    """A plugin that writes down what each test took, and which did not pass."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.bad: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.bad.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        good = {test: seconds for test, seconds in self.seconds.items() if test not in self.bad}
        Path("times.json").write_text(json.dumps(good))


class Chosen:
    """A plugin that keeps the chosen tests, in their order, and writes down the first that fails."""

    def __init__(self, tests: list[str], killer: Path) -> None:
        self.killer = killer
        self.left = set(tests)
        self.places = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((one for one in items if one.nodeid in self.places), key=lambda one: self.places[one.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.left.discard(report.nodeid)
        if report.failed:
            self.killer.write_text(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and self.left:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR  # a mutant that keeps tests from running is seen


def in_child(folder: Path, arguments: list[str], plugins: list[object], limit: float) -> int | None:
    """pytest's exit code in a forked process, which imports the package of `folder`; None past the limit in seconds."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.chdir(folder)
            out = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.environ["PYTHONPATH"] = str(folder)
            sys.path[:] = [str(folder), *(path for path in sys.path if Path(path) != Path(__file__).parent)]
            code = pytest.main([*arguments, f"--basetemp={folder}/base"], plugins)
            package = sys.modules.get("pytest_metalperf")
            if package is not None and not str(package.__file__).startswith(str(folder)):
                code = ELSEWHERE
        except BaseException:  # what a mutant may raise at its import
            code = pytest.ExitCode.INTERNAL_ERROR
        os._exit(code)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def copy(folder: Path) -> None:
    """This repository's files, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def digest(*files: Path) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()[:20]


def code_digest() -> str:
    """Of all that a test's reach depends on but its own file."""
    return digest(
        *sorted((ROOT / "pytest_metalperf").rglob("*.py")),
        ROOT / "tests" / "conftest.py",
        *sorted((ROOT / "tests" / "support").glob("*.py")),
    )


def targets() -> list[Path]:
    package = ROOT / "pytest_metalperf"
    return [
        file
        for place in PLACES
        for file in ([package / place] if "." in place else sorted((package / place).glob("*.py")))
    ]


here: Path
"""The copy that this process of the pool works in."""


def settle(folders: Any) -> None:
    """What each process of the pool does first: a copy of its own, and what takes long to import."""
    global here
    here = Path(folders.get())
    copy(here)
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def reach(file: str, kept: Path) -> None:
    """Measure one file of tests, and keep the answer."""
    import coverage

    patterns = [f"  pytest_metalperf/{one if one.endswith('.py') else f'{one}/*'}\n" for one in PLACES]
    (here / "coveragerc").write_text("[run]\ninclude =\n" + "".join(patterns))
    for name in ("times.json", ".coverage"):
        (here / name).unlink(missing_ok=True)
    in_child(
        here,
        [file, *ARGUMENTS, "--cov", "--cov-config=coveragerc", "--cov-context=test", "--cov-report="],
        [Times()],
        900,
    )
    seconds = json.loads((here / "times.json").read_text()) if (here / "times.json").exists() else {}
    lines: dict[str, dict[str, set[str]]] = {}
    if (here / ".coverage").exists():
        data = coverage.CoverageData(str(here / ".coverage"))
        data.read()
        for source in data.measured_files():
            name = str(Path(source).relative_to(here))
            for line, contexts in data.contexts_by_lineno(source).items():
                for context in contexts:
                    test, _, phase = context.partition("|")
                    # what a fixture of many tests reaches is reached by all of its file
                    tests = seconds if phase == "setup" else [test] if test in seconds else []
                    lines.setdefault(name, {}).setdefault(str(line), set()).update(tests)
        data.close()
    kept.write_text(
        json.dumps(
            {
                "seconds": seconds,
                "lines": {name: {line: sorted(tests) for line, tests in one.items()} for name, one in lines.items()},
            }
        )
    )


class Choice:
    """Which tests a mutant is tried against, in which order."""

    def __init__(self, kept: list[Path]) -> None:
        self.seconds: dict[str, float] = {}
        self.lines: dict[tuple[str, int], set[str]] = {}
        self.rooms: dict[str, set[str]] = {}
        bodies = {str(file.relative_to(ROOT)): _bodies(file) for file in targets()}
        for one in kept:
            found = json.loads(one.read_text())
            self.seconds.update(found["seconds"])
            for name, lines in found["lines"].items():
                for line, tests in lines.items():
                    self.lines.setdefault((name, int(line)), set()).update(tests)
                    if int(line) in bodies[name]:
                        self.rooms.setdefault(_room(name), set()).update(tests)

    def of(self, mutant: Mutant) -> list[list[str]]:
        """The tests of each stage, those of one file together, so that they share their fixtures."""
        tests: set[str] = set()
        if mutant.inner:
            tests = tests.union(*(self.lines.get((mutant.file, line), ()) for line in mutant.reached))
        tests = tests or self.rooms.get(_room(mutant.file), set())  # what runs at import only is of all its neighbours
        words = {*mutant.names, Path(mutant.file).stem, *re.findall(r"[A-Za-z_]+", mutant.before)}
        parts = {part.lower() for word in words for part in word.split("_") if len(part) > 3}
        fastest = sorted(tests, key=lambda test: self.seconds[test])
        rare = {part: 1 / found for part in parts if (found := sum(part in test for test in tests))}
        nearest = sorted(fastest, key=lambda test: -max((rare[part] for part in rare if part in test), default=0.0))
        stages: list[list[str]] = [[] for _ in STAGES]
        spent, stage = 0.0, 0
        for test in dict.fromkeys(test for both in zip(nearest, fastest, strict=True) for test in both):
            spent += self.seconds[test]
            while stage < len(STAGES) and spent > STAGES[stage] and stages[0]:
                stage += 1
            if stage == len(STAGES):
                break
            stages[stage].append(test)
        return [_by_file(one) for one in stages if one]


def _room(file: str) -> str:
    folder = str(Path(file).parent)
    return file if folder == "pytest_metalperf" else folder


def _by_file(tests: list[str]) -> list[str]:
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    return sorted(tests, key=lambda test: files.index(test.partition("::")[0]))


def _bodies(file: Path) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef):
            lines.update(range(node.body[0].lineno, node.end_lineno + 1))
    return lines


trusted: dict[str, bool] = {}


def attempt(number: int, mutant: Mutant, stages: list[list[str]], seconds: dict[str, float]) -> tuple[int, str, str]:
    """`killed`, `timed out` or `survived`, and the test that failed."""
    file = here / mutant.file
    original = file.read_bytes()
    try:
        for stage in stages:
            tests = stage
            while tests:
                file.write_bytes(mutant.source)
                _forget(file)
                code, killer = _tests(tests, seconds)
                file.write_bytes(original)
                _forget(file)
                if code == pytest.ExitCode.OK:
                    break
                if code is None:
                    return number, "timed out", ""
                if code == ELSEWHERE:
                    raise RuntimeError("the package was imported from elsewhere")
                if not killer or seconds.get(killer, 0) < SLOW or trusted.get(killer):
                    return number, "killed", killer
                if killer not in trusted:
                    trusted[killer] = _tests([killer], seconds)[0] == 0
                    if trusted[killer]:
                        return number, "killed", killer
                tests = [test for test in tests if test != killer]
    finally:
        file.write_bytes(original)
        _forget(file)
    return number, "survived", ""


def _forget(file: Path) -> None:
    """No bytecode of what stood there before."""
    for old in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        old.unlink()


def _tests(tests: list[str], seconds: dict[str, float]) -> tuple[int | None, str]:
    killer = here / "killer"
    killer.unlink(missing_ok=True)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    limit = 30 + 5 * sum(seconds[test] for test in tests)
    code = in_child(here, [*files, *ARGUMENTS, "-x"], [Chosen(tests, killer)], limit)
    return code, killer.read_text() if killer.exists() else ""


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, JASA 22:209)."""
    if not of:
        return 0.0, 1.0
    share, scale = hits / of, 1 + Z**2 / of
    half = Z * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return (share + Z**2 / (2 * of) - half) / scale, (share + Z**2 / (2 * of) + half) / scale


@contextlib.contextmanager
def pool(folder: Path) -> Iterator[Any]:
    context = multiprocessing.get_context("fork")
    size = min(2, os.cpu_count() or 1)
    folders = context.SimpleQueue()
    for number in range(size):
        (folder / str(number)).mkdir()
        folders.put(str(folder / str(number)))
    with context.Pool(size, settle, (folders,)) as made:
        yield made


def _call(work: partial[Any]) -> Any:
    return work()


def main() -> int:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 14
    pattern = re.compile(sys.argv[3] if len(sys.argv) > 3 else "")
    KEPT.mkdir(parents=True, exist_ok=True)
    names = [(file, str(file.relative_to(ROOT))) for file in targets()]
    every = [one for file, name in names if pattern.search(name) for one in mutants(name, file.read_bytes())]
    sample = random.Random(seed).sample(every, min(size, len(every)))
    code = code_digest()
    with tempfile.TemporaryDirectory(prefix="mutation-") as name, pool(Path(name)) as workers:
        suites = sorted((ROOT / "tests").glob("*/test_*.py"), key=lambda file: (file.parent.name == "sessions", file))
        kept = {file: KEPT / f"{file.stem}-{digest(file)}-{code}.json" for file in suites}
        missing = [file for file in suites if not kept[file].exists()]
        work = [partial(reach, str(file.relative_to(ROOT)), kept[file]) for file in missing]
        for number, _ in enumerate(workers.imap_unordered(_call, work), 1):
            if number % 10 == 0 or number == len(missing):
                print(f"{number} of {len(missing)} files of tests: what they reach", flush=True)
        choice = Choice(list(kept.values()))
        return hunt(workers, sample, every, choice, Record(KEPT / f"verdicts-{code}.jsonl", suites))


class Record:
    """The verdicts so far: a kill counts while the file of the test that made it stays, anything else while all tests do."""

    def __init__(self, path: Path, suites: list[Path]) -> None:
        self.path = path
        self.stamps = {"": digest(*suites), **{str(file.relative_to(ROOT)): digest(file) for file in suites}}
        self.verdicts: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            key, verdict, killer, stamp = json.loads(line)
            if self.stamps.get(killer.partition("::")[0]) == stamp:
                self.verdicts[key] = verdict

    def add(self, mutant: Mutant, verdict: str, killer: str) -> None:
        self.verdicts[mutant.digest] = verdict
        with self.path.open("a") as file:
            print(json.dumps([mutant.digest, verdict, killer, self.stamps[killer.partition("::")[0]]]), file=file)


def hunt(workers: Any, sample: list[Mutant], every: list[Mutant], choice: Choice, record: Record) -> int:
    """Try each mutant, and say what became of them."""
    tried = [one for one in sample if one.key not in EQUIVALENT]
    todo = [one for one in tried if one.digest not in record.verdicts]
    work = [partial(attempt, number, one, choice.of(one), choice.seconds) for number, one in enumerate(todo)]
    began = time.monotonic()
    for count, (number, verdict, killer) in enumerate(workers.imap_unordered(_call, work), 1):
        record.add(todo[number], verdict, killer)
        if verdict == "survived":
            print(todo[number], flush=True)
        if count % 20 == 0:
            print(f"{count} of {len(todo)} mutants, {time.monotonic() - began:.0f} s", flush=True)
    verdicts = record.verdicts
    counts = Counter(verdicts[one.digest] for one in tried)
    caught = counts["killed"] + counts["timed out"]
    low, high = wilson(caught, len(tried))
    places = len({(one.file, one.line) for one in every})
    print(
        f"\n{len(sample)} mutants of {len(every)} on {places} lines; {len(sample) - len(tried)} of them are equivalent"
    )
    print(f"{counts['killed']} killed, {counts['timed out']} timed out, {counts['survived']} survived")
    print(f"{100 * caught / max(1, len(tried)):.1f} % killed (95 % interval {100 * low:.1f} to {100 * high:.1f} %)")
    for one in tried:
        if verdicts[one.digest] == "survived":
            print(one, "" if choice.of(one) else "\n  no test reaches it")
    return int(caught < 0.9 * len(tried))


if __name__ == "__main__":
    sys.exit(main())
