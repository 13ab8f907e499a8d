"""The baseline file: read strictly, written atomically, intact whatever happens."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_metalperf.baselines import writing
from pytest_metalperf.baselines.errors import BaselineError
from pytest_metalperf.baselines.file import Store, hours, orphans
from pytest_metalperf.baselines.format2 import rendered, with_shared_facts
from pytest_metalperf.baselines.reading import parse
from pytest_metalperf.baselines.schema import (
    Anchor,
    Entry,
    Machine,
    RatioAnchor,
    SpeedupEntry,
    StoredPair,
    StoredRun,
    rounded,
)

ID = "w[b8]@cpu:fake"
PLACE = "baselines/m.json"
FACTS = {"id": "m", "chip": "a chip"}
RUN = {
    "seconds_per_batch": 0.1,
    "lower_quartile": 0.09,
    "upper_quartile": 0.11,
    "batches": 10,
    "first_batch_seconds": 1.5,
    "session": "20260101T000000-abcd",
    "recorded": "2026-01-01",
    "commit": "1a2b3c4d5e",
    "peak_memory_bytes": 1_000_000,
    "versions": {"fake": "1.0"},
    "conditions": {"battery": False},
}

BOTH = "w[b8]@gpu:fake over w[b8]@cpu:fake"
PAIR = {"ratio": 4.0, **{key: RUN[key] for key in ("session", "recorded", "commit", "versions", "conditions")}}


def document(**changes: object) -> dict:
    """A valid file, but for `changes` to its last run."""
    anchor = {"seconds_per_batch": 0.1, "recorded": "2026-01-01", "commit": None}
    runs = [dict(RUN), dict(RUN), {**RUN, **changes}]
    speedups = {BOTH: {"anchor": {"ratio": 4.0, "recorded": "2026-01-01"}, "pairs": [dict(PAIR), dict(PAIR)]}}
    whole = {"format": 1, "machine": FACTS, "workloads": {ID: {"anchor": anchor, "runs": runs}}, "speedups": speedups}
    return copy.deepcopy(whole)


def read(data: object) -> Machine:
    """Parse JSON text, bytes, or something to be made into JSON."""
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    return parse(text.encode() if isinstance(text, str) else text, PLACE, "m")


def refused(data: object) -> str:
    """The one sentence that refuses `data`."""
    with pytest.raises(BaselineError) as caught:
        read(data)
    sentence = str(caught.value)
    assert sentence.startswith(f"{PLACE}: ")
    assert sentence.splitlines() == [sentence]
    return sentence.removeprefix(f"{PLACE}: ")


def entry(seconds: float = 0.1) -> Entry:
    return Entry(
        anchor=Anchor(seconds_per_batch=seconds, recorded="2026-01-01"),
        runs=[StoredRun(**{**RUN, "seconds_per_batch": seconds})],
    )


def speedup(ratio: float = 4.0) -> SpeedupEntry:
    return SpeedupEntry(
        anchor=RatioAnchor(ratio=ratio, recorded="2026-01-01"), pairs=[StoredPair(**{**PAIR, "ratio": ratio})]
    )


def put(store: Store, entries: dict[str, Entry | SpeedupEntry], facts: dict[str, object]) -> None:
    for key, made in entries.items():
        store.update(
            key, lambda _, made=made: made, facts, "speedups" if isinstance(made, SpeedupEntry) else "workloads"
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that holds one entry."""
    made = Store(tmp_path / "baselines", "m")
    put(made, {ID: entry()}, FACTS)
    return made


# read strictly


def test_valid_file_is_read():
    stored = read(document())
    assert stored.machine == FACTS
    assert [run.seconds_per_batch for run in stored.workloads[ID].runs] == [0.1] * 3
    assert [pair.ratio for pair in stored.speedups[BOTH].pairs] == [4.0] * 2


