"""The doctor's rules on the machine, its baselines and what backends told: facts in, findings with their fix out."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from pytest_metalperf.doctor.checks import Finding, note, ok
from pytest_metalperf.doctor.command import checks
from pytest_metalperf.doctor.environment import Environment
from pytest_metalperf.doctor.symptoms import diagnosis
from pytest_metalperf.worker.machine import MachineFacts, spoils

MAC_ID, MACOS, M1_PRO = "macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb", "macOS 15.1 (24B83)", "Apple M1 Pro 16-core"
MAC = MachineFacts(MAC_ID, "macos", "Apple M1 Pro", "MacBookPro18,3", "8p2e", 32, (M1_PRO,), MACOS, False, False)
INTEL = replace(MAC, chip="Intel Core i7-9750H", gpus=("AMD Radeon Pro 5300M",))
LINUX = MachineFacts("linux-id", "linux", "AMD EPYC 9654", "KVM", "16", 128, ("NVIDIA H100",), "Debian 12", True)


def env(facts, machine="x86_64"):
    return Environment((3, 11, 7), machine, facts)


# the machine

FINE = {"power": "mains", "low_power": False, "thermal": "nominal", "speed_limit": 1.0, "other_load": 0.01}
SPOILED = [
    ({"power": "battery"}, "bad", "running on battery", "mains"),
    ({"low_power": True}, "bad", "low-power mode", "pmset"),
    ({"background": True}, "bad", "background job", "terminal"),
    *(({"thermal": level}, "bad", f"pressure {level}", "cool down") for level in ("heavy", "trapping", "sleeping")),
    ({"speed_limit": 0.35}, "bad", "CPU speed limited to 35 %", "cool down"),
    ({"throttled": "power cap"}, "note", "GPU clocks held back by power cap", "nvidia-smi"),
    ({"throttled": "thermal slowdown"}, "bad", "GPU clocks held back by thermal slowdown", "nvidia-smi"),
    ({"virtual_gpu": True}, "bad", "virtual GPU", "--metal-devices cpu"),
    ({"stolen": 0.41}, "note", "41 % of CPU time was stolen", "--metal-against"),
    ({"other_load": 0.23}, "note", "23 % of CPU time went to other processes", "end what else runs"),
    ({"gpu_processes": 2.0}, "note", "2 other processes used the GPU", "end what else uses the GPU"),
    ({"gpu_other": 0.3}, "note", "30 % of the GPU's time went to other processes", "end what else uses the GPU"),
]


@pytest.mark.parametrize(("conditions", "state", "found", "fix"), SPOILED)
def test_what_spoils_a_run_is_told_with_its_fix(conditions, state, found, fix):
    who, spoiled = checks.of_machine(MAC, FINE | conditions)
    assert (who.state, spoiled.check, spoiled.state) == ("ok", "conditions", state)
    assert found in spoiled.found
    assert fix in spoiled.fix


def test_all_that_spoils_is_told():
    everything = {key: value for conditions, *_ in SPOILED for key, value in conditions.items()}
    assert [one.found for one in checks.of_machine(MAC, everything)[1:]] == [one.clause for one in spoils(everything)]


def test_a_gpu_s_state_is_nothing_to_a_machine_without_one():
    findings = checks.of_machine(replace(LINUX, gpus=()), {"throttled": "power cap", "virtual_gpu": True})
    assert findings[1] == ok("conditions", "nothing in the way")


def test_a_quiet_machine():
    who, conditions = checks.of_machine(MAC, FINE, "metal3")
    assert who.found == f"{MAC_ID} (Apple M1 Pro, 8p2e cores, 32 GB, {M1_PRO}, metal3, {MACOS})"
    assert conditions.found == "nothing in the way; power mains, low-power mode off, thermal pressure nominal"


@pytest.mark.parametrize("key", ["power", "low_power", "thermal", "speed_limit", "throttled", "virtual_gpu"])
def test_what_could_not_be_read_is_unknown(key):
    assert "unknown" in checks.of_machine(MAC, FINE | {key: None})[1].found


def test_what_could_not_be_read_is_unknown_beside_what_spoils():
    findings = checks.of_machine(MAC, FINE | {"power": "battery", "thermal": None})[1:]
    assert any("thermal pressure unknown" in one.found for one in findings)


# baselines

RUN = dict.fromkeys(("seconds_per_batch", "lower_quartile", "upper_quartile", "first_batch_seconds"), 0.1)
RUN |= {"batches": 10, "session": "s", "recorded": "2026-01-01"}
ENTRY = {"anchor": {"seconds_per_batch": 0.1, "recorded": "2026-01-01"}, "runs": [RUN]}


def write(folder, machine, **workloads):
    text = json.dumps({"format": 1, "machine": {"id": machine}, "workloads": workloads})
    (folder / f"{machine}.json").write_text(text)


@pytest.mark.parametrize(
    ("machines", "more"),
    [([], ""), (["one"], " (1 of other machines)"), (["one", "mine"], " (1 of other machines)"), (["mine"], "")],
)
def test_baselines_that_are_none_of_this_machine(tmp_path, machines, more):
    for machine in machines:  # this machine's may be there with nothing in it
        write(tmp_path, machine)
    fix = "pytest -m metal_bench --metal-update-baselines"
    assert checks.of_baselines(tmp_path, "mine") == note("baselines", f"none of this machine in {tmp_path}{more}", fix)


def test_baselines_of_this_machine(tmp_path):
    assert checks.of_baselines(tmp_path / "none", "mine").state == "note"
    write(tmp_path, "mine", **{"w@cpu:fake": ENTRY})
    found = f"{tmp_path / 'mine.json'}: 1 workloads, 0 speedups"
    assert checks.of_baselines(tmp_path, "mine") == ok("baselines", found)


@pytest.mark.parametrize("text", ["", '{"format": 1, "workl', "<<<<<<< HEAD\n{}\n", '{"format": 7}', "[]"])
def test_baselines_that_cannot_be_read_are_one_sentence(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    finding = checks.of_baselines(tmp_path, "mine")
    assert (finding.state, finding.found.count("\n"), "git" in finding.fix) == ("bad", 0, True)
    assert "mine.json" in finding.found


# what backends told

CPU = {"versions": {}, "devices": {"cpu": ""}, "missing": "TensorFlow sees no GPU here", "device": "cpu"}
GPU = {"versions": {}, "devices": {"cpu": "", "gpu": "NVIDIA H100"}, "missing": "", "device": "gpu"}
TRAINED = GPU | {"loss": 2.3, "gradient_norm": 1.5, "steps": 148, "seconds": 0.006}
TRIED = TRAINED | {"precisions": {"float32": "", "mixed_float16": "", "mixed_bfloat16": ""}}
ALL = TRIED | {"jit": ""}
ONE = {"precisions": {"float32": "", "mixed_float16": "", "mixed_bfloat16": "cannot compute in bfloat16"}}
STEPS = "trained 148 small steps in a second"
MORE = "more time: --timeout 108"


@pytest.mark.parametrize(
    ("told", "ended", "found"),
    [
        (ALL, True, ["ok …; mixed_float16, mixed_bfloat16, jit_compile work"]),
        (ALL, False, ["ok …; mixed_float16, mixed_bfloat16, jit_compile work"]),
        (ALL | ONE, True, ["ok …; mixed_float16, jit_compile work", "note cannot compute in bfloat16"]),
        (
            ALL | {"jit": "No XLA"},
            True,
            ["ok …; mixed_float16, mixed_bfloat16 work", "note jit_compile does not work: No XLA"],
        ),
        (TRAINED, False, ["ok …", "note not tried within 27 s: precisions, jit_compile"]),
        (TRIED, False, ["ok …; mixed_float16, mixed_bfloat16 work", "note not tried within 27 s: jit_compile"]),
        (GPU, False, ["bad trained nothing within 27 s"]),
        (GPU | {"error": "no weight changed"}, True, ["bad no weight changed"]),
        (TRAINED | {"error": "ended by SIGABRT"}, True, ["ok …", "bad ended by SIGABRT"]),  # by what came after
    ],
)
def test_what_a_backend_told(told, ended, found):
    devices, *findings = checks.of_backend(env(LINUX), "tensorflow", told, ended, 27.0)
    assert devices == ok("tensorflow devices", "cpu, gpu (NVIDIA H100)")
    assert [f"{one.state} {one.found}".replace(STEPS, "…") for one in findings] == found
    assert all(one.fix == MORE for one in findings if "within" in one.found)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({}, "note"),
        ({"versions": {}}, "bad"),
        ({"late": True}, "note"),
        ({"late": True, "versions": {}}, "note"),
    ],
)
def test_a_backend_that_did_not_get_its_turn_in_time_is_a_note_and_one_that_hangs_is_not(told, state):
    (finding,) = checks.of_backend(env(MAC), "jax", told, False, 27.0)
    assert (finding.state, finding.fix) == (state, MORE)


def test_a_backend_that_ended_without_a_word_needs_no_more_time():
    (finding,) = checks.of_backend(env(MAC), "jax", {}, True, 27.0)
    assert (finding.state, finding.fix, "within" in finding.found) == ("bad", "", False)


@pytest.mark.parametrize(
    ("where", "backend", "state", "fix"),
    [
        (env(LINUX), "tensorflow", "bad", "pip install 'pytest-metalperf[cuda]'"),
        (env(LINUX), "torch", "bad", checks._GPU_FIX["torch", "nvidia"]),
        (env(replace(LINUX, gpus=("AMD Radeon",))), "tensorflow", "note", ""),
        (env(replace(LINUX, gpus=())), "tensorflow", "note", ""),
        (env(MAC, "arm64"), "tensorflow", "bad", ""),
        (env(MAC, "arm64"), "torch", "bad", "update macOS, or install an older PyTorch that still serves this one"),
        (env(MAC, "arm64"), "jax", "note", checks._GPU_FIX["jax", "apple"]),
        (env(replace(MAC, virtual=True)), "torch", "note", ""),
        (env(INTEL), "torch", "note", ""),
    ],
)
def test_a_gpu_that_is_there_and_not_seen_is_to_be_mended(where, backend, state, fix):
    found = checks.of_backend(where, backend, ALL | CPU, True, 27.0)[0]
    assert found == Finding(f"{backend} devices", state, CPU["missing"], fix)


def test_a_gpu_that_a_clash_hides_is_told_with_it():
    log = "Found cuDNN version 8700, but JAX was built against version 8800, which is newer."
    finding = checks.of_backend(env(LINUX), "jax", ALL | CPU | {"log": log}, True, 27.0)[0]
    assert (finding.state, finding.found) == ("bad", f"{CPU['missing']}: {diagnosis(log).cause}")
    assert finding.fix == diagnosis(log).fix


@pytest.mark.parametrize(
    ("loss", "norm", "state"),
    [
        (2.3, 1.5, "ok"),
        (2.301, 1.5, "ok"),
        (2.5, 1.5, "bad"),
        (2.3, 3, "bad"),
        (math.nan, 1.5, "bad"),
        (2.3, math.inf, "bad"),
    ],
)
def test_parity(loss, norm, state):
    finding = checks.of_parity("torch", {"loss": loss, "gradient_norm": norm}, {"loss": 2.3, "gradient_norm": 1.5})
    assert (finding.check, finding.state, bool(finding.fix)) == ("torch parity", state, state == "bad")
    assert f"loss {loss:.6g} on the GPU and 2.3 on the CPU, gradient norm {norm:.6g} on the GPU" in finding.found


def test_nan_agrees_with_nothing():
    nan = {"loss": math.nan, "gradient_norm": 1.5}
    assert checks.of_parity("torch", nan, nan).state == "bad"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ("", "0 checks: 0 ok, 0 notes, nothing to mend"),
        ("ok note", "2 checks: 1 ok, 1 note, nothing to mend"),
        ("ok ok note note bad", "5 checks: 2 ok, 2 notes, 1 to mend"),
    ],
)
def test_counted(found, text):
    assert checks.counted([Finding("x", state, "") for state in found.split()]) == text
