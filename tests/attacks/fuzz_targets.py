"""What is fuzzed: each reader with valid inputs to begin with, and what must hold of an input that it accepts.

A new reader is a function and a line in `TARGETS`.
"""

from __future__ import annotations

import functools
import json
import math
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from recorded import HERE

from pytest_metalperf import gate
from pytest_metalperf.baselines.errors import LONGEST, BaselineError
from pytest_metalperf.baselines.file import Store, devices_of, orphans
from pytest_metalperf.baselines.format2 import rendered, with_shared_facts
from pytest_metalperf.baselines.reading import parse
from pytest_metalperf.baselines.schema import Entry, Machine
from pytest_metalperf.compare.command import lines
from pytest_metalperf.compare.judged import compared
from pytest_metalperf.compare.sessions import entries_of
from pytest_metalperf.judge.evidence import (
    peers,
    ratios_for_the_gate,
    rule_of,
    runs_for_the_gate,
    speedup_peers,
)
from pytest_metalperf.measure.forecast import guess, restored, stored
from pytest_metalperf.references import git
from pytest_metalperf.report import document
from pytest_metalperf.report.json import measured, run_row, sped
from pytest_metalperf.results.fingerprint import beside, kept_apart
from pytest_metalperf.results.measurement import Measurement, Pair, Speedup
from pytest_metalperf.results.metrics import METRICS
from pytest_metalperf.results.run import Run
from pytest_metalperf.settings import SettingError, Settings, call_keys, options, resolve
from pytest_metalperf.workloads.workload import Workload, WorkloadError, checked_axes, checked_name

warnings.simplefilter("error")  # as a suite may have it: what NumPy warns of would be an error there


class Unfit(Exception):
    """Of an input that the reader would never be given."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: raises one of `refusals`, or returns whether the input was worth anything.
        seeds: valid inputs.
        refusals: its own classes of errors.
        share: of the time.
        enlarged_to: bytes of the largest inputs; only files that people exchange may be of any size.
    """

    read: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = ()
    share: float = 1.0
    enlarged_to: int = 1_000_000


# files of sessions


def sessions(data: bytes) -> bool:
    """Read; what was read is written, read back equal, and compared with itself."""
    try:
        found = document.parse(data, "d.json")
    except document.DocumentError as error:
        sentence = str(error)
        assert len(sentence) <= LONGEST, "a long sentence"
        assert sentence.isprintable(), "a sentence that cannot be printed"
        raise
    if len(data) > LARGE:
        return True  # what has bounds is reading
    assert document.parse(document.encoded(found), "d.json") == found, "other than what was written"
    said = list(lines(compared(entries_of([found]), found), [found], found))
    assert said, "nothing to say"
    return True


def session_files() -> list[bytes]:
    """One with a measurement and a speedup."""
    run = Run(
        samples=(0.1, 0.11, 0.1),
        batches_per_block=2,
        first_batch_seconds=3.0,
        session="20260101T000000-abcd",
        recorded="2026-01-01",
        examples=8,
        peak_memory_bytes=10**9,
        versions={"torch": "2.0"},
        conditions={"power": "mains", "stolen": 0.0, "throttled": ""},
        joules_per_batch=5.0,
        fingerprint={"operations": {"Mul": 3}, "flop": 1e9},
        trace=[[0.0, 1980.0, 300.0, None, 0.9]],
    )
    settings = Settings(metrics=(("memory", 0.05), ("energy", 0.1)))
    of, over = (Workload("net", device, "torch", axes={"batch_size": 8}) for device in ("gpu", "cpu"))
    speedup = Speedup(of=of, over=over, at_least=2.0, runs=[Pair(over=run, of=run)] * 3)
    rows = [
        measured(Measurement(of, [run, run], "recorded"), settings, "pytest"),
        sped(speedup, settings, "pytest"),
    ]
    whole = document.Document(
        version=1,
        session=document.Session(id="s", started="", written="", state="finished", plugin=""),
        machine=document.Machine(id="m", system="", chip="", model="", cores="", memory_gb=8, gpus=[], os=""),
        options=document.Options(metal="on"),
        cost=document.Cost(seconds=1.0, runs=2, pairs=3),
        results=rows,
        other_runs=[document.OtherRuns(id=of.id, runs=[run_row(run)])],
        not_measured=[document.NotMeasured(nodeid="t", how="skipped", reason="no GPU")],
    )
    return [document.encoded(whole)]


# baselines

LARGE = 1_000_000


@functools.cache
def folder() -> Path:
    """Where a store is written before it is judged."""
    return Path(tempfile.mkdtemp(prefix="store-"))