def test_a_figure_of_a_changed_working_tree_is_marked():
    made = {
        clean: Anchor(seconds_per_batch=1.0, recorded="2026-01-01", commit="1a2b3c4d5e6f70", clean=clean).revision
        for clean in (True, False, None)
    }
    assert made == {True: "1a2b3c4d5e", False: "1a2b3c4d5e+", None: "1a2b3c4d5e"}


LAST = f'$.workloads["{ID}"].runs[2]'


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seconds_per_batch", "0.1", ".seconds_per_batch: expected a number, got a string"),
        ("seconds_per_batch", None, ".seconds_per_batch: expected a number, got null"),
        ("seconds_per_batch", True, ".seconds_per_batch: expected a number, got true or false"),
        ("seconds_per_batch", [0.1], ".seconds_per_batch: expected a number, got a list"),
        ("seconds_per_batch", 0, ".seconds_per_batch: expected a number > 1e-12"),
        ("lower_quartile", -0.1, ".lower_quartile: expected a number > 1e-12"),
        ("upper_quartile", {}, ".upper_quartile: expected a number, got an object"),
        ("first_batch_seconds", "1", ".first_batch_seconds: expected a number, got a string"),
        ("batches", 1.5, ".batches: expected a whole number, got a number"),
        ("batches", 0, ".batches: expected a whole number >= 1"),
        ("batches", True, ".batches: expected a whole number, got true or false"),
        ("session", 1, ".session: expected a string, got a whole number"),
        ("recorded", None, ".recorded: expected a string, got null"),
        ("peak_memory_bytes", "1", ".peak_memory_bytes: expected a whole number or null, got a string"),
        ("commit", 3, ".commit: expected a string or null, got a whole number"),
        ("versions", [], ".versions: expected an object, got a list"),
        ("conditions", 3, ".conditions: expected an object, got a whole number"),
        ("speed", 3, ": has an unknown key `speed`"),
    ],
)
def test_wrong_type_names_its_place(key, value, sentence):
    assert refused(document(**{key: value})) == LAST + sentence


@pytest.mark.parametrize("key", ["versions", "conditions"])
def test_wrong_type_inside_versions_names_its_key(key):
    assert "tensorflow" in refused(document(**{key: {"tensorflow": []}}))


TOGETHER = f'$.speedups["{BOTH}"]'


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["pairs", 1, "ratio"], "4", f"{TOGETHER}.pairs[1].ratio: expected a number, got a string"),
        (["pairs", 1, "ratio"], 0, f"{TOGETHER}.pairs[1].ratio: expected a number > 1e-12"),
        (["pairs", 1, "session"], None, f"{TOGETHER}.pairs[1].session: expected a string, got null"),
        (["pairs", 1, "speed"], 3, f"{TOGETHER}.pairs[1]: has an unknown key `speed`"),
        (["pairs", 1], {}, f"{TOGETHER}.pairs[1]: is missing `ratio`"),
        (
            ["pairs", 1, "versions"],
            {"fake": 1},
            f'{TOGETHER}.pairs[1].versions["fake"]: expected a string, got a whole number',
        ),
        (["pairs"], [], f"{TOGETHER}.pairs: expected a list of length >= 1"),
        (["runs"], [], f"{TOGETHER}: has an unknown key `runs`"),
        (["anchor"], None, f"{TOGETHER}.anchor: expected an object, got null"),
        (["anchor", "ratio"], -1, f"{TOGETHER}.anchor.ratio: expected a number > 1e-12"),
        (["anchor", "seconds_per_batch"], 1, f"{TOGETHER}.anchor: has an unknown key `seconds_per_batch`"),
    ],
)
def test_wrong_speedup_names_its_place(path, value, sentence):
    data = document()
    inner = data["speedups"][BOTH]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert refused(data) == sentence


@pytest.mark.parametrize(("value", "kind"), [([], "a list"), (None, "null"), ("x", "a string")])
def test_speedups_that_are_no_object_are_refused(value, kind):
    assert refused({**document(), "speedups": value}) == f"$.speedups: expected an object, got {kind}"


