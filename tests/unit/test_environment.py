"""What is installed, read from folders made by hand; which versions work together; what counts as Apple silicon."""

from __future__ import annotations

import site
import sys
import sysconfig

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_metalperf.doctor.environment import (
    Environment,
    Installed,
    environment,
    fits,
    installed,
    pair_loads,
    plugin_libraries,
    release,
    site_folders,
)
from pytest_metalperf.worker.backends import variables
from pytest_metalperf.worker.machine import MachineFacts

REPEATABLE = settings(derandomize=True, max_examples=100, deadline=None)


def facts(system="macos", chip="Apple M1 Pro", rosetta=None):
    return MachineFacts("a-machine", system, chip, "unknown", "8p2e", 32, (), "unknown", False, rosetta)


def install(folder, stem, version, metadata="METADATA"):
    """What pip leaves of a distribution beside its modules; half of it where `metadata` is empty."""
    info = folder / f"{stem}-{version}.dist-info"
    info.mkdir(parents=True)
    if metadata:
        (info / metadata).write_text(f"Metadata-Version: 2.1\nName: {stem.replace('_', '-')}\nVersion: {version}\n")
    return str(folder)


def copies(name, *folders):
    return [(one.version, one.folder) for one in installed(name, list(map(str, folders)))]


# what is installed


@pytest.mark.parametrize("stem", ["tensorflow_metal", "Tensorflow_Metal"])
def test_a_distribution_is_found_however_its_folder_spells_it(tmp_path, stem):
    folder = install(tmp_path, stem, "1.2.0")
    assert installed("tensorflow-metal", [folder]) == (Installed("1.2.0", folder),)


def test_a_longer_name_is_another_distribution(tmp_path):
    install(tmp_path, "tensorflow_metal_plugin", "0.4.1")
    install(tmp_path, "tensorflow_cpu", "2.19.1")
    assert copies("tensorflow-metal", tmp_path) == copies("tensorflow", tmp_path) == []


@pytest.mark.parametrize("metadata", ["", "RECORD"])
def test_half_an_installation_is_none(tmp_path, metadata):
    install(tmp_path, "tensorflow", "2.19.1", metadata)
    assert copies("tensorflow", tmp_path) == []


@pytest.mark.parametrize("text", [b"", b"Name: tensorflow\n", b"\xff\xfe\x00", b"Version:\n"])
def test_metadata_without_a_version_are_none(tmp_path, text):
    folder = install(tmp_path, "tensorflow", "2.19.1")
    (tmp_path / "tensorflow-2.19.1.dist-info" / "METADATA").write_bytes(text)
    assert installed("tensorflow", [folder]) == ()


def test_half_an_installation_hides_no_whole_one(tmp_path):
    install(tmp_path / "a", "tensorflow", "2.18.0", metadata="")
    folder = install(tmp_path / "b", "tensorflow", "2.19.1")
    assert copies("tensorflow", tmp_path / "a", tmp_path / "b") == [("2.19.1", folder)]


def test_copies_come_in_the_order_in_which_they_are_imported(tmp_path):
    first, second = install(tmp_path / "z", "keras", "3.5.0"), install(tmp_path / "a", "keras", "3.15.1")
    assert copies("keras", first, second) == [("3.5.0", first), ("3.15.1", second)]
    assert copies("keras", second, first) == [("3.15.1", second), ("3.5.0", first)]


def test_two_versions_in_one_folder_are_two(tmp_path):
    install(tmp_path, "keras", "2.15.0")
    folder = install(tmp_path, "keras", "3.15.1")
    assert sorted(copies("keras", tmp_path)) == [("2.15.0", folder), ("3.15.1", folder)]


def test_a_folder_that_is_searched_twice_holds_one_copy(tmp_path):
    folder = install(tmp_path, "keras", "3.15.1")
    assert copies("keras", folder, folder) == [("3.15.1", folder)]


def test_a_folder_that_is_reached_by_two_paths_holds_one_copy(tmp_path):
    folder = install(tmp_path / "lib", "keras", "3.15.1")
    (tmp_path / "lib64").symlink_to("lib")  # as in each virtual environment on Fedora, which searches both
    assert copies("keras", folder, tmp_path / "lib64") == [("3.15.1", folder)]


