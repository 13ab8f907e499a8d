"""Format 2 of the baseline file: compact, stable in git, read strictly; and format 1, which is read for ever."""

from __future__ import annotations

import copy
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import HERE
from test_baselines import QUICK, parsed_or_refused, refused

from pytest_metalperf import gate
from pytest_metalperf.baselines import file
from pytest_metalperf.baselines.errors import BaselineError
from pytest_metalperf.baselines.file import Store
from pytest_metalperf.baselines.format2 import rendered, with_shared_facts
from pytest_metalperf.baselines.reading import parse
from pytest_metalperf.baselines.schema import (
    FIRST_ESTIMATOR,
    FIRST_PAIR_ESTIMATOR,
    Accepted,
    Entry,
    Machine,
    StoredRun,
)
from pytest_metalperf.baselines.update import MODES, Updates, mode_of_change, stores_changes, stores_everything
from pytest_metalperf.gate import ESTIMATOR, PAIR_ESTIMATOR, Rule, RunFigure, judge
from pytest_metalperf.judge import evidence
from pytest_metalperf.judge.evidence import is_comparable, other_estimator, peers, runs_for_the_gate
from pytest_metalperf.results.metrics import METRICS
from pytest_metalperf.results.run import Run
from pytest_metalperf.settings import UPDATE_MODES

ID = "w[b8]@cpu:fake"
BOTH = "w[b8]@gpu:fake over w[b8]@cpu:fake"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
H100 = next((HERE / "h100").glob("*.json"))

SESSION = {
    "recorded": "2026-01-01",
    "commit": COMMIT,
    "clean": True,
    "versions": [{"fake": "1.0"}, {"fake": "2.0"}],
    "conditions": {"battery": False},
}
RUN = {
    "session": "s",
    "estimator": ESTIMATOR,
    "seconds_per_batch": 0.1,
    "mean_seconds": 0.11,
    "lower_quartile": 0.09,
    "upper_quartile": 0.11,
    "batches": 10,
    "first_batch_seconds": 1.5,
    "peak_memory_bytes": 1_000_000,
    "conditions": {"load1": 0.5},
}
PAIR = {"session": "s", "estimator": PAIR_ESTIMATOR, "ratio": 4.0}
ACCEPTED = {
    "commit": COMMIT,
    "digest": "sha256:ab",
    "file": "models/ranker.py",
    "qualified_name": "build_ranker",
    "axes": {"batch_size": 8},
    "variables": {"OMP_NUM_THREADS": "2"},
    "stack": "stacks/ab.txt",
}
STAMP = {"recorded": "2026-01-01", "estimator": ESTIMATOR}


def document(**changes: object) -> dict:
    """A valid file of format 2, but for `changes` to its last run."""
    return copy.deepcopy(
        {
            "format": 2,
            "machine": {"id": "m"},
            "sessions": {"s": SESSION},
            "workloads": {
                ID: {
                    "anchor": {**STAMP, "seconds_per_batch": 0.1},
                    "runs": [RUN, {**RUN, "versions": 1}, {**RUN, **changes}],
                    "accepted": ACCEPTED,
                    "examples": 8,
                    "work": {"flop": 1.0, "operations": {"Mul": 2}},
                }
            },
            "speedups": {BOTH: {"anchor": {**STAMP, "ratio": 4.0}, "pairs": [dict(PAIR), dict(PAIR)]}},
        }
    )


def read(data: object) -> Machine:
    return parse(json.dumps(data).encode(), "baselines/m.json", "m")


# read strictly


def test_every_run_knows_what_its_session_shares():
    (entry,) = read(document()).workloads.values()
    first, second, _ = entry.runs
    assert (first.recorded, first.commit, first.clean) == ("2026-01-01", COMMIT, True)
    assert (first.versions, second.versions) == ({"fake": "1.0"}, {"fake": "2.0"})
    assert first.conditions == {"battery": False, "load1": 0.5}
    assert (first.mean_seconds, first.estimator) == (0.11, ESTIMATOR)
    assert msgspec.to_builtins(entry.accepted) == ACCEPTED


def test_a_run_may_name_the_first_set_of_versions_too():
    assert read(document(versions=0)).workloads[ID].runs[2].versions == {"fake": "1.0"}


