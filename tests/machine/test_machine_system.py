"""Versions of the system that decide how fast a GPU is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.report.words import version_changes
from pytest_metalperf.worker.machine.system import driver, system_versions

CLOSED = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (dvs-builder@U22-I3)
GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)
"""


@pytest.mark.parametrize(("told", "version"), [(CLOSED, "535.183.01"), (OPEN, "580.159.04"), ("", "")])
def test_the_driver_of_a_gpu(told, version):
    assert driver(told) == version


@given(st.text())
def test_no_text_raises(told):
    driver(told)


def test_a_cpu_has_none_on_linux(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("pytest_metalperf.worker.machine.system.read", lambda path: OPEN)
    assert system_versions("cpu") == {}
    assert system_versions("gpu:1") == system_versions("live") == {"nvidia-driver": "580.159.04"}


def test_a_mac_has_its_macos(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.2", ("", "", ""), "arm64"))
    assert system_versions("cpu") == {"macos": "15.2"}


def test_a_baseline_from_before_they_were_known_does_not_make_them_new():
    assert version_changes({"jax": "0.9"}, {"jax": "0.10", "macos": "15.2"}) == "jax 0.9 -> 0.10"
    assert version_changes({"macos": "15.1"}, {"macos": "15.2"}) == "macos 15.1 -> 15.2"