def test_folders_that_are_not_there_hold_nothing(tmp_path):
    (tmp_path / "file.zip").write_bytes(b"no zip")
    assert copies("keras", tmp_path / "none", tmp_path / "file.zip") == []


def test_environment_is_read_from_what_python_searches(tmp_path, monkeypatch):
    install(tmp_path, "tensorflow_metal", "1.2.0")
    install(tmp_path, "unrelated", "1.0")
    monkeypatch.setenv("TF_METAL_SYNCHRONOUS", "1")
    monkeypatch.setenv("TF_METAL_UNHEARD_OF", "1")
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path)])
        found = environment(facts())
    assert dict(found.packages) == {"tensorflow-metal": (Installed("1.2.0", str(tmp_path)),)}
    assert found.variables["TF_METAL_SYNCHRONOUS"] == "1"
    assert not {"TF_METAL_UNHEARD_OF", "TF_XLA_FLAGS"} & set(found.variables)
    assert found.python == sys.version_info[:3]
    assert found.facts == facts()


# plugins


def plugin(folder, *files):
    (folder / "tensorflow-plugins").mkdir(parents=True)
    for file in files:
        (folder / "tensorflow-plugins" / file).touch()
    return str(folder)


def test_libraries_are_told_from_other_files(tmp_path):
    folder = plugin(tmp_path, "libmetal_plugin.dylib", "libb.so", "__init__.py", "notes.so.txt")
    found = [one.removeprefix(f"{folder}/tensorflow-plugins/") for one in plugin_libraries([folder])]
    assert found == ["libb.so", "libmetal_plugin.dylib"]


def test_a_library_counts_once_for_each_path_to_it(tmp_path):
    folder = plugin(tmp_path / "lib", "libmetal_plugin.dylib")
    (tmp_path / "lib64").symlink_to("lib")  # TensorFlow loads it once for each, which aborts
    assert len(plugin_libraries([folder, str(tmp_path / "lib64")])) == 2


def test_folders_without_plugins(tmp_path):
    (tmp_path / "tensorflow-plugins").write_text("a file")
    assert plugin_libraries([str(tmp_path), str(tmp_path / "none"), ""]) == ()


@pytest.mark.parametrize("enabled", [True, False, None])
def test_folders_are_those_in_which_tensorflow_looks(monkeypatch, enabled):
    monkeypatch.setattr(site, "ENABLE_USER_SITE", enabled)
    monkeypatch.setattr(site, "getusersitepackages", lambda: "/home/me/site-packages")
    monkeypatch.setattr(site, "getsitepackages", lambda: ["/venv/site-packages"])
    monkeypatch.setattr(sys, "path", ["/venv/site-packages", "/src", "/more/site-packages", "/more/site-packages"])
    found = site_folders()
    assert len(found) == len(set(found))
    schemes = {sysconfig.get_path(name, one) for one in sysconfig.get_scheme_names() for name in ("purelib", "platlib")}
    mine = {"/home/me/site-packages"} if enabled else set()
    assert set(found) == {"/venv/site-packages", "/more/site-packages"} | mine | schemes


def test_an_old_virtualenv_has_no_getsitepackages(monkeypatch):
    monkeypatch.delattr(site, "getsitepackages")
    assert site_folders()


# versions


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.19.1", "2.19.1"),
        ("2.22.0rc1", "2.22.0"),
        ("2.22.0-dev20260101", "2.22.0"),
        ("2.13.0+cpu", "2.13.0"),
        ("10.0", "10.0"),
        ("3", "3"),
        ("v2.19", "2.19"),
    ],
)
def test_a_version_belongs_to_a_release(version, expected):
    assert str(release(version)) == expected
    assert fits(version, f"=={expected}")
    assert not fits(version, f"<{expected}")


@pytest.mark.parametrize("text", ["unknown", "", "2.x", "2.19 or so", "9" * 5000])
def test_what_is_no_version_fits_nothing(text):
    assert release(text) is None
    assert not fits(text, ">=0")


def test_a_candidate_counts_as_its_release():
    assert fits("2.20.0rc1", ">=2.20")
    assert not fits("2.20.0rc1", "<2.20")
    assert fits("2.15.10", ">=2.15.9")  # numbers, not text