def test_what_a_run_says_of_itself_counts_more_than_its_session():
    own = {"recorded": "2026-01-02", "commit": "ab" * 20, "clean": False, "conditions": {"battery": True}}
    run = read(document(**own)).workloads[ID].runs[2]
    assert {key: getattr(run, key) for key in own} == own


LAST = f'$.workloads["{ID}"].runs[2]'


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seconds_per_batch", "0.1", ".seconds_per_batch: expected a number, got a string"),
        ("seconds_per_batch", 0, ".seconds_per_batch: expected a number > 1e-12"),
        (
            "seconds_per_batch",
            1.7e308,
            ".seconds_per_batch: expected a number < 1",
        ),  # whose sum with another is infinite
        ("seconds_per_batch", 5e-324, ".seconds_per_batch: expected a number > 1e-12"),
        ("mean_seconds", "1", ".mean_seconds: expected a number or null, got a string"),
        ("mean_seconds", -1, ".mean_seconds: expected a number > 1e-12"),
        ("estimator", None, ".estimator: expected a string, got null"),
        ("batches", 1.5, ".batches: expected a whole number, got a number"),
        ("batches", 0, ".batches: expected a whole number >= 1"),
        ("session", 1, ".session: expected a string, got a whole number"),
        ("session", "t", '.session: is "t", which `sessions` does not hold'),
        ("versions", 2, ".versions: is 2, and its session has 2 sets of versions"),
        ("versions", -1, ".versions: expected a whole number >= 0"),
        ("commit", 3, ".commit: expected a string or null, got a whole number"),
        ("clean", "no", ".clean: expected true or false or null, got a string"),
        ("conditions", {"load1": []}, '.conditions["load1"]: expected '),
        ("conditions", 3, ".conditions: expected an object, got a whole number"),
        ("speed", 3, ": has an unknown key `speed`"),
    ],
)
def test_wrong_type_names_its_place(key, value, sentence):
    assert refused(document(**{key: value})).startswith(LAST + sentence)


@pytest.mark.parametrize("sets", [[], [{"fake": "1.0"}]])
def test_a_set_of_versions_that_its_session_has_not_is_refused(sets):
    data = document()
    data["sessions"]["s"]["versions"] = sets
    assert refused(data).startswith(f'$.workloads["{ID}"].runs[1].versions: is 1, and its session has {len(sets)} sets')


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["sessions"], [], "$.sessions: expected an object, got a list"),
        (["sessions", "s"], 3, '$.sessions["s"]: expected an object, got a whole number'),
        (["sessions", "s", "recorded"], 3, '$.sessions["s"].recorded: expected a string, got a whole number'),
        (["sessions", "s", "commit"], "HEAD", '$.sessions["s"].commit: expected a string matching regex'),
        (["sessions", "s", "versions"], [{"a": 1}], '$.sessions["s"].versions[0]["a"]: expected a string, got'),
        (["workloads", ID, "accepted", "stack"], 3, f'$.workloads["{ID}"].accepted.stack: expected a string or null'),
        (["workloads", ID, "accepted", "later"], 3, f'$.workloads["{ID}"].accepted: has an unknown key `later`'),
        (["workloads", ID, "anchor", "estimator"], 3, f'$.workloads["{ID}"].anchor.estimator: expected a string, got'),
        (["workloads", ID, "runs"], [], f'$.workloads["{ID}"].runs: expected a list of length >= 1'),
        (["workloads", ID, "work", "flop"], "x", f'$.workloads["{ID}"].work.flop: expected a number or null, got'),
        (["speedups", BOTH, "pairs", 1, "ratio"], 0, f'$.speedups["{BOTH}"].pairs[1].ratio: expected a number > 1e-12'),
        (["speedups", BOTH, "pairs", 1, "session"], "t", f'$.speedups["{BOTH}"].pairs[1].session: is "t", which'),
        (["later"], 1, "$: has an unknown key `later`"),
    ],
)
def test_wrong_structure_names_its_place(path, value, sentence):
    data = document()
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert refused(data).startswith(sentence)


@pytest.mark.parametrize("name", ["seconds_per_batch", "estimator", "session", "batches"])
def test_missing_key_names_its_place(name):
    data = document()
    del data["workloads"][ID]["runs"][2][name]
    assert refused(data) == f"{LAST}: is missing `{name}`"


def test_key_that_stands_twice_is_named():
    text = json.dumps(document())
    one = json.dumps(document()["workloads"])[1:-1]
    assert refused(text.replace(one, f"{one}, {one}")).startswith(f"the key '{ID}' stands twice")
    assert refused(text.replace('"batches": 10', '"batches": 10, "batches": 10', 1)).startswith("the key 'batches'")


