"""Stores in bad places: a command that counts the entries that were lost, and what was damaged.

    python tests/attacks/stores.py [ROUNDS]

First, rounds of four sessions that write one file at once, each of another user, from another working folder and with another
folder for temporary files. Then one session each on file systems that are full, bounded, read-only, slow and blind to case, with
a clock that was set back, and on a store behind links. What a place cannot store must cost one sentence, and no entry that was
there. Mounts need root; without it they are left out, and said to be.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from suites import CONFTEST

from pytest_metalperf.baselines.errors import BaselineError
from pytest_metalperf.baselines.reading import parse
from pytest_metalperf.baselines.writing import UNFINISHED

SESSIONS, EACH = 4, 10
HERE = (
    CONFTEST
    + """
import errno, os, time
import in_process
import pytest_metalperf.measure.worker
pytest_metalperf.measure.worker.Process = in_process.start  # what is under attack is the store

how = os.environ.get("ATTACK", "")
if how == "slow":
    fsync = os.fsync
    os.fsync = lambda file: (time.sleep(1.5), fsync(file))[1]
if how == "quota":
    def refuse(file):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    os.fsync = refuse
if how == "clock":
    now = time.time
    time.time = lambda: now() - 3 * 86400
"""
)
TESTS = """
import os
import pytest
from fake_backend import FakeModel

def build(number):
    return FakeModel(0.1)

@pytest.mark.parametrize("number", range({each}))
def test_it(metal_bench, number):
    metal_bench(build, name=os.environ["SESSION"] + f" {{number}}", number=number)
