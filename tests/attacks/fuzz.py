"""Readers that are given files of all kinds: a command that counts what they answer with other than their own errors.

    python tests/attacks/fuzz.py [MINUTES] [SEED] [TARGET …]

spends so many minutes of the processor (30) on the readers of `fuzz_targets.py`. Inputs are valid files with changes in their
tree or bytes; with atheris (`tox -e fuzz`) those that reach new code are changed further. A tenth of the time goes to inputs
that were enlarged, baselines to 10 MB. An input is wrong that ends in another error than the reader's own, or takes more than a
second of the processor or more than 200 MB. It is saved, and made as short as possible.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))
from mutations import WORDS, enlarged, mutated

try:
    import atheris
except ImportError:  # it has wheels for Linux alone
    atheris = None

GUIDED = atheris is not None and sys.argv[1:2] == ["--one"] and sys.argv[-1] != "large"
with atheris.instrument_imports(include=["pytest_metalperf"]) if GUIDED else contextlib.nullcontext():
    from fuzz_targets import LARGE, TARGETS, Target, Unfit

SECONDS, MEGABYTES = 1.0, 200
SHARE_OF_LARGE = 0.1
STEPS_TO_SHORTEN = 400


class Counts:
    """What one reader answered, and the inputs that were wrong."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.answers: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}

    def take(self, data: bytes) -> None:
        """Give the reader one input."""
        answer, wrong = answered(self.target, data)
        self.answers[answer] += 1
        if not sum(self.answers.values()) % 10_000:
            self.save()
        if not wrong or wrong in self.wrong:
            return
        name = re.sub(r"\W+", "-", wrong)[:80]
        path = self.folder / f"{name}.input"
        path.write_bytes(data)
        shortest = shortened(data, lambda less: answered(self.target, less)[1] == wrong) if len(data) <= LARGE else data
        path.with_suffix(".short").write_bytes(shortest)
        self.wrong[wrong] = str(path)
        self.save()

    def save(self) -> None:
        """Write what was counted; libFuzzer ends without a word."""
        (self.folder / "counts.json").write_text(json.dumps([self.answers, self.wrong]))


def answered(target: Target, data: bytes) -> tuple[str, str]:
    """What the reader did (`accepted`, `refused`, `unfit`, `wrong`), and what was wrong where."""
    large = len(data) > LARGE
    before = start_of_peak() if large else 0.0
    since = time.process_time()
    try:
        answer = "accepted" if target.read(data) else "refused"
    except target.refusals:
        answer = "refused"
    except Unfit:
        answer = "unfit"
    except Exception as error:
        what = str(error) if isinstance(error, AssertionError) else type(error).__name__
        return "wrong", f"{what} in {place_of(error)}"
    seconds = time.process_time() - since
    if seconds > SECONDS and repeated(target, data) > SECONDS:
        return "wrong", f"more than {SECONDS} s of the processor"
    if large and peak() - before > MEGABYTES:
        return "wrong", f"more than {MEGABYTES} MB"
    return answer, ""


def repeated(target: Target, data: bytes, times: int = 4) -> float:
    """The lowest of several: other processes slow the processor down, too."""
    found = []
    for _ in range(times):
        since = time.process_time()
        with contextlib.suppress(*target.refusals, Unfit):
            target.read(data)
        found.append(time.process_time() - since)
    return min(found)


def place_of(error: Exception) -> str:
    """The innermost line of the package's; else the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "pytest_metalperf" in frame.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name} {last.name} line {last.lineno}"


def start_of_peak() -> float:
    """Megabytes held now, from which the peak counts."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """The most megabytes held since then; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3
    return 0.0