def test_what_is_at_its_default_may_be_written():
    assert read(document(versions=0, peak_memory_bytes=None, conditions={})).workloads[ID].runs[2].conditions == {
        "battery": False
    }


def store_of(folder: Path, data: bytes) -> str:
    """The sentence with which a session ends that meets such a file, which stays as it is."""
    path = folder / "m.json"
    path.write_bytes(data)
    with pytest.raises(BaselineError) as caught:
        Store(folder, "m")
    assert path.read_bytes() == data
    sentence = str(caught.value)
    assert sentence.splitlines() == [sentence]
    assert "delete" not in sentence
    assert "anew" not in sentence
    return sentence.removeprefix(f"{path}: ")


def test_an_unknown_key_may_be_of_a_newer_version(tmp_path):
    sentence = store_of(tmp_path, json.dumps(document(speed=3)).encode())
    assert "written by a newer pytest-metalperf, upgrade this one" in sentence
    assert "git checkout" in sentence


def test_a_newer_format_says_to_upgrade(tmp_path):
    sentence = store_of(tmp_path, json.dumps({**document(), "format": 3, "new": {}}).encode())
    assert "format 3 by a newer pytest-metalperf" in sentence
    assert "upgrade it" in sentence


def test_a_pointer_of_git_lfs_says_how_to_get_the_file(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    assert store_of(tmp_path, pointer) == "is a Git LFS pointer, not the file itself; fetch that with git lfs pull"


def test_a_half_merged_file_says_to_resolve_it(tmp_path):
    lines = rendered(read(document())).decode().splitlines(keepends=True)
    lines[3:4] = ["<<<<<<< HEAD\n", lines[3], "=======\n", lines[3], ">>>>>>> faster\n"]
    sentence = store_of(tmp_path, "".join(lines).encode())
    assert sentence.startswith("line 4: holds an unresolved merge conflict; resolve it")


@pytest.mark.parametrize("data", [b"", b'{"format": 2, "workl', json.dumps(document(batches="x")).encode()])
def test_a_damaged_file_says_how_to_restore_it(tmp_path, data):
    sentence = store_of(tmp_path, data)
    assert sentence.endswith("restore it with git checkout, or find a whole one with git log")


def test_every_truncated_file_is_refused():
    whole = rendered(read(document()))
    for length in range(0, len(whole) - 2, 5):
        refused(whole[:length])


@QUICK
@given(st.data())
def test_mangled_bytes_are_read_or_refused(data):
    whole = rendered(read(document()))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    parsed_or_refused(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])


# written to be reviewed


def test_a_run_is_a_line_and_a_session_is_written_once():
    machine = read(document())
    text = rendered(machine).decode()
    lines = text.splitlines()
    assert sum('"seconds_per_batch"' in line and '"session"' in line for line in lines) == 3
    assert text.count(COMMIT) == 2  # of the session, and of what was accepted
    assert text.count('"fake": "1.0"') == 1
    assert json.loads(text)["workloads"][ID]["runs"][0]["conditions"] == {"load1": 0.5}
    assert with_shared_facts(read(json.loads(text))) == with_shared_facts(machine)
    assert rendered(read(json.loads(text))) == text.encode()


def test_sessions_to_which_no_run_refers_are_removed():
    data = document()
    data["sessions"]["old"] = SESSION
    assert list(json.loads(rendered(read(data)))["sessions"]) == ["s"]


def changed(before: bytes, after: bytes, folder: Path) -> int:
    """Lines that git's diff marks with + or -."""
    for name, data in (("before", before), ("after", after)):
        (folder / name).write_bytes(data)
    diff = subprocess.run(
        ["git", "diff", "--no-index", "--numstat", "before", "after"], cwd=folder, capture_output=True, text=True
    ).stdout.split()
    return int(diff[0]) + int(diff[1])


def fresh(entry: Entry, session: str, seconds: float = 1.0) -> list[StoredRun]:
    """As many runs as are stored, of another session, in which time alone differs."""
    return [
        msgspec.structs.replace(
            run,
            session=session,
            recorded="2026-12-01",
            commit="ef" * 20,
            clean=True,
            mean_seconds=run.seconds_per_batch,
            seconds_per_batch=run.seconds_per_batch * seconds,
        )
        for run in entry.runs
    ]