def baselines(data: bytes) -> bool:
    """Read; what was read is written, read back equal, and judged."""
    try:
        machine = parse(data, "m.json", "m")
    except BaselineError as error:
        sentence = str(error)
        assert len(sentence) <= LONGEST + 5, "a long sentence"
        assert sentence.isprintable(), "a sentence that cannot be printed"
        raise
    if len(data) > LARGE:
        return True  # what has bounds is reading
    machine = msgspec.structs.replace(machine, machine={"id": "m"})  # the facts are today's wherever a file is written
    written = rendered(machine)
    again = parse(written, "m.json", "m")
    assert again == with_shared_facts(machine), "other than what was written"
    assert rendered(again) == written, "other bytes"
    judged_offline(written)
    return True


def judged_offline(written: bytes) -> None:
    """What a session asks of a store, with fresh runs that are the stored ones made slower."""
    (folder() / "m.json").write_bytes(written)
    store = Store(folder(), "m")
    rule = rule_of(Settings())
    orphans(store.workloads, [], ["cpu:fake"])
    for key, entry in list(store.workloads.items())[:3]:
        devices_of(key)
        for metric in METRICS.values():
            runs_for_the_gate(store, entry, metric)
        known = runs_for_the_gate(store, entry)
        if known:
            now = [gate.RunFigure(run.seconds * 1.1, "today") for run in known[:2]]
            gate.judge(now, known, peers(store, key), rule)
        kept_apart(entry.fingerprint, entry.fingerprint)
        beside(entry.fingerprint, entry.fingerprint)
        took = guess("", key, {}, 25, entry)
        assert took is not None, "no forecast"
        assert took.gated(0.5, 5) > 0, "a forecast of nothing"
    for key, entry in list(store.speedups.items())[:2]:
        known = ratios_for_the_gate(store, entry)
        if known:
            gate.judge(known[:1], known, speedup_peers(store, key), rule)


def baseline_files() -> list[bytes]:
    """Of both formats: a recorded one, cut down, and a small one with everything in it."""
    whole = json.loads(next((HERE / "h100").glob("*.json")).read_bytes())
    whole["machine"]["id"] = "m"
    few = {**whole, "workloads": dict(list(whole["workloads"].items())[:2])}
    old = json.dumps(few).encode()
    machine = parse(old, "m.json", "m")
    today = {
        key: msgspec.structs.replace(
            entry, runs=[msgspec.structs.replace(run, estimator=gate.ESTIMATOR, mean_seconds=0.2) for run in entry.runs]
        )
        for key, entry in machine.workloads.items()
    }
    return [old, rendered(machine), rendered(Machine(machine={"id": "m"}, workloads=today)), EVERYTHING]


_RUN = {
    "session": "20261122T093956-56bb", "estimator": gate.ESTIMATOR, "seconds_per_batch": 0.1, "mean_seconds": 0.11,
    "lower_quartile": 0.09, "upper_quartile": 0.11, "batches": 10, "first_batch_seconds": 1.5, "peak_memory_bytes": 1_000_000,
    "joules_per_batch": 0.5, "conditions": {"load1": 0.5},
}  # fmt: skip
_STAMP = {"recorded": "2026-11-22", "estimator": gate.ESTIMATOR, "commit": "ab" * 20, "clean": True}
_ACCEPTED = {
    "commit": "ab" * 20, "digest": "sha256:ab", "file": "models/ranker.py", "qualified_name": "build", "axes": {"batch_size": 8},
    "variables": {"OMP_NUM_THREADS": "2"}, "stack": "stacks/ab.txt",
}  # fmt: skip
EVERYTHING = json.dumps(
    {
        "format": 2,
        "machine": {"id": "m", "chip": "a chip", "gpus": ["one"]},
        "sessions": {
            "20261122T093956-56bb": {
                "recorded": "2026-11-22", "commit": "ab" * 20, "clean": False, "versions": [{"fake": "1"}, {"fake": "2"}],
                "conditions": {"battery": False, "throttled": "", "power": None},
            }
        },
        "workloads": {
            "w[b8]@cpu:fake": {
                "anchor": {**_STAMP, "seconds_per_batch": 0.1},
                "runs": [_RUN, {**_RUN, "versions": 1}, {**_RUN, "recorded": "2026-11-23", "commit": None, "clean": None}],
                "accepted": _ACCEPTED, "examples": 8,
                "work": {"flop": 1.0, "operations": {"Mul": 2}, "operations_on_cpu": {"Mul": 1}, "varying": ["flop"]},
            },
            "v@cpu:fake": {"anchor": {**_STAMP, "seconds_per_batch": 0.1}, "runs": [_RUN] * 3},
        },
        "speedups": {
            "w@gpu:fake over w@cpu:fake": {
                "anchor": {**_STAMP, "ratio": 4.0},
                "pairs": [{"session": "20261122T093956-56bb", "estimator": gate.PAIR_ESTIMATOR, "ratio": 4.0}] * 3,
            }
        },
    }
).encode()  # fmt: skip


# what a test took