@pytest.mark.parametrize("name", ["seconds_per_batch", "lower_quartile", "batches", "session", "recorded"])
def test_missing_key_names_its_place(name):
    data = document()
    del data["workloads"][ID]["runs"][2][name]
    assert refused(data) == f"{LAST}: is missing `{name}`"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["workloads"], [], "$.workloads: expected an object, got a list"),
        (["workloads"], None, "$.workloads: expected an object, got null"),
        (["workloads", ID], 3, f'$.workloads["{ID}"]: expected an object, got a whole number'),
        (["workloads", ID, "runs"], {}, f'$.workloads["{ID}"].runs: expected a list, got an object'),
        (["workloads", ID, "runs"], [], f'$.workloads["{ID}"].runs: expected a list of length >= 1'),
        (["workloads", ID, "anchor"], None, f'$.workloads["{ID}"].anchor: expected an object, got null'),
        (
            ["workloads", ID, "anchor", "seconds_per_batch"],
            "1",
            f'$.workloads["{ID}"].anchor.seconds_per_batch: expected a number, got a string',
        ),
        (["machine"], [], "$.machine: expected an object, got a list"),
        (["extra"], 1, "$: has an unknown key `extra`"),
        (["format"], "1", '$.format: expected 1 or 2, got "1"'),
        (["format"], True, "$.format: expected 1 or 2, got true"),
        (["format"], None, "$.format: expected 1 or 2, got null"),
        (["format"], 0, "$.format: expected 1 or 2, got 0"),
    ],
)
def test_wrong_structure_names_its_place(path, value, sentence):
    data = document()
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert refused(data) == sentence


def test_future_format_says_to_upgrade():
    # a future format may hold anything: it is not looked at
    sentence = refused({"format": 3, "workloads": [], "new": {}})
    assert "format 3 by a newer pytest-metalperf" in sentence
    assert "upgrade" in sentence


def test_file_of_another_machine_is_named():
    data = document()
    data["machine"]["id"] = "other"
    sentence = refused(data)
    assert "'other'" in sentence
    assert "'m'" in sentence


@pytest.mark.parametrize(
    "data", ["[]", "null", "3", '"text"', "{}", '{"format": 1}', '{"name": "package", "version": 2}']
)
def test_foreign_json_is_no_baseline_file(data):
    assert "is no baseline file" in refused(data)


@pytest.mark.parametrize("data", [b"", b" \n\n"])
def test_empty_file(data):
    assert refused(data).startswith("is empty")


def test_every_truncated_file_is_refused():
    whole = json.dumps(document(), indent=1).encode()
    for length in range(0, len(whole) - 1, 7):
        refused(whole[:length])


def test_broken_json_names_line_and_column():
    assert refused('{\n "format": 1,\n "workloads": {},}').startswith("line 3, column ")


def test_merge_conflict_is_called_so():
    lines = json.dumps(document(), indent=1).splitlines()
    lines[4:6] = ["<<<<<<< HEAD", *lines[4:6], "=======", *lines[4:6], ">>>>>>> faster"]
    assert refused("\n".join(lines)) == "line 5: holds an unresolved merge conflict"


def test_key_that_stands_twice_is_named():
    # what a conflict resolved by keeping both sides looks like; json would keep the last in silence
    text = json.dumps(document())
    one = json.dumps(document()["workloads"])[1:-1]
    assert refused(text.replace(one, f"{one}, {one}")).startswith(f"the key '{ID}' stands twice")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_figure_is_refused(word):
    assert word in refused(json.dumps(document()).replace("0.11", word, 1))


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b'{"format": 1, "workloads": "\xe9"}', bytes(range(256))])
def test_what_is_no_text_is_refused(data):
    assert "UTF-8" in refused(data)


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
@pytest.mark.parametrize(
    "form", ['{"format": %s, "workloads": {}}', '{"format": 1, "workloads": {"w": %s}, "machine": {}}', "%s"]
)
def test_deep_nesting_is_refused(form, depth):
    refused(form % ("[" * depth + "]" * depth))