@pytest.fixture
def h100(tmp_path: Path) -> Store:
    """The old file of 36 workloads, where a store finds it."""
    (tmp_path / H100.name).write_bytes(H100.read_bytes())
    return Store(tmp_path, H100.stem)


def rewrite(store: Store) -> bytes:
    """Write the file as it is, in today's format."""
    key = next(iter(store.workloads))
    store.update(key, lambda old: old, json.loads(H100.read_bytes())["machine"])
    return store.path.read_bytes()


def test_the_old_file_is_rewritten_in_less_than_900_lines(h100):
    assert len(h100.workloads) == 36
    assert h100.path.read_bytes().count(b"\n") == 6895
    after = rewrite(h100)
    assert after.count(b"\n") < 900
    assert json.loads(after)["format"] == 2


@pytest.mark.parametrize("which", [0, 17, 35])
def test_accepting_one_workload_changes_at_most_16_lines(h100, which):
    before = rewrite(h100)
    key = sorted(h100.workloads)[which]
    entry = h100.workloads[key]
    runs = fresh(entry, "20261201T000000-abcd", 1.3)
    facts = json.loads(before)["machine"]
    Updates().record(
        h100,
        key,
        runs,
        runs[0].seconds_per_batch,
        "changed",
        facts,
        fingerprint=entry.fingerprint,
        examples=entry.examples,
    )
    assert 0 < changed(before, h100.path.read_bytes(), h100.path.parent) <= 16
    assert [run.session for run in h100.workloads[key].runs] == ["20261201T000000-abcd"] * len(runs)


def test_runs_that_stay_keep_their_lines_when_others_of_their_session_go(h100):
    before = json.loads(rewrite(h100))
    gone = sorted(h100.workloads)[:12]  # the first of their sessions among them
    for key in gone:
        runs = fresh(h100.workloads[key], "20261201T000000-abcd")
        h100.update(key, lambda old, runs=runs: msgspec.structs.replace(old, runs=runs), before["machine"])
    after = json.loads(h100.path.read_bytes())
    stay = [key for key in before["workloads"] if key not in gone]
    assert {key: after["workloads"][key] for key in stay} == {key: before["workloads"][key] for key in stay}
    del after["sessions"]["20261201T000000-abcd"]
    assert after["sessions"] == {key: before["sessions"][key] for key in after["sessions"]}


def test_a_session_that_goes_on_writes_what_still_holds_for_all_of_its_runs(tmp_path):
    store = Store(tmp_path, "m")
    (entry,) = read(document()).workloads.values()
    run = msgspec.structs.replace(entry.runs[0], session="t", conditions={"battery": False, "load1": 0.5})
    other = msgspec.structs.replace(run, conditions={"battery": False, "load1": 0.9})
    bare = msgspec.structs.replace(run, conditions={})
    shared = []
    for key, one in (("c@cpu:fake", run), ("b@cpu:fake", other), ("a@cpu:fake", bare)):
        store.update(key, lambda old, one=one: msgspec.structs.replace(entry, runs=[one]), {"id": "m"})
        shared.append(json.loads(store.path.read_bytes())["sessions"]["t"].get("conditions", {}))
    assert shared == [{"battery": False, "load1": 0.5}, {"battery": False}, {}]
    again = Store(tmp_path, "m").workloads
    assert [again[f"{key}@cpu:fake"].runs for key in "abc"] == [[bare], [other], [run]]


# format 1 is read for ever


def test_figures_of_format_1_are_of_the_first_estimator_without_a_mean(h100):
    runs = [run for entry in h100.workloads.values() for run in entry.runs]
    assert {run.estimator for run in runs} == {FIRST_ESTIMATOR}
    assert {run.mean_seconds for run in runs} == {None}
    assert FIRST_ESTIMATOR != ESTIMATOR
    assert FIRST_PAIR_ESTIMATOR != PAIR_ESTIMATOR
    assert not any(is_comparable(entry) for entry in h100.workloads.values())


