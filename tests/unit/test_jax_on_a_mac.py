"""What JAX' backend says of an Apple GPU: plugins are told apart by their distributions alone; nothing here needs a Mac."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_checks_machine import ALL, CPU, MAC, env

from pytest_metalperf.doctor import checks
from pytest_metalperf.doctor.environment import Installed
from pytest_metalperf.worker.backends.jax import Jax


@pytest.mark.parametrize(
    ("system", "versions", "said"),
    [
        ("Linux", {}, ": pip install 'jax[cuda12]' where there is an NVIDIA GPU"),
        ("Darwin", {}, ": pip install jax-mps, whose release must fit this jaxlib"),
        ("Darwin", {"metaljax": "0.11.9"}, ": metaljax is there, and trains where JAX_PLATFORMS=metal is set"),
        (
            "Darwin",
            {"metaljax": "0.11.9", "jax-mps": "0.11.1", "jaxlib": "0.9.2"},
            ": jax-mps 0.11.1 is there, and does not load with jaxlib 0.9.2",
        ),
    ],
)
def test_why_jax_sees_no_gpu(monkeypatch, system, versions, said):
    monkeypatch.setattr("pytest_metalperf.worker.backends.jax.platform.system", lambda: system)
    monkeypatch.setattr(Jax, "versions", lambda backend: versions)
    assert object.__new__(Jax).why_no_gpu() == said  # without JAX, which need not be installed


def test_which_plugin_trained_is_provenance():
    assert {"jax-mps", "metaljax", "jax-metal"} <= set(Jax.packages)


@pytest.mark.parametrize("plugin", ["jax-mps", "metaljax"])
def test_a_plugin_that_shows_jax_no_gpu_is_to_be_mended(plugin):
    there = env(MAC, "arm64")
    there = replace(there, packages={**there.packages, plugin: [Installed("0.11.1", "/x")]})
    assert checks.of_backend(there, "jax", ALL | CPU, True, 27.0)[0].state == "bad"
    assert checks.of_backend(env(MAC, "arm64"), "jax", ALL | CPU, True, 27.0)[0].state == "note"