def shortened(data: bytes, is_wrong: Callable[[bytes], bool]) -> bytes:
    """Less of an input that is wrong in the same way: without parts of it, ever smaller ones."""
    steps, size = 0, max(1, len(data) // 2)
    while size and steps < STEPS_TO_SHORTEN:
        at = 0
        while at < len(data) and steps < STEPS_TO_SHORTEN:
            less = data[:at] + data[at + size :]
            steps += 1
            if is_wrong(less):
                data = less
            else:
                at += size
        size //= 2
    return without_parts(data, is_wrong)


def without_parts(data: bytes, is_wrong: Callable[[bytes], bool]) -> bytes:
    """Less of a tree: without values, as long as it stays wrong."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data
    steps, again = 0, True
    while again and steps < STEPS_TO_SHORTEN:
        again = False
        for path in list(paths(tree)):
            less = json.loads(json.dumps(tree))
            inner = less
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            written = json.dumps(less).encode()
            steps += 1
            if is_wrong(written):
                tree, data, again = less, written, True
                break
            if steps >= STEPS_TO_SHORTEN:
                break
    return data


def paths(tree: object, before: tuple = ()) -> list[tuple]:
    """The places of all values, the outermost first."""
    parts = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ())
    here = [(*before, key) for key, _ in parts]
    return here + [path for key, inner in parts for path in paths(inner, (*before, key))]


def fuzz(counts: Counts, seconds: float, seed: int) -> None:
    """Change inputs for so long; those that reached new code are kept in the folder `corpus`."""
    corpus = counts.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    seeds = counts.target.seeds()
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
        counts.take(data)
        assert counts.answers["accepted"] or counts.target.share == 1, "a seed is refused"
    until = time.process_time() + seconds
    if atheris is None:
        chance = random.Random(seed)
        while time.process_time() < until:
            counts.take(mutated(chance.choice(seeds), chance))
        return

    def one_input(data: bytes) -> None:
        counts.take(data)
        if time.process_time() > until:
            counts.save()
            os._exit(0)

    def mutator(data: bytes, most: int, number: int) -> bytes:
        chance = random.Random(number)
        whole = not data or chance.random() < 0.5  # or most would be variants of what is refused at its first byte
        return mutated(chance.choice(seeds) if whole else data, chance)[:most]

    words = counts.folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    flags = [
        f"-seed={seed + 1}",
        "-max_len=100000",
        "-rss_limit_mb=0",
        "-timeout=600",
        "-verbosity=0",
        f"-dict={words}",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one_input, custom_mutator=mutator)
    atheris.Fuzz()


def fuzz_large(counts: Counts, seconds: float, seed: int) -> None:
    """Enlarge what was found, for so long."""
    found = [path.read_bytes() for path in (counts.folder / "corpus").iterdir()]
    chance = random.Random(seed)
    until = time.process_time() + seconds
    while time.process_time() < until:
        counts.take(enlarged(chance.choice(found), counts.target.enlarged_to, chance)[: counts.target.enlarged_to])


def child(name: str, folder: Path, seconds: float, seed: int, *, large: bool) -> tuple[Counter[str], dict[str, str]]:
    """Fuzz one reader in a process of its own."""
    folder.mkdir(exist_ok=True, parents=True)
    words = [sys.executable, __file__, "--one", name, str(folder), str(seconds), str(seed), "large" * large]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, errors="replace", check=False)
    counts = folder / "counts.json"
    if done.returncode or not counts.exists():
        return Counter(wrong=1), {f"the process ended with {done.returncode}: {done.stderr[-600:]}": str(folder)}
    answers, wrong = json.loads(counts.read_text())
    counts.unlink()
    return Counter(answers), wrong


def one(name: str, folder: str, seconds: str, seed: str, large: str) -> int:
    """What a child does."""
    counts = Counts(TARGETS[name], Path(folder))
    (fuzz_large if large else fuzz)(counts, float(seconds), int(seed))
    counts.save()
    return 0


def main() -> int:
    """Fuzz all readers in turn and print what they answered."""
    if sys.argv[1:2] == ["--one"]:
        return one(*sys.argv[2:])
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 14
    names = sys.argv[3:] or list(TARGETS)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    per_share = 60 * minutes / sum(TARGETS[name].share for name in names)
    total: Counter[str] = Counter()
    print(f"coverage-guided: {'yes, by atheris' if atheris else 'no, without atheris'}", flush=True)
    for name in names:
        seconds, answers = per_share * TARGETS[name].share, Counter()
        wrong: dict[str, str] = {}
        for large, share in ((False, 1 - SHARE_OF_LARGE), (True, SHARE_OF_LARGE)):
            more, found = child(name, folder / name, share * seconds, seed, large=large)
            answers += more
            wrong |= found
        total += answers
        print(f"{name:10} {line(answers)}", flush=True)
        for what, path in wrong.items():
            short = Path(path).with_suffix(".short")
            print(f"  {what}\n    {path}", flush=True)
            if short.is_file():
                print(f"    shortest: {short.read_bytes()[:300]!r}", flush=True)
    print(f"{'all':10} {line(total)}")
    return bool(total["wrong"])


def line(answers: Counter[str]) -> str:
    """Inputs, and what became of them."""
    inputs = answers["accepted"] + answers["refused"] + answers["wrong"]
    words = ", ".join(f"{answers[what]:,} {what}" for what in ("accepted", "refused", "wrong"))
    return f"{inputs:,} inputs: {words} ({answers['unfit']:,} that no reader is given)"


if __name__ == "__main__":
    sys.exit(main())
