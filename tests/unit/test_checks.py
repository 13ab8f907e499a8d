"""The doctor's rules on what is installed: an environment in, findings with their fix out."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.doctor.checks import bad
from pytest_metalperf.doctor.command import checks
from pytest_metalperf.doctor.environment import PACKAGES, Environment, Installed
from pytest_metalperf.doctor.symptoms import diagnosis
from pytest_metalperf.worker.machine import MachineFacts

REPEATABLE = settings(derandomize=True, max_examples=30, deadline=None)
MAC_ID, MACOS, M1_PRO = "macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb", "macOS 15.1 (24B83)", "Apple M1 Pro 16-core"
MAC = MachineFacts(MAC_ID, "macos", "Apple M1 Pro", "MacBookPro18,3", "8p2e", 32, (M1_PRO,), MACOS, False, False)
LINUX = MachineFacts("linux-id", "linux", "AMD EPYC 9654", "KVM", "16", 128, ("NVIDIA H100",), "Debian 12", True)
PLUGIN = "/venv/lib/site-packages/tensorflow-plugins/libmetal_plugin.dylib"
METAL = {"tensorflow": "2.19.1", "tensorflow_metal": "1.2.0", "keras": "3.15.1", "numpy": "2.1.3"}
NOTHING = dict.fromkeys(METAL)


def env(facts=MAC, machine="arm64", python=(3, 11, 7), plugins=(PLUGIN,), variables=None, **changes):
    """A MacBook Pro that trains on its GPU but for `changes` of facts and packages; two versions are two copies."""
    known = {field.name for field in fields(MachineFacts)} & set(changes)
    facts = replace(facts, **{key: changes.pop(key) for key in known})
    packages = {
        key.replace("_", "-"): [Installed(one, f"/site{i}") for i, one in enumerate(text.split(" "))]
        for key, text in (METAL | changes).items()
        if text is not None
    }
    return Environment(python, machine, facts, packages, plugins, variables or {})


def linux(**changes):
    return env(**{"facts": LINUX, "machine": "x86_64", "tensorflow_metal": None, "plugins": (), **changes})


def said(findings, where):
    """The one finding of `bad plugin`: a state and a check."""
    (found,) = [one for one in findings if f"{one.state} {one.check}" == where]
    return found


def states(findings):
    return {one.state for one in findings}


# the table of what goes wrong

ROSETTA = {"machine": "x86_64", "rosetta": True}
NO_METAL = {"tensorflow_metal": None, "plugins": ()}
STUCK = {"tensorflow": "2.16.2", "tensorflow_macos": "2.16.2", "tensorflow_metal": "1.1.0", "numpy": "1.26.4"}
NATIVE = "an arm64 Python 3.10 to 3.12"
PAIR = "TensorFlow 2.18 or 2.19 with tensorflow-metal 1.2.0"
WRONG = [
    ({"tensorflow": "2.20.0"}, "bad plugin", "Library not loaded: @rpath/_pywrap_tensorflow_internal.so", PAIR),
    ({"tensorflow": "2.22.0rc1"}, "bad plugin", "tensorflow-metal 1.2.0 with TensorFlow 2.22.0rc1 does not load", PAIR),
    ({"tensorflow_metal": "1.1.0"}, "bad plugin", "Symbol not found: __ZN3tsl8internal10LogMessage", PAIR),
    ({"tensorflow_metal_plugin": "0.4.1"}, "bad plugin", 'already registered with name: "METAL"', "uninstall one"),
    ({"plugins": (PLUGIN, "/b.dylib")}, "bad plugin", 'name: "METAL"\': /venv/lib', "a fresh virtual environment"),
    ({"python": (3, 13, 1), **NO_METAL}, "bad plugin", "for Python 3.13 pip finds 'No matching", NATIVE),
    ({**ROSETTA, **NO_METAL}, "bad plugin", "no tensorflow-metal", NATIVE),  # the extra has no wheels for it
    (ROSETTA, "bad python", "for x86_64 on Apple silicon", NATIVE),
    (ROSETTA, "bad python", "'Illegal instruction'", "all packages anew"),
    ({**ROSETTA, "rosetta": None}, "bad python", "translated by Rosetta", NATIVE),
    ({**NOTHING, "tensorflow_macos": "2.15.1"}, "bad tensorflow", "'No module named tensorflow'", "[metal]"),
    (STUCK, "note tensorflow-macos", "holds TensorFlow at 2.16.2", "pip uninstall tensorflow-macos"),
    (NO_METAL, "bad plugin", "trains on the CPU alone, and says nothing", "[metal]"),
]
LOGGED = [
    ("dlopen(/x/libmetal_plugin.dylib): Library not loaded: @rpath/_pywrap_tensorflow_internal.so", PAIR),
    ("Symbol not found: __ZN3tsl8internal10LogMessageC1EPKcii", PAIR),
    ('platform is already registered with name: "METAL"', "in a fresh virtual environment"),
    ("ERROR: No matching distribution found for tensorflow-metal", NATIVE),
    ("Fatal Python error: Illegal instruction", "a native arm64 Python"),
    ("(mach-o file, but is an incompatible architecture (have 'x86_64', need 'arm64'))", "a native arm64 Python"),
    ("No supported GPU was found.", "real hardware"),
    ("NOT_FOUND: Could not find compiler for platform METAL", "jit_compile off"),
    ("could not find registered platform with id: 0x106170d30", "jit_compile off"),
]


@pytest.mark.parametrize(("changes", "where", "found", "fix"), WRONG)
def test_what_is_wrong_is_seen_without_importing_it(changes, where, found, fix):
    finding = said(checks.of_environment(env(**changes)), where)
    assert found in finding.found
    assert fix in finding.fix


@pytest.mark.parametrize(("log", "fix"), LOGGED)
def test_what_only_a_log_shows_is_told_with_the_error(log, fix):
    known = diagnosis(log)
    assert fix in known.fix
    told = {"error": "a process that tried it was ended by SIGABRT", "log": f"before\n{log}\nafter\n"}
    findings = checks.of_backend(env(), "tensorflow", told, True, 27.0)
    assert findings == [bad("tensorflow", f"{told['error']}: {known.cause}", known.fix)]


def test_a_virtual_mac_cannot_gate_its_gpu_and_is_not_told_to_install_metal():
    virtual = env(virtual=True, gpus=("Apple Paravirtual device",), **NO_METAL)
    assert states(checks.of_environment(virtual)) == {"ok"}
    finding = said(checks.of_machine(virtual.facts, {"virtual_gpu": True}), "bad conditions")
    assert (finding.found, "--metal-devices cpu" in finding.fix) == ("virtual GPU", True)


# environments that are well, and others

INTEL = {"machine": "x86_64", "chip": "Intel Core i7-9750H", "tensorflow": "2.16.2", "numpy": "1.26.4"}
TWO = {"tensorflow_metal": None, "tensorflow_metal_plugin": "0.4.1"}


@pytest.mark.parametrize(
    "healthy",
    [
        env(),
        env(tensorflow="2.17.1", tensorflow_metal="1.1.0", numpy="1.26.4"),
        env(python=(3, 14, 0), **NOTHING | {"torch": "2.13.0", "keras": "3.15.1"}),
        env(**NOTHING | {"mlx": "0.32.4"}),
        linux(),
        linux(tensorflow=None, tensorflow_cpu="2.21.0", jax="0.10.2", numpy="2.4.6"),
    ],
)
def test_a_healthy_environment_needs_nothing(healthy):
    findings = checks.of_environment(healthy)
    assert (states(findings), {one.fix for one in findings}) == ({"ok"}, {""})


@pytest.mark.parametrize(
    ("found", "where", "text", "fix"),
    [
        (env(**NOTHING), "bad frameworks", "none of TensorFlow, PyTorch, JAX, MLX is installed", "[metal]"),
        (linux(**NOTHING), "bad frameworks", "none of TensorFlow, PyTorch, JAX, MLX is installed", "[tensorflow]"),
        (env(keras=None), "bad keras", "not installed", "keras>=3"),
        (linux(**NOTHING, torch="2.13.0"), "note keras", "steps of your own train", "pytest-metalperf[keras]"),
        (env(keras="2.15.0"), "bad keras", "Keras 2.15.0; the models need Keras 3", "keras>=3"),
        (linux(variables={"TF_USE_LEGACY_KERAS": "True"}), "bad keras", "asks for Keras 2", "unset TF_USE_LEGACY"),
        (linux(tensorflow="2.16.2", numpy="2.0.1"), "bad numpy", "NumPy 2.0.1 with TensorFlow 2.16.2", "numpy<2"),
        (linux(tensorflow_cpu="2.21.0"), "bad tensorflow", "2.19.1 and tensorflow-cpu 2.21.0", "uninstall both"),
        (env(keras="3.5.0 3.15.1"), "note keras", "is imported: 3.5.0 in /site0; 3.15.1 in /site1", "uninstall what"),
        (env(tensorflow=None, torch="2.13.0"), "note plugin", "tensorflow-metal 1.2.0 without TensorFlow", PAIR),
        (env(tensorflow="2.16.2", numpy="1.26"), "note plugin", "not known to load together", PAIR),
        (env(tensorflow="2.21.0", **TWO), "note plugin", "tensorflow-metal-plugin 0.4.1, not Apple's", ""),
        (linux(jax_metal="0.1.1", jax="0.10.2"), "note jax-metal", "stops with jax 0.5", "uninstall jax-metal"),
        (linux(variables={"XLA_FLAGS": "--a", "B": ""}), "note variables", "XLA_FLAGS=--a, B=: these change", ""),
        (env(**INTEL, **NO_METAL), "note python", "on Intel Macs TensorFlow ends at 2.16.2", ""),
    ],
)
def test_other_environments(found, where, text, fix):
    finding = said(checks.of_environment(found), where)
    assert text in finding.found
    assert fix in finding.fix


def test_an_intel_mac_is_not_told_to_install_what_is_for_apple_silicon():
    findings = checks.of_environment(env(**INTEL, tensorflow_metal="1.0.0"))
    assert "bad" not in states(findings)
    assert not [one for one in findings if "[metal]" in one.fix]


def test_an_old_tensorflow_macos_holds_tensorflow_itself():
    findings = checks.of_environment(env(**NOTHING | {"tensorflow_macos": "2.12.0", "keras": "2.12.0"}))
    assert "bad" in states(findings)  # too old for Keras 3
    assert not [one for one in findings if "No module named" in one.found]


TEXT = st.text(max_size=20) | st.from_regex(r"\d\.\d+\S*", fullmatch=True)
COPIES = st.lists(st.builds(Installed, TEXT, TEXT), min_size=1, max_size=3)


@REPEATABLE
@given(
    st.dictionaries(st.sampled_from(PACKAGES), COPIES),
    st.dictionaries(st.sampled_from(["TF_USE_LEGACY_KERAS", "XLA_FLAGS"]), TEXT),
    st.lists(TEXT, max_size=3),
    st.sampled_from([MAC, LINUX, replace(MAC, rosetta=True, virtual=None)]),
    st.sampled_from(["arm64", "x86_64", ""]),
)
def test_no_environment_raises(packages, variables, plugins, facts, machine):
    found = checks.of_environment(Environment((3, 13, 0), machine, facts, packages, plugins, variables))
    assert found[0].check == "python"
    assert all(one.fix for one in found if one.state == "bad")


def test_a_nightly_tensorflow_has_a_nightly_keras():
    nightly = env(tensorflow=None, tf_nightly="2.22.0", tensorflow_metal=None, keras=None, keras_nightly="3.16.0")
    (found,) = (one for one in checks.of_environment(nightly) if one.check == "keras")
    assert found.state == "ok"
