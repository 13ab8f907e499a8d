"""JAX on an Apple GPU: a JAX that answers as one with a plugin does, and what the doctor reads of plugins' metadata.

Nothing here needs a Mac or JAX. Platforms, priorities, entry points and requirements are those of the wheels of jax-mps 0.11.1,
metaljax 0.11.9 and jax-metal 0.1.1.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from test_checks_machine import ALL, CPU, MAC, env

from pytest_metalperf.doctor import checks
from pytest_metalperf.doctor.environment import JAX_FIX, Environment, Installed, needs
from pytest_metalperf.worker.backends import is_computing, variables
from pytest_metalperf.worker.backends.jax import Jax, plugins
from pytest_metalperf.worker.problems import Problem

PLUGINS = {
    "jax-mps": ("mps", "gpu", 500),
    "metaljax": ("metal", "Apple M4 Max", -1),
    "jax-metal": ("METAL", "Metal", 500),
}
"""Platform, kind of device and priority, by distribution; the CPU's priority is 0, and the highest is JAX' default."""


class FakeJax:
    """What `jax` answers where these plugins are installed.

    Args:
        names: of `PLUGINS`.
        platforms: what JAX_PLATFORMS says.
    """

    __version__ = "0.11.1"

    def __init__(self, *names: str, platforms: str = "") -> None:
        found = {"cpu": ("cpu", 0), **{PLUGINS[name][0]: PLUGINS[name][1:] for name in names}}
        if platforms:
            found = {one: (found[one][0], -place) for place, one in enumerate(platforms.split(","))}
        self.by_platform = {
            platform: [SimpleNamespace(platform=platform, device_kind=kind)]
            for platform, (kind, _) in sorted(found.items(), key=lambda item: -item[1][1])
        }
        self.config = SimpleNamespace(update=lambda key, value: setattr(self.config, key, value))

    def devices(self, platform: str = "") -> list[SimpleNamespace]:
        return self.by_platform[platform or next(iter(self.by_platform))]

    def backends(self) -> dict[str, SimpleNamespace]:
        return {
            platform: SimpleNamespace(devices=lambda found=found: found) for platform, found in self.by_platform.items()
        }


@pytest.fixture
def backend(monkeypatch):
    def made(*names: str, platforms: str = "", **versions: str) -> Jax:
        jax, extend = FakeJax(*names, platforms=platforms), ModuleType("jax.extend")
        extend.backend = SimpleNamespace(backends=jax.backends)
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # by which a backend learns that Keras is imported
        monkeypatch.delitem(sys.modules, "keras", raising=False)  # by a test before, on another framework
        monkeypatch.setitem(sys.modules, "jax", ModuleType("jax"))
        monkeypatch.setitem(sys.modules, "jax.extend", extend)
        monkeypatch.setattr("pytest_metalperf.worker.backends.jax.platform.system", lambda: "Darwin")
        monkeypatch.setattr(Jax, "versions", lambda _: {**dict.fromkeys(names, "0.11.1"), **versions})
        monkeypatch.setattr(Jax, "seed", lambda *_: None)
        if platforms:
            monkeypatch.setenv("JAX_PLATFORMS", platforms)
        else:
            monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        found = object.__new__(Jax)  # without JAX, which need not be installed
        found.jax = jax
        return found

    return made


@pytest.mark.parametrize(
    ("names", "platforms", "gpu", "platform"),
    [
        (["jax-mps"], "", "mps", "mps"),
        (["metaljax"], "", "Apple M4 Max", "metal"),  # the CPU is JAX' default, and there all the same
        (["metaljax"], "metal", "Apple M4 Max", "metal"),
        (["metaljax"], "cpu,metal", "Apple M4 Max", "metal"),
        (["jax-metal"], "", "Metal", "METAL"),
        (["metaljax", "jax-mps"], "", "mps", "mps"),  # one GPU, by the plugin that JAX prefers
        (["metaljax", "jax-mps"], "metal", "Apple M4 Max", "metal"),
    ],
)
def test_every_plugin_s_gpu_is_the_gpu(backend, names, platforms, gpu, platform):
    jax = backend(*names, platforms=platforms)
    assert jax.devices() == {"cpu": "", "gpu": gpu}
    jax.set_up("gpu", "float32", 0)
    assert jax.where.platform == jax.jax.config.jax_default_device.platform == platform


@pytest.mark.parametrize("names", [[], ["jax-mps"], ["metaljax"], ["jax-metal"]])
def test_a_run_on_the_cpu_is_on_the_cpu(backend, names):
    jax = backend(*names)
    jax.hide("cpu")
    assert jax.jax.config.jax_platforms == "cpu"
    jax.set_up("cpu", "float32", 0)
    assert jax.where.platform == jax.jax.config.jax_default_device.platform == "cpu"


@pytest.mark.parametrize(
    ("system", "names", "platforms", "said"),
    [
        ("Linux", [], "", "pip install 'jax[cuda12]' where there is an NVIDIA GPU"),
        ("Linux", [], "cpu", "JAX_PLATFORMS=cpu lets it look for no other; unset it"),
        ("Darwin", [], "", "pip install jax-mps, or metaljax (Apple silicon, macOS 14 and Python 3.12, or later)"),
        ("Darwin", ["jax-mps"], "cpu", "JAX_PLATFORMS=cpu lets it look for no other; unset it"),
    ],
)
def test_why_jax_sees_no_gpu(monkeypatch, backend, system, names, platforms, said):
    jax = backend(*names, platforms=platforms)
    monkeypatch.setattr("pytest_metalperf.worker.backends.jax.platform.system", lambda: system)
    assert jax.devices() == {"cpu": ""}
    assert jax.why_missing("gpu", jax.devices()) == f"JAX sees no GPU here: {said}"
    with pytest.raises(Problem, match="JAX sees no GPU here"):
        jax.set_up("gpu", "float32", 0)


def test_a_plugin_that_shows_no_gpu_is_named(backend):
    said = backend(**{"jax-mps": "0.11.1", "jaxlib": "0.10.2"}).why_no_gpu()
    assert said == ": jax-mps 0.11.1 shows it none; python -m pytest_metalperf doctor says what it needs"


def installed(folder, name, *, requires=(), entry=""):
    info = folder / f"{name.replace('-', '_')}-0.11.1.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", "Version: 0.11.1", *(f"Requires-Dist: {one}" for one in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines]) + "\n")
    if entry:
        (info / "entry_points.txt").write_text(f"[jax_plugins]\n{entry}\n")


def test_which_plugin_trained_is_provenance(tmp_path, monkeypatch):
    before = plugins()
    installed(tmp_path, "jax-mps", entry="mps = jax_plugins.mps")
    installed(tmp_path, "somebodys-plugin", entry="mtl = jax_plugins.mtl")  # of whatever name
    installed(tmp_path, "no-plugin")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins() == {**before, "jax-mps": "0.11.1", "somebodys-plugin": "0.11.1"}


def test_what_tunes_a_plugin_is_provenance_and_what_loads_one_is_not_set_by_a_replay(monkeypatch):
    tunes = {"METALJAX_MATMUL_PRECISION": "highest", "JAX_MPS_NO_OPTIMIZE": "1", "MLX_ENABLE_TF32": "0"}
    loads = {"METALJAX_PLUGIN_PATH": "/x.dylib", "JAX_MPS_LIBRARY_PATH": "/x.dylib", "JAX_PLATFORMS": "metal"}
    for name, value in {**tunes, **loads}.items():
        monkeypatch.setenv(name, value)
    assert {**tunes, **loads}.items() <= variables().items()
    assert [name for name in [*tunes, *loads] if is_computing(name)] == [*tunes]


# the doctor

OF_MPS = {"jax": "<0.12,>=0.11.0", "jaxlib": "<0.12,>=0.11.0"}
OF_METALJAX = {"jax": "<0.12,>=0.11"}


def mac(needs=(), **versions):
    packages = {name.replace("_", "-"): [Installed(version, "/x")] for name, version in versions.items()}
    return Environment((3, 12, 4), "arm64", MAC, {"jax": [Installed("0.11.1", "/x")], **packages}, needs=dict(needs))


def of_plugins(where):
    return [(one.state, one.check, one.found, one.fix) for one in checks._jax_plugins(where)]


@pytest.mark.parametrize(
    ("where", "state", "found", "fix"),
    [
        (mac({"jax-mps": OF_MPS}, jax_mps="0.11.1", jaxlib="0.11.2"), "ok", "jax-mps 0.11.1 with jax 0.11.1", ""),
        (mac({"metaljax": OF_METALJAX}, metaljax="0.11.9"), "ok", "metaljax 0.11.9 with jax 0.11.1", ""),
        (mac(jax_mps="0.11.1", jaxlib="0.9.2"), "ok", "jax-mps 0.11.1 with jax 0.11.1", ""),  # says nothing of its own
        (
            mac({"jax-mps": OF_MPS}, jax_mps="0.11.1", jaxlib="0.10.2"),
            "bad",
            "jax-mps 0.11.1 with jaxlib 0.10.2, for which it was not built",
            "pip install jax-mps 'jax<0.12,>=0.11.0' 'jaxlib<0.12,>=0.11.0'",
        ),
        (
            mac({"metaljax": OF_METALJAX}, metaljax="0.11.9", jax="0.12.0"),
            "bad",
            "metaljax 0.11.9 with jax 0.12.0, for which it was not built",
            "pip install metaljax 'jax<0.12,>=0.11'",
        ),
        (
            mac(jax_metal="0.1.1"),
            "bad",
            "jax-metal 0.1.1 stops with jax 0.5: 'default_memory_space is not supported'",
            f"pip uninstall jax-metal; {JAX_FIX}",
        ),
        (
            mac(jax_metal="0.1.1", jax="0.4.38"),
            "note",
            "jax-metal 0.1.1 stops with jax 0.5: 'default_memory_space is not supported'",
            f"pip uninstall jax-metal; {JAX_FIX}",
        ),
    ],
)
def test_which_plugin_fits_which_jax(where, state, found, fix):
    ((was, _, *told),) = of_plugins(where)
    assert (was, told) == (state, [found, fix])


def test_of_two_plugins_the_default_is_named():
    *_, (state, check, found, _) = of_plugins(mac(jax_mps="0.11.1", metaljax="0.11.9"))
    assert (state, check) == ("note", "jax plugins")
    assert found == "both jax-mps and metaljax: JAX trains on jax-mps unless JAX_PLATFORMS=metal is set"


def test_needs_are_what_the_metadata_say(tmp_path, monkeypatch):
    requires = ["jax<0.12,>=0.11.0", "jaxlib<0.12,>=0.11.0", "wheel", 'x>=1; extra == "y"']
    installed(tmp_path, "jax-mps", requires=requires)
    installed(tmp_path, "metaljax", requires=["no requirement at all !"])
    monkeypatch.syspath_prepend(tmp_path)
    assert (needs("jax-mps"), needs("metaljax"), needs("not-there")) == (OF_MPS, {}, {})


@pytest.mark.parametrize("plugin", ["jax-mps", "metaljax"])
def test_a_plugin_that_shows_jax_no_gpu_is_to_be_mended(plugin):
    there = env(MAC, "arm64")
    there = replace(there, packages={**there.packages, plugin: [Installed("0.11.1", "/x")]})
    assert checks.of_backend(there, "jax", ALL | CPU, True, 27.0)[0].state == "bad"
    assert checks.of_backend(env(MAC, "arm64"), "jax", ALL | CPU, True, 27.0)[0].state == "note"