def cache(data: bytes) -> bool:
    """Restore what pytest's cache gives; what was restored is stored and restored again."""
    found = restored(_plain(data))
    for took in found.values():
        for one in took[:10]:
            assert isinstance(one.id, str), "an id that is none"
            assert math.isfinite(one.gated(0.5, 5) + one.in_turn(3)), "an endless forecast"
    again = restored(json.loads(json.dumps(stored(found))))
    assert again.keys() == found.keys(), "less than was stored"
    return bool(found)


def _plain(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unfit from None


# options


def settings(data: bytes) -> bool:
    """Values of the ini file, then of the marker and of the call."""
    plain = _plain(data)
    if not isinstance(plain, dict) or not all(isinstance(part, dict) for part in plain.values()):
        raise Unfit
    ini = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.get("ini", {}).items()}
    found = resolve({}, ini)
    found = found.over(plain.get("marker", {}), "marker").over(plain.get("call", {}), "call", allowed=call_keys())
    assert found.max_pairs > 0, "no pairs"
    assert found.backends, "no backends"
    assert isinstance(found.fails_on_missing, bool), "neither true nor false"
    assert 0 < found.tolerance < math.inf, "no tolerance"
    rule_of(found)
    return True


def option_values() -> list[bytes]:
    written = {
        "tolerance": "5%", "metrics": "memory=5%,energy=10%", "sustained": "3min", "devices": "cpu,gpu:1", "size": "quick",
        "batches": "50", "max_runs": "5", "timeout": "12.5", "strict": "yes", "machine": "a", "update_mode": "extend",
        "total_tolerance": "10%",
    }  # fmt: skip
    plain = {"tolerance": 0.05, "metrics": {"memory": 0.05}, "devices": ["cpu"], "batches": 50, "strict": True}
    names = [option.name for option in options()]
    return [
        json.dumps(one).encode()
        for one in ({"ini": written}, {"marker": plain, "call": {"runs": 2}}, {"ini": dict.fromkeys(names, "1")})
    ]


# workloads


def workloads(data: bytes) -> bool:
    """Names and axes; the id that they make is a key of a baseline file."""
    plain = _plain(data)
    if (
        not isinstance(plain, dict)
        or not isinstance(plain.get("axes"), dict)
        or not isinstance(plain.get("defaults"), dict)
    ):
        raise Unfit
    axes = checked_axes(plain["axes"], "a test")
    name = checked_name(plain.get("name"))
    made = Workload(name, "cpu", "jax", axes, defaults=checked_axes(plain["defaults"], "a test"))
    assert made.id.isprintable(), "an id that cannot be printed"
    assert made.label in made.id, "another label"
    assert devices_of(made.id) == ["cpu:jax"], "an id without its device"
    assert made.older_id, "no older id"
    whole = parse(EVERYTHING, "m.json", "m")
    entry: Entry = whole.workloads["v@cpu:fake"]
    one = Machine(machine={"id": "m"}, workloads={made.id: entry})
    assert list(parse(rendered(one), "m.json", "m").workloads) == [made.id], "another id"
    return True


def descriptions() -> list[bytes]:
    every = {
        "image_size": 64, "batch_size": 8, "precision": "mixed_float16", "jit_compile": True, "remat": True, "input": "host",
        "units": 1.5, "name": None, "kind": "a b",
    }  # fmt: skip
    return [
        json.dumps({"name": "ranker", "axes": axes, "defaults": defaults}).encode()
        for axes, defaults in ((every, {}), ({}, {}), ({"units": 1}, {"units": 1.0}))
    ]


# git


def answers_of_git(data: bytes) -> bool:
    """What git prints, to its output and to its errors, as `subprocess` hands it over."""
    code, _, rest = data.partition(b"\n")
    out, _, err = rest.partition(b"\0")

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, int(code == b"1"), out, err)

    here = Path(__file__).parent
    with mock.patch.object(git.subprocess, "run", run):
        git.refusal(here).encode()
        git.is_shallow(here)
        git.commit_of(here, "main")
        return git.revision(here).commit is not None


def answers() -> list[bytes]:
    return [
        b"0\n" + b"ab" * 20 + b"\n\0",
        b"0\n M file.py\n\0",
        b"0\ntrue\0",
        b"1\n\0fatal: detected dubious ownership in repository at '/x'\n\n\tgit config --global --add safe.directory /x\n",
    ]


TARGETS = {
    "baselines": Target(baselines, baseline_files, (BaselineError,), 6, 10_000_000),
    "sessions": Target(sessions, session_files, (document.DocumentError,), 4, 10_000_000),
    "cache": Target(cache, lambda: [b'{"test_a.py::test[cpu]": [["w[b8]@cpu:fake", 7.25, 1.5]], "b": []}']),
    "settings": Target(settings, option_values, (SettingError,), 2),
    "workloads": Target(workloads, descriptions, (WorkloadError,), 2),
    "git": Target(answers_of_git, answers),
}