@pytest.mark.parametrize(
    ("written", "commit", "clean"),
    [("1a2b3c4d5e", "1a2b3c4d5e", True), ("1a2b3c4d5e+", "1a2b3c4d5e", False), (None, None, None)],
)
def test_a_commit_of_format_1_says_whether_the_tree_was_clean(written, commit, clean):
    data = document()
    run = {**RUN, "recorded": "2026-01-01", "commit": written}
    del run["estimator"], run["mean_seconds"]
    anchor = {"seconds_per_batch": 0.1, "recorded": "2026-01-01", "commit": written}
    data = {"format": 1, "machine": {"id": "m"}, "workloads": {ID: {"anchor": anchor, "runs": [run]}}}
    entry = read(data).workloads[ID]
    assert (entry.runs[0].commit, entry.runs[0].clean) == (entry.anchor.commit, entry.anchor.clean) == (commit, clean)
    again = read(json.loads(rendered(read(data)))).workloads[ID]
    assert again == entry


def test_a_key_of_format_2_is_unknown_in_format_1():
    data = {**document(), "format": 1}
    assert "unknown key" in refused(data)


def test_the_old_file_and_its_rewrite_give_the_same_verdicts(h100, monkeypatch):
    monkeypatch.setattr(gate, "ESTIMATOR", FIRST_ESTIMATOR)  # or none of its figures would be compared
    old = Store(h100.path.parent, H100.stem)
    rewrite(h100)
    new = Store(h100.path.parent, H100.stem)
    assert new.workloads == old.workloads
    seen = set()
    for key, entry in old.workloads.items():
        for factor in (0.7, 1.0, 1.02, 1.1, 1.5):
            now = [RunFigure(run.seconds_per_batch * factor, "today") for run in entry.runs[:3]]
            both = [
                judge(
                    now,
                    runs_for_the_gate(store, store.workloads[key]),
                    peers(store, key),
                    Rule(tolerance=0.05, max_runs=5),
                )
                for store in (old, new)
            ]
            assert both[0] == both[1]
            seen.add(both[0].verdict)
        for metric in METRICS.values():
            assert runs_for_the_gate(old, entry, metric) == runs_for_the_gate(new, new.workloads[key], metric)
    assert {"slower", "within", "faster"} <= seen


# what is compared, and what updates keep


def test_figures_of_another_estimator_are_never_compared(tmp_path):
    (entry,) = read(document()).workloads.values()
    other = msgspec.structs.replace(entry, runs=[msgspec.structs.replace(r, estimator="median") for r in entry.runs])
    mixed = msgspec.structs.replace(entry, runs=[*other.runs, entry.runs[0]])
    assert [is_comparable(one) for one in (entry, other, mixed, None)] == [True, False, True, False]
    store = Store(tmp_path, "m")
    store.update(ID, lambda old: mixed, {"id": "m"})
    store.update("v@cpu:fake", lambda old: other, {"id": "m"})
    assert len(runs_for_the_gate(store, mixed)) == 1
    assert [len(found) for found in peers(store, ID)] == [0]
    assert "'median'" in other_estimator(other.runs)
    assert "measure or record again" in other_estimator(other.runs)


def test_what_noise_is_learned_from_is_found_once_a_store(h100, monkeypatch):
    entries, sessions = [], []
    monkeypatch.setattr(
        evidence, "runs_for_the_gate", lambda *arguments: entries.append(arguments) or runs_for_the_gate(*arguments)
    )
    monkeypatch.setattr(file, "hours", lambda found: sessions.append(found) or {})
    for _ in range(2):
        for key in h100.workloads:
            assert len(peers(h100, key)) == 35
    assert (len(entries), len(sessions)) == (36, 0)
    rewrite(h100)  # what was stored since is learned from too
    key = next(iter(h100.workloads))
    assert len(peers(h100, key)) == 35
    assert (len(entries), len(sessions)) == (72, 2)


def test_extending_keeps_what_was_accepted_and_replacing_drops_it(tmp_path):
    store, facts = Store(tmp_path, "m"), {"id": "m"}
    (entry,) = read(document()).workloads.values()
    store.update(ID, lambda old: entry, facts)
    new = fresh(entry, "t")
    Updates().record(store, ID, new, 0.1, "extend", facts, fingerprint=entry.fingerprint, examples=8)
    assert store.workloads[ID].accepted == entry.accepted == Accepted(**ACCEPTED)
    assert store.workloads[ID].runs == [*entry.runs, *new]
    Updates().record(store, ID, new, 0.1, "all", facts, fingerprint=entry.fingerprint, examples=8)
    assert store.workloads[ID].accepted is None
    assert Store(tmp_path, "m").workloads == store.workloads


