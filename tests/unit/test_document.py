"""A file of --metal-json: what is read again is what was written, and what is none is one sentence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_metalperf.compare.sessions import run_of, workload_of
from pytest_metalperf.report import document
from pytest_metalperf.report.json import run_row, run_rows, workload_row
from pytest_metalperf.results.fingerprint import fingerprint
from pytest_metalperf.results.run import Run
from pytest_metalperf.workloads.workload import Workload

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.floats()
TEXT = st.text(max_size=30)
SECONDS = st.floats(min_value=1e-9, max_value=1e9)
COUNT = st.none() | st.integers(0, 2**62)
WORK = st.fixed_dictionaries(
    {},
    optional={"operations": st.dictionaries(TEXT, st.integers(1, 2**40), max_size=3), "flop": FINITE, "traces": COUNT},
)
RUNS = st.builds(
    Run,
    samples=st.lists(SECONDS, min_size=1, max_size=20).map(tuple),
    batches_per_block=st.integers(1, 10**9),
    first_batch_seconds=SECONDS,
    session=TEXT,
    recorded=TEXT,
    prepare_seconds=SECONDS,
    examples=COUNT,
    parameters=COUNT,
    peak_memory_bytes=COUNT,
    first_loss=st.none() | FINITE,
    last_loss=st.none() | FINITE,
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    conditions=st.dictionaries(TEXT, st.none() | st.booleans() | TEXT | FINITE, max_size=3),
    joules_per_batch=st.none() | FINITE,
    fingerprint=st.none() | WORK,
    no_fingerprint=TEXT,
    trace=st.lists(st.lists(st.none() | FINITE, min_size=5, max_size=5), max_size=3),
)
AXES = st.dictionaries(
    st.from_regex("[a-z]{1,8}", fullmatch=True), st.none() | st.booleans() | st.integers(-9, 2**40) | FINITE, max_size=4
)

SESSION = {"id": "s", "started": "now", "written": "now", "state": "finished", "plugin": "1"}
MACHINE = {"id": "m", "system": "", "chip": "", "model": "", "cores": "", "memory_gb": 1, "gpus": [], "os": ""}
EMPTY = {
    "version": 1,
    "session": SESSION,
    "machine": MACHINE,
    "options": {"metal": "on"},
    "cost": {"seconds": 1.0, "runs": 0, "pairs": 0},
}


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(RUNS, min_size=1, max_size=3))
def test_runs_come_back_as_they_were(runs):
    rows = run_rows(runs)
    data = msgspec.json.encode(rows)
    assert msgspec.json.decode(data, type=list[document.Run]) == rows
    for run, row in zip(runs, rows, strict=True):
        back = run_of(row)
        for name in ("samples", "conditions", "versions", "examples", "joules_per_batch", "session", "first_loss"):
            assert getattr(back, name) == getattr(run, name)
        assert back.estimate == run.estimate
        assert row.work is None or row.work == fingerprint(run.fingerprint)


@settings(suppress_health_check=list(HealthCheck))
@given(RUNS, ANY, ANY)
def test_no_number_that_is_written_is_infinite_or_nan(run, one, other):
    strange = replace(run, joules_per_batch=one, conditions={"x": other}, trace=[[one, other, None, 1.0, 2.0]])
    row = msgspec.json.decode(msgspec.json.encode(run_row(strange)), type=document.Run)
    assert row.joules_per_batch == (one if math.isfinite(one) else None)
    assert row.conditions["x"] == (other if math.isfinite(other) else str(other))


@given(AXES, AXES, st.sampled_from(["", "torch", "jax"]))
def test_a_workload_comes_back_under_its_id(axes, defaults, backend):
    workload = Workload("net", "gpu:1", backend, axes={**defaults, **axes}, defaults=defaults)
    row = msgspec.json.decode(msgspec.json.encode(workload_row(workload)), type=document.Workload)
    assert workload_of(row).id == row.id == workload.id


def test_the_smallest_file_is_valid():
    data = json.dumps(EMPTY).encode()
    assert document.parse(data, "x").session.state == "finished"
    jsonschema.Draft202012Validator(json.loads(document.schema())).validate(EMPTY)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is damaged: Input data was truncated"),
        (json.dumps(EMPTY).encode()[:-20], "is damaged: Input data was truncated"),
        (b"\xff\xfe", "is damaged"),
        (b'{"version": 1, "session": "\\ud800"}', "is damaged"),
        (b"[" * 100_000, "x.json: is"),
        (b'{"version": 2, "x": ' + b"[" * 100_000, "x.json: is"),
        (
            b'{"x": 0, "y": [{"z": ' + b"[" * 5_000 + b"]" * 5_000 + b"}]}",
            "is no file of --metal-json: it has no version",
        ),
        (b"[]", "is no file of --metal-json: it has no version"),
        (b'{"format": 2}', "is no file of --metal-json: it has no version"),
        (b'{"version": 2, "sessions": []}', "is of version 2, and this pytest-metalperf reads version 1"),
        (json.dumps({**EMPTY, "version": "1"}).encode(), "is no file of --metal-json: it has no version"),
        (json.dumps({**EMPTY, "more": 1}).encode(), "unknown field `more`"),
        (
            json.dumps({**EMPTY, "machine": {**MACHINE, "memory_gb": "8"}}).encode(),
            "$.machine.memory_gb: Expected `int`",
        ),
        (
            json.dumps({**EMPTY, "cost": {"seconds": math.nan, "runs": 0, "pairs": 0}}).encode(),
            "is damaged: JSON is malformed",
        ),
        (
            json.dumps({**EMPTY, "cost": {"seconds": 5, "runs": 0, "pairs": 0}}).replace("5", "1e999").encode(),
            "$.cost.seconds: Number out of range",
        ),
        (
            json.dumps({**EMPTY, "cost": {"seconds": None, "runs": 0, "pairs": 0}}).encode(),
            "$.cost.seconds: Expected `float`",
        ),
        (b'{"version":1,"results":[' + b"1," * document.MOST_VALUES + b"1]}", "holds more than 6,000,000 values"),
    ],
    ids=str,
)
def test_what_is_no_such_file_is_one_sentence(data, said):
    with pytest.raises(document.DocumentError) as error:
        document.parse(data, "x.json")
    text = str(error.value)
    assert said in text
    assert text.startswith("x.json: ")
    assert "\n" not in text
    assert len(text) < 300


def test_samples_that_are_no_times_are_refused():
    row = msgspec.to_builtins(
        run_row(Run(samples=(0.1,), batches_per_block=1, first_batch_seconds=1.0, session="", recorded=""))
    )
    for wrong in ([0.0], [-1.0], [1e13], [], ["1"]):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**row, "samples": wrong}, document.Run)


def test_a_file_of_500_megabytes_is_refused_unread(tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(500_000_000)  # of which the disk holds nothing
    with pytest.raises(document.DocumentError, match=r"large\.json: is longer than 64,000,000 bytes; name a file"):
        document.read(large)


@pytest.mark.parametrize(("name", "said"), [("none.json", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, said):
    with pytest.raises(document.DocumentError, match=f"cannot be read: .*{said}"):
        document.read(tmp_path / name)


def test_half_a_surrogate_pair_is_written_as_python_shows_it():
    skipped = document.NotMeasured(nodeid="a\ud800", how="skipped", reason="\udcff")
    whole = {"nodeid": r"a\ud800", "how": "skipped", "reason": r"\udcff"}
    assert json.loads(document.encoded(skipped)) == whole
    rows = [msgspec.Raw(b'{"kind":"measurement"}')]  # as a session keeps what it has encoded once
    assert json.loads(document.encoded({"results": rows, "not_measured": [skipped]})) == {
        "results": [{"kind": "measurement"}],
        "not_measured": [whole],
    }


def test_the_schema_knows_every_field():
    """Which a page, written by whoever reads the schema alone, relies on."""
    found = json.loads(document.schema())["$defs"]
    for struct in (document.Document, document.Measurement, document.Speedup, document.Run):
        names = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert names <= set(found[struct.__name__]["properties"])
        assert found[struct.__name__]["additionalProperties"] is False
    assert Path(document.__file__).with_name("document.schema.json").is_file()