@pytest.mark.parametrize("key", ["seconds_per_batch", "conditions"])
def test_number_beyond_floats_is_refused(key):
    text = json.dumps(document(**{key: 77.5 if key != "conditions" else {"temperature": 77.5}}))
    refused(text.replace("77.5", "1e999"))


@pytest.mark.parametrize("digits", [20, 400, 5000])
@pytest.mark.parametrize("key", ["peak_memory_bytes", "batches"])
def test_number_of_very_many_digits_names_its_place(key, digits):
    sentence = refused(json.dumps(document(**{key: 77})).replace("77", "1" * digits, 1))
    assert sentence.startswith(f"{LAST}.{key}: ")


@pytest.mark.parametrize("key", ["a\nb", "a\x1b[31mb"])
def test_unknown_key_is_quoted_on_one_line(key):
    assert refused(document(**{key: 1})).isprintable()


def test_unknown_key_cannot_pass_for_a_place():
    assert refused(document(**{"a - at b": 1})).startswith(f"{LAST}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "runs", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
POSITIVE = st.floats(min_value=1e-9, max_value=1e9)
COMMITS = st.none() | st.text("0123456789abcdef", min_size=40, max_size=40)
SESSIONS = st.sampled_from(["a", "b"]) | st.text()  # some are shared
STORED = st.builds(
    StoredRun,
    seconds_per_batch=POSITIVE,
    lower_quartile=POSITIVE,
    upper_quartile=POSITIVE,
    first_batch_seconds=POSITIVE,
    batches=st.integers(min_value=1, max_value=2**63 - 1),
    session=SESSIONS,
    recorded=st.text(),
    peak_memory_bytes=st.none() | st.integers(-(2**63), 2**63 - 1),
    commit=COMMITS,
    clean=st.none() | st.booleans(),
    mean_seconds=st.none() | POSITIVE,
    estimator=st.text(),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    conditions=st.dictionaries(
        st.text(), st.none() | st.booleans() | st.text() | st.floats(allow_nan=False, allow_infinity=False), max_size=3
    ),
)
ANCHORS = st.builds(Anchor, seconds_per_batch=POSITIVE, recorded=st.text(), commit=COMMITS)
SPEEDUPS = st.builds(
    SpeedupEntry,
    anchor=st.builds(RatioAnchor, ratio=POSITIVE, recorded=st.text(), commit=COMMITS),
    pairs=st.lists(
        st.builds(StoredPair, ratio=POSITIVE, session=SESSIONS, recorded=st.text(), commit=COMMITS),
        min_size=1,
        max_size=3,
    ),
)
MACHINES = st.builds(
    Machine,
    machine=st.dictionaries(st.text(), JSON, max_size=3).map(lambda facts: {**facts, "id": "m"}),
    workloads=st.dictionaries(
        st.text(), st.builds(Entry, anchor=ANCHORS, runs=st.lists(STORED, min_size=1, max_size=3)), max_size=3
    ),
    speedups=st.dictionaries(st.text(), SPEEDUPS, max_size=2),
)
QUICK = hypothesis_settings(max_examples=150, deadline=None, database=None, derandomize=True)


@QUICK
@given(MACHINES)
def test_what_is_written_is_read(machine):
    assert read(rendered(machine)) == with_shared_facts(machine)
    assert rendered(read(rendered(machine))) == rendered(machine)


def parsed_or_refused(data: bytes) -> None:
    """Read `data`, or hear one sentence: no other exception passes."""
    with contextlib.suppress(BaselineError):
        read(data)
        return
    refused(data)


@QUICK
@given(st.data())
def test_mangled_bytes_are_read_or_refused(data):
    whole = json.dumps(document(), indent=1).encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    parsed_or_refused(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])