"""
INI = "[pytest]\nmetal_backend = fake\nmetal_machine = here\nmetal_devices = cpu\nmetal_runs = 1\naddopts = -p no:cacheprovider\n"


class Session:
    """One session that records into a folder."""

    def __init__(self, suite: Path, store: Path, name: str, *, user: int | None = None, **variables: str) -> None:
        temporary = suite.parent / f"tmp-{name}"
        for folder in (temporary, suite.parent / f"cwd-{name}"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", str(suite), f"--metal-baselines={store}", "--metal-update-baselines"],
            cwd=suite.parent / f"cwd-{name}",
            env={
                **os.environ, "SESSION": name, "FAKE": "{}", "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_METALPERF_LOCK": str(temporary / "lock"), "HOME": str(temporary), **variables,
            },
            user=user,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def ended(self) -> tuple[int, str]:
        out, _ = self._process.communicate(timeout=300)
        return self._process.returncode, out


def stored(store: Path) -> set[str]:
    return set(parse((store / "here.json").read_bytes(), "here.json", "here").workloads)


def expected(name: str) -> set[str]:
    return {f"{name} {number}[number={number}]@cpu:fake" for number in range(EACH)}


@functools.cache
def nobody() -> int | None:
    """The user `nobody`, where we may be it and it may run this interpreter; else None, which is us."""
    try:
        uid = pwd.getpwnam("nobody").pw_uid
        subprocess.run([sys.executable, "-c", "import pytest"], user=uid, cwd="/", check=True, capture_output=True)
    except (KeyError, OSError, subprocess.SubprocessError):
        return None
    return uid


def at_once(suite: Path, rounds: int) -> list[str]:
    """What four sessions at once have lost."""
    wrong = []
    for number in range(rounds):
        store = suite.parent / "store"
        store.mkdir()
        store.chmod(0o777)
        sessions = [
            Session(suite, store, f"s{who}", user=user) for who, user in enumerate([None, nobody()] * (SESSIONS // 2))
        ]
        for who, session in enumerate(sessions):
            status, out = session.ended()
            if status:
                wrong.append(f"round {number}: session {who} ended with {status}: {last(out)}")
        lost = set().union(*(expected(f"s{who}") for who in range(SESSIONS))) - stored(store)
        wrong += [f"round {number}: lost {one}" for one in sorted(lost)]
        wrong += [f"round {number}: left {one.name}" for one in store.iterdir() if one.name != "here.json"]
        shutil.rmtree(store)
    return wrong


def last(out: str) -> str:
    lines = [line for line in out.splitlines() if re.search(r"stored|Error|error|ERROR", line)]
    return (lines or out.splitlines() or [""])[0][:200]


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    """A file system at `folder`.

    Raises:
        subprocess.CalledProcessError: where it cannot be mounted.
    """
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *words, str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def refused(suite: Path, store: Path, sentence: str, **variables: str) -> list[str]:
    """One session on a store that cannot take more, where another has stored; what is wrong with its end."""
    before = stored(store)
    status, out = Session(suite, store, "more", **variables).ended()
    wrong = [] if status else ["passed"]
    wrong += [] if sentence in out else [f"said {last(out)!r}"]
    wrong += ["printed a traceback"] if "Traceback" in out else []
    return wrong + ([] if stored(store) == before else [f"lost {before - stored(store)}"])


def taken(suite: Path, store: Path, **variables: str) -> list[str]:
    """One session more on a store that can take it; what is wrong with its end."""
    before = stored(store)
    status, out = Session(suite, store, "more", **variables).ended()
    lost = (before | expected("more")) - stored(store)
    return ([f"ended with {status}: {last(out)}"] if status else []) + [f"lost {one}" for one in sorted(lost)]


def begun(suite: Path, store: Path) -> Path:
    """A store with the entries of one session."""
    status, out = Session(suite, store, "before").ended()
    if status:
        raise RuntimeError(out)
    return store


def full(suite: Path, folder: Path) -> list[str]:
    with mounted(folder, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        store = begun(suite, folder / "baselines")
        with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        return refused(suite, store, "No space left on device")


def quota(suite: Path, folder: Path) -> list[str]:
    return refused(suite, begun(suite, folder), "Disk quota exceeded", ATTACK="quota")


def read_only(suite: Path, folder: Path) -> list[str]:
    with mounted(folder, "-t", "tmpfs", "tmpfs"):
        store = begun(suite, folder / "baselines")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        return refused(suite, store, "Read-only file system; mend that, or use another --metal-baselines")


def slow(suite: Path, folder: Path) -> list[str]:
    store = begun(suite, folder)
    other = Session(suite, store, "other", ATTACK="slow")
    wrong = taken(suite, store, ATTACK="slow")
    status, out = other.ended()
    wrong += [f"the other ended with {status}: {last(out)}"] if status else []
    return wrong + [f"lost {one}" for one in sorted(expected("other") - stored(store))]


def blind_to_case(suite: Path, folder: Path) -> list[str]:
    image = folder.with_suffix(".image")
    subprocess.run(["truncate", "-s", "16M", str(image)], check=True)
    make = ["mkfs.ext4", "-q", "-O", "casefold", "-E", "encoding=utf8", str(image)]
    subprocess.run(make, check=True, capture_output=True)
    with mounted(folder, "-o", "loop", str(image)):
        store = folder / "baselines"
        store.mkdir()
        subprocess.run(["chattr", "+F", str(store)], check=True, capture_output=True)
        wrong = taken(suite, begun(suite, store))
        return wrong + ([] if (store / "HERE.json").exists() else ["it is not blind to case"])


def clock(suite: Path, folder: Path) -> list[str]:
    return taken(suite, begun(suite, folder), ATTACK="clock")


def linked_folder(suite: Path, folder: Path) -> list[str]:
    real = folder.with_name("real")
    real.mkdir()
    folder.symlink_to(real)
    return taken(suite, begun(suite, folder)) + ([] if folder.is_symlink() else ["the link is gone"])


def linked_file(suite: Path, folder: Path) -> list[str]:
    real = folder.with_name("elsewhere")
    begun(suite, real)
    folder.mkdir()
    (folder / "here.json").symlink_to(real / "here.json")
    return taken(suite, folder) + ([] if (folder / "here.json").is_symlink() else ["the link is gone"])


def killed_by_another_user(suite: Path, folder: Path) -> list[str]:
    store = begun(suite, folder)
    left = store / f"{UNFINISHED}0"
    left.mkdir()
    (left / "here.json").write_text("{")
    store.chmod(0o777)
    before = stored(store)
    status, out = Session(suite, store, "more", user=nobody()).ended()
    lost = (before | expected("more")) - stored(store)
    return ([f"ended with {status}: {last(out)}"] if status else []) + [f"lost {one}" for one in sorted(lost)]


PLACES: dict[str, tuple[bool, Callable[[Path, Path], list[str]]]] = {
    "full": (True, full),
    "quota": (False, quota),
    "read-only": (True, read_only),
    "slow": (False, slow),
    "blind to case": (True, blind_to_case),
    "clock set back": (False, clock),
    "behind a linked folder": (False, linked_folder),
    "behind a linked file": (False, linked_file),
    "left unfinished by another user": (True, killed_by_another_user),
}
"""Whether it needs root, and what to do there."""


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="stores-") as name:
        suite = Path(name) / "suite"
        suite.mkdir()
        Path(name).chmod(0o777)
        for file, text in {"conftest.py": HERE, "test_suite.py": TESTS.format(each=EACH), "pytest.ini": INI}.items():
            (suite / file).write_text(text)
        found = at_once(suite, rounds)
        wrong += len(found)
        for sentence in found:
            print(sentence)
        entries = rounds * SESSIONS * EACH
        who = "two users" if nobody() is not None else "one user, since no other may run this interpreter"
        print(
            f"{rounds} rounds of {SESSIONS} sessions of {who} at once, {entries} entries: {len(found)} lost or wrong",
            flush=True,
        )
        for number, (place, (needs_root, attack)) in enumerate(PLACES.items()):
            if needs_root and os.geteuid() != 0:
                print(f"{place}: not tried, since mounts need root")
                continue
            try:
                found = attack(suite, Path(name) / f"place-{number}")
            except (subprocess.CalledProcessError, BaselineError) as error:
                reason = getattr(error, "stderr", b"") or str(error).encode()
                print(f"{place}: not tried: {reason.decode().strip().splitlines()[0][:100]}", flush=True)
                continue
            wrong += len(found)
            print(
                f"{place}: {'; '.join(found) or 'nothing lost, one sentence where nothing could be stored'}", flush=True
            )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