@pytest.mark.parametrize(
    "own",
    [
        {"recorded": "2026-01-02"},
        {"commit": "ab" * 20},
        {"commit": None, "clean": None},
        {"clean": False},
        {"conditions": {"battery": True}},
        {"versions": {"fake": "3.0"}},
    ],
    ids=str,
)
def test_what_a_run_or_a_pair_says_otherwise_than_its_session_is_written_and_read(own):
    stored = read(document())
    workload, speedup = stored.workloads[ID], stored.speedups[BOTH]
    runs = [workload.runs[0], msgspec.structs.replace(workload.runs[0], **own)]
    pairs = [speedup.pairs[0], msgspec.structs.replace(speedup.pairs[0], **own)]
    changed = msgspec.structs.replace(
        stored,
        workloads={ID: msgspec.structs.replace(workload, runs=runs)},
        speedups={BOTH: msgspec.structs.replace(speedup, pairs=pairs)},
    )
    again = read(json.loads(rendered(changed)))
    assert (again.workloads[ID].runs, again.speedups[BOTH].pairs) == (runs, pairs)


@pytest.mark.parametrize(("mode", "kept"), [("changed", "ab"), ("extend", "ab"), ("all", "ab"), ("missing", "a")])
def test_of_two_sessions_that_record_at_once_none_loses_what_it_stored(tmp_path, mode, kept):
    facts = {"id": "m"}
    (entry,) = read(document()).workloads.values()
    stores = {session: Store(tmp_path, "m") for session in "ab"}  # both have read that nothing is stored
    for session, store in stores.items():
        Updates().record(store, ID, fresh(entry, session), 0.1, mode, facts)
    assert "".join(dict.fromkeys(run.session for run in Store(tmp_path, "m").workloads[ID].runs)) == kept


def test_a_batch_has_the_examples_that_all_of_its_runs_have(tmp_path):
    store, facts = Store(tmp_path, "m"), {"id": "m"}
    (entry,) = read(document()).workloads.values()
    known = []
    for mode, examples in (("all", 8), ("extend", 8), ("extend", None), ("all", None), ("extend", 8), ("extend", 16)):
        Updates().record(store, ID, fresh(entry, f"s{len(known)}"), 0.1, mode, facts, examples=examples)
        known.append(store.workloads[ID].examples)
    assert known == [8, 8, None, None, 8, None]


def test_a_run_has_a_line_of_its_own(tmp_path):
    store, facts = Store(tmp_path, "m"), {"id": "m"}
    (entry,) = read(document()).workloads.values()
    store.update(ID, lambda _: entry, facts)
    lines = [line.strip().rstrip(",") for line in store.path.read_text().splitlines()]
    assert sum("first_batch_seconds" in json.loads(line) for line in lines if line.startswith('{"')) == len(entry.runs)


@pytest.mark.parametrize("mode", MODES)
def test_an_anchor_of_another_estimator_is_made_anew(tmp_path, mode):
    store, facts = Store(tmp_path, "m"), {"id": "m"}
    (entry,) = read(document()).workloads.values()
    old = msgspec.structs.replace(entry, anchor=msgspec.structs.replace(entry.anchor, estimator="median"))
    store.update(ID, lambda _: old, facts)
    Updates().record(store, ID, fresh(entry, "t"), 0.2, mode, facts, fingerprint=entry.fingerprint, examples=8)
    assert (store.workloads[ID].anchor.seconds_per_batch, store.workloads[ID].anchor.estimator) == (0.2, ESTIMATOR)


def test_the_modes_are_those_that_the_option_takes():
    assert MODES == UPDATE_MODES
    assert [mode for mode in MODES if stores_everything(mode, known=True)] == ["extend", "all", "anchor"]
    assert all(stores_everything(mode, known=False) for mode in MODES)
    assert [mode for mode in MODES if stores_changes(mode)] == ["changed"]
    assert mode_of_change.__doc__


def test_a_run_is_stored_with_its_mean():
    run = Run(samples=(0.1, 0.2, 0.6), batches_per_block=2, first_batch_seconds=1.0, session="s", recorded="2026-01-01")
    stored = run.stored(COMMIT, clean=True)
    assert (stored.mean_seconds, stored.seconds_per_batch) == (0.3, 0.1)
    assert (stored.estimator, stored.commit, stored.clean) == (ESTIMATOR, COMMIT, True)
    assert replace(run, conditions={"n": 1}).stored(COMMIT, clean=True).conditions == {"n": 1.0}