@QUICK
@given(st.data())
def test_any_value_anywhere_is_read_or_refused(data):
    whole = document()
    place = [whole]

    def walk(value: object) -> None:
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, (dict, list)):
                place.append(inner)
                walk(inner)

    walk(whole)
    container = data.draw(st.sampled_from(place))
    key = data.draw(st.sampled_from(sorted(container) if isinstance(container, dict) else range(len(container))))
    container[key] = data.draw(JSON)
    parsed_or_refused(json.dumps(whole).encode())


# written to be reviewed


def test_file_is_sorted_and_ends_in_a_newline(store):
    put(store, {"z@cpu:fake": entry(), "a@cpu:fake": entry()}, {"zone": 1, **FACTS})
    text = store.path.read_text()

    def is_sorted(pairs: list) -> dict:
        keys = [key for key, _ in pairs]
        assert keys == sorted(keys)
        return dict(pairs)

    json.loads(text, object_pairs_hook=is_sorted)
    assert text.endswith("}\n")
    assert text.count("\n") > 20  # a line per figure, for a readable diff


def test_names_of_all_alphabets_stay_readable(store):
    put(store, {"größe=大@cpu:fake": entry()}, FACTS)
    assert "größe=大" in store.path.read_text(encoding="utf-8")
    assert "größe=大@cpu:fake" in Store(store.path.parent, "m").workloads


def test_what_did_not_change_is_not_written(store):
    before = store.path.stat()
    put(store, {ID: entry()}, FACTS)
    after = store.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_figures_are_rounded_to_what_they_say():
    assert rounded(0.123456789) == 0.12346
    assert rounded(1234567.0) == 1234600.0
    assert rounded(0.0000123456789, 3) == 0.0000123


def test_mode_and_link_of_the_file_stay(store, tmp_path):
    elsewhere = tmp_path / "shared.json"
    store.path.rename(elsewhere)
    elsewhere.chmod(0o640)
    store.path.symlink_to(elsewhere)
    put(store, {"new@cpu:fake": entry()}, FACTS)
    assert store.path.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o640
    assert sorted(Store(store.path.parent, "m").workloads) == ["new@cpu:fake", ID]


def test_nothing_but_the_file_stays_in_the_folder(store):
    put(store, {"new@cpu:fake": entry()}, FACTS)
    assert [path.name for path in store.path.parent.iterdir()] == ["m.json"]


def test_speedups_stand_in_the_file_only_where_there_are_some(store):
    assert "speedups" not in json.loads(store.path.read_text())
    put(store, {BOTH: speedup()}, FACTS)
    assert list(json.loads(store.path.read_text())["speedups"]) == [BOTH]
    assert (store.speedups, list(store.workloads)) == ({BOTH: speedup()}, [ID])


# nothing is lost


def test_workloads_and_speedups_leave_each_other_alone(store):
    other = Store(store.path.parent, "m")
    put(other, {BOTH: speedup()}, FACTS)
    put(store, {"new@cpu:fake": entry()}, FACTS)
    again = Store(store.path.parent, "m")
    assert (sorted(again.workloads), list(again.speedups)) == (["new@cpu:fake", ID], [BOTH])


def test_entries_of_another_session_are_kept(store):
    other = Store(store.path.parent, "m")
    put(store, {"one@cpu:fake": entry()}, FACTS)
    put(other, {"two@cpu:fake": entry()}, FACTS)
    assert sorted(Store(store.path.parent, "m").workloads) == ["one@cpu:fake", "two@cpu:fake", ID]


def test_an_entry_is_made_from_what_the_file_holds_now(store):
    other = Store(store.path.parent, "m")
    longer = entry()
    longer = msgspec.structs.replace(longer, runs=[*longer.runs, *longer.runs])
    put(other, {ID: longer}, FACTS)
    seen = []
    store.update(ID, lambda old: seen.append(old) or old, FACTS)
    assert seen == [longer]
    assert Store(store.path.parent, "m").workloads == {ID: longer}