LOADS = {
    "1.1.0": {True: "2.14.1 2.15.0 2.16.2 2.17.1", False: "2.18.0 2.19.1 2.20.0 2.21.0 2.22.0rc1", None: "2.13.1"},
    "1.2.0": {True: "2.17.1 2.18.0 2.19.1", False: "2.20.0 2.21.0 2.22.0rc1 3.0.0", None: "2.13.1 2.14.1 2.16.2"},
    "1.0.1": {False: "2.18.0 2.19.1 2.20.0", None: "2.12.0 2.14.1 2.17.1"},
}


@pytest.mark.parametrize(
    ("tensorflow", "metal", "expected"),
    [(one, metal, loads) for metal, rows in LOADS.items() for loads, text in rows.items() for one in text.split()]
    + [("", "1.2.0", None), ("unknown", "1.1.0", None)],
)
def test_which_plugin_loads_with_which_tensorflow(tensorflow, metal, expected):
    assert pair_loads(tensorflow, metal) is expected


@REPEATABLE
@given(st.text() | st.from_regex(r"\d+\.\d+\S*"), st.text() | st.from_regex(r"\d+\.\d+\S*"))
def test_no_version_raises(tensorflow, metal):
    assert pair_loads(tensorflow, metal) in (True, False, None)
    assert fits(tensorflow, ">=0") == (release(tensorflow) is not None)


# an environment


def env(machine="arm64", facts=facts(), **packages):  # noqa: B008 - frozen
    named = {name.replace("_", "-"): [Installed(one, "/x") for one in text.split()] for name, text in packages.items()}
    return Environment((3, 11, 7), machine, facts, named)


def test_the_first_copy_is_imported():
    found = env(keras="3.5.0 3.15.1", torch="")
    assert (found.version("keras"), found.version("torch"), found.version("jax")) == ("3.5.0", "", "")


@pytest.mark.parametrize("name", ["tensorflow", "tensorflow_cpu", "tf_nightly", "tensorflow_rocm"])
def test_several_distributions_bring_tensorflow(name):
    assert env(**{name: "2.19.1"}).tensorflow == "2.19.1"
    assert env(**{name: "2.19.1"}, jax="0.5", torch="2.4").backends == ["tensorflow", "torch", "jax"]


def test_what_brings_no_framework():
    assert env(tensorflow_macos="2.15.1", tensorflow_metal="1.2.0", jaxlib="0.5", keras="3.5.0").backends == []


@pytest.mark.parametrize(
    ("machine", "where", "apple"),
    [
        ("arm64", facts(), True),
        ("arm64", facts(chip="unknown"), True),
        ("x86_64", facts(rosetta=True), True),
        ("x86_64", facts(chip="VirtualApple @ 2.50GHz processor", rosetta=True), True),
        ("x86_64", facts(rosetta=None), True),
        ("x86_64", facts(chip="Intel Core i7-9750H", rosetta=False), False),
        ("x86_64", facts(system="linux", chip="AMD EPYC 9654"), False),
        ("aarch64", facts(system="linux", chip="Apple M1"), False),  # Asahi: no Metal
        ("arm64", facts(system="windows", chip="unknown"), False),
    ],
)
def test_apple_silicon_whatever_python_is_compiled_for(machine, where, apple):
    assert env(machine, where).apple is apple


def test_a_variable_that_is_no_text_is_told_all_the_same(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--dump=\udcff")  # bytes that no encoding names
    assert variables()["XLA_FLAGS"] == "--dump=?"


def test_variables_that_change_the_speed_are_provenance_and_secrets_that_look_like_them_are_not(monkeypatch):
    told = {
        "CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG",
        "TF_DETERMINISTIC_OPS", "JAX_ENABLE_X64", "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_PREALLOCATE",
        "XLA_PYTHON_CLIENT_MEM_FRACTION", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "KMP_AFFINITY", "KMP_BLOCKTIME",
        "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_CONF",
    }  # fmt: skip
    for name in told | {"TF_VAR_password", "TORCH_HOME", "TF_TOKEN_example_com"}:
        monkeypatch.setenv(name, "1")
    assert told <= variables().keys()
    assert not {"TF_VAR_password", "TORCH_HOME", "TF_TOKEN_example_com"} & variables().keys()