@pytest.mark.parametrize(
    ("key", "value"), [("versions", {"fake": None}), ("peak_memory_bytes", 0.5), ("conditions", {"load": [1]})]
)
def test_what_could_not_be_read_again_is_not_stored(store, key, value):
    before = store.path.read_bytes()
    broken = StoredRun(**{**RUN, key: value})
    with pytest.raises(BaselineError, match=rf"not stored: .*{key}.*: expected"):
        put(store, {"new@cpu:fake": msgspec.structs.replace(entry(), runs=[broken])}, FACTS)
    assert store.path.read_bytes() == before


def test_file_broken_since_it_was_read_is_left_as_it_is(store):
    store.path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(BaselineError, match="merge conflict"):
        put(store, {"new@cpu:fake": entry()}, FACTS)
    assert store.path.read_text() == "<<<<<<< HEAD\n"


def python(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_baselines import FACTS, Store, entry, put
store = Store(Path(sys.argv[1]), "m")
for number in range(15):
    put(store, {f"{sys.argv[3]}-{number}@cpu:fake": entry()}, FACTS)
"""


def test_writers_in_several_processes_lose_nothing(store, tmp_path, monkeypatch):
    writers = []
    for name in "abc":
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))  # as users have on macOS: the lock is not there
        writers.append(python(WRITER, store.path.parent, Path(__file__).parent, name))
    assert [writer.communicate(timeout=120)[1] for writer in writers] == ["", "", ""]
    wanted = {f"{name}-{number}@cpu:fake" for name in "abc" for number in range(15)} | {ID}
    assert set(Store(store.path.parent, "m").workloads) == wanted


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_baselines import FACTS, ID, Store, entry, put
chance = random.Random(0)
folder = Path(sys.argv[1])
for round in range(60):
    child = os.fork()
    if not child:
        number = 0
        while True:  # each write holds more than the one before, and never less
            put(Store(folder, "m"), {f"{round}-{number}@cpu:fake": entry()}, FACTS)
            number += 1
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    stored = Store(folder, "m").workloads  # raises for a broken file
    assert ID in stored
    for name, found in stored.items():
        assert found == entry(), name
put(Store(folder, "m"), {"last@cpu:fake": entry()}, FACTS)  # no killed writer holds the lock
assert os.listdir(folder) == ["m.json"], os.listdir(folder)  # nor left anything
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by signals")
def test_kill_at_any_instant_leaves_the_old_file_or_the_new_one(store):
    killed = python(KILLED, store.path.parent, Path(__file__).parent)
    assert killed.communicate(timeout=120)[1] == ""
    assert "last@cpu:fake" in Store(store.path.parent, "m").workloads


def test_a_message_is_short_whatever_the_file_holds(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"format": 2, "machine": {"id": "m"}, "workloads": {"x" * 10**6: {}}}))
    with pytest.raises(BaselineError, match=r"is missing `runs`|is missing `anchor`") as caught:
        Store(tmp_path, "m")
    assert len(str(caught.value)) < 1000


# what the disk can do


def assert_not_stored(store: Store, because: str) -> None:
    """One sentence, the old file, nothing beside it."""
    before = store.path.read_bytes()
    with pytest.raises(BaselineError) as caught:
        put(store, {"new@cpu:fake": msgspec.structs.replace(entry(), runs=entry().runs * 50)}, FACTS)
    assert str(caught.value).splitlines() == [str(caught.value)]
    assert str(caught.value).startswith(f"{store.path}: cannot be written: ")
    assert because in str(caught.value)
    assert store.path.read_bytes() == before
    assert [path.name for path in store.path.parent.iterdir()] == ["m.json"]
    assert sorted(store.workloads) == [ID]  # and the session does not believe that it was


def test_what_a_killed_writer_left_is_no_file_for_git_and_is_swept(store, monkeypatch):
    def killed(self: Path, target: Path) -> None:
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(Path, "replace", killed)
        put(store, {"new@cpu:fake": entry()}, FACTS)
    os.waitpid(child, 0)
    (left,) = set(store.path.parent.iterdir()) - {store.path}
    assert (left / ".gitignore").read_text() == "*\n"
    assert len(list(left.iterdir())) == 2
    put(Store(store.path.parent, "m"), {"new@cpu:fake": entry()}, FACTS)
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_lock_that_another_process_holds_is_waited_for_within_bounds(store, monkeypatch):
    monkeypatch.setattr(writing, "SECONDS", 0.05)
    with writing.locked(store.path.parent), pytest.raises(BaselineError, match="another session has been writing it"):
        put(store, {"new@cpu:fake": entry()}, FACTS)
    put(store, {"new@cpu:fake": entry()}, FACTS)
    assert not store.without_lock


def test_a_file_system_without_locks_is_written_all_the_same_and_told(store, monkeypatch):
    def refuse(descriptor: int, mode: int) -> None:
        raise OSError(errno.EBADF, "NFS wants the file open for writing")

    monkeypatch.setattr(writing.fcntl, "flock", refuse)
    put(store, {"new@cpu:fake": entry()}, FACTS)
    assert store.without_lock
    assert sorted(Store(store.path.parent, "m").workloads) == sorted(["new@cpu:fake", ID])


def test_a_socket_is_refused_without_reading(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("m.json")
        with pytest.raises(BaselineError, match=r"m\.json: cannot be read: .*; mend that"):
            Store(tmp_path, "m")


def test_a_lock_that_breaks_is_no_folder_without_locks(store, monkeypatch):
    def broken(descriptor: int, mode: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writing.fcntl, "flock", broken)
    assert_not_stored(store, os.strerror(errno.EIO))


def test_without_locks_a_file_that_another_session_is_writing_stays_and_stops_nobody(store, monkeypatch):
    def refuse(descriptor: int, mode: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(writing.fcntl, "flock", refuse)
    theirs = store.path.parent / writing.UNFINISHED / "m.jsontheirs"
    theirs.parent.mkdir()
    theirs.write_bytes(b"{")
    put(store, {"new@cpu:fake": entry()}, FACTS)
    assert theirs.read_bytes() == b"{"
    assert sorted(Store(store.path.parent, "m").workloads) == sorted(["new@cpu:fake", ID])


def test_a_new_file_has_the_modes_that_the_user_wants_of_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        made = Store(tmp_path / "baselines", "m")
        put(made, {ID: entry()}, FACTS)
        assert made.path.stat().st_mode & 0o777 == 0o640
        (tmp_path / "later").touch()
        assert (tmp_path / "later").stat().st_mode & 0o777 == 0o640  # what else the session writes
        made.path.chmod(0o664)
        put(made, {"new@cpu:fake": entry()}, FACTS)
        assert made.path.stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_file_is_refused_without_reading(tmp_path, make):
    make(tmp_path / "m.json")
    with pytest.raises(BaselineError, match=r"m\.json: cannot be read: it is no regular file; mend that"):
        Store(tmp_path, "m")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(store, monkeypatch, call):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    assert_not_stored(store, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def small_files():
    """The kernel refuses to let a file grow beyond 4 KiB: what a full disk does in the middle of a write."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_write_that_ends_in_the_middle_leaves_the_old_file(store):
    with small_files():  # and no longer: coverage writes its own file between tests
        assert_not_stored(store, os.strerror(errno.EFBIG))


@contextlib.contextmanager
def without_privileges():
    """root may write anywhere: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX")
def test_read_only_folder_is_told():
    with tempfile.TemporaryDirectory() as place:  # tmp_path cannot be entered by nobody
        folder = Path(place) / "baselines"
        store = Store(folder, "m")
        put(store, {ID: entry()}, FACTS)
        Path(place).chmod(0o755)
        folder.chmod(0o555)
        with without_privileges():
            assert_not_stored(store, os.strerror(errno.EACCES))
        folder.chmod(0o755)


def test_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "baselines").write_text("")
    with pytest.raises(BaselineError, match=r"m\.json: cannot be read: Not a directory; mend that, or use another"):
        Store(tmp_path / "baselines", "m")


def test_file_that_is_a_folder_is_told(tmp_path):
    (tmp_path / "m.json").mkdir()
    with pytest.raises(BaselineError, match=r"m\.json: cannot be read: Is a directory; mend that, or use another"):
        Store(tmp_path, "m")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_could_not_be_read_again_is_not_written(store, value):
    with contextlib.suppress(BaselineError):
        broken = StoredRun(**{**RUN, "conditions": {"temperature": value}})
        put(store, {"new@cpu:fake": Entry(anchor=entry().anchor, runs=[broken])}, FACTS)
    Store(store.path.parent, "m")


def test_file_with_half_a_surrogate_pair_is_refused_or_kept(tmp_path):
    text = json.dumps(document()).replace("20260101T", "\\ud800")
    (tmp_path / "m.json").write_text(text)
    with contextlib.suppress(BaselineError):
        put(Store(tmp_path, "m"), {"new@cpu:fake": entry()}, FACTS)


# orphans


def test_orphans_are_stored_and_not_asked_for():
    stored = ["b@cpu:tf", "a@cpu:tf", "a@gpu:tf", "a@live"]
    assert orphans(stored, ["a@cpu:tf"], ["cpu:tf", "gpu:tf", "live"]) == ["a@gpu:tf", "a@live", "b@cpu:tf"]


def test_what_a_place_needs_that_is_not_there_or_not_wanted_is_no_orphan():
    assert orphans(["a@gpu:tf", "a@gpu:1:tf", "a@gpu:other", "b@cpu:tf"], [], ["gpu:1:tf", "cpu:tf"]) == [
        "a@gpu:1:tf",
        "b@cpu:tf",
    ]


def test_a_speedup_needs_the_places_of_both_sides():
    two = ["a@cpu:tf over a@gpu:tf", "a@gpu:tf over a@cpu:tf", "b over c[x=d over e]@cpu:tf over b@gpu:1:tf"]
    assert orphans(two, [], ["cpu:tf", "gpu:1:tf"]) == two[2:]
    assert orphans(two, [two[0]], ["cpu:tf", "gpu:tf"]) == [two[1]]


def test_sessions_of_one_hour_are_one():
    sessions = [
        "20261122T093956-56bb",
        "20261122T102000-aaaa",
        "20261122T104100-bbbb",
        "20261123T093956-cccc",
        "by hand",
        "1 by hand",
    ]
    assert hours(reversed(sessions)) == {
        "20261122T093956-56bb": "20261122T093956-56bb",
        "20261122T102000-aaaa": "20261122T093956-56bb",
        "20261122T104100-bbbb": "20261122T104100-bbbb",
        "20261123T093956-cccc": "20261123T093956-cccc",
        "by hand": "by hand",
        "1 by hand": "1 by hand",
    }


def test_a_file_of_before_energy_keeps_its_bytes(tmp_path):
    store = Store(tmp_path, "m")
    put(store, {"x@cpu:fake": entry()}, {"id": "m"})
    before = store.path.read_bytes()
    assert b"joules" not in before
    put(store, {"y@cpu:fake": entry()}, {"id": "m"})
    assert b"joules" not in store.path.read_bytes()


def test_a_link_to_nowhere_becomes_a_file(suite):
    suite.file.parent.mkdir()
    suite.file.symlink_to(suite.pytester.path / "elsewhere" / "kept.json")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert suite.file.is_symlink()
    assert suite.stored
