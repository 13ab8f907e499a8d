"""What the check of the extras calls wrong; the resolving itself asks the package index, `tox -e extras`."""

from __future__ import annotations

import pytest
import resolve_extras as extras

KERAS = {"keras": "3.15.1"}


@pytest.mark.parametrize(
    ("found", "rule", "why"),
    [
        ({"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0"}, extras.metal, ""),
        ({"tensorflow": "2.16.2", "tensorflow-metal": "1.1.0"}, extras.metal, ""),
        ({"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"}, extras.metal, "does not load with TensorFlow 2.21.0"),
        ({"tensorflow": "2.18.1", "tensorflow-metal": "1.1.0"}, extras.metal, "does not load"),
        ({"tensorflow": "2.16.2", "tensorflow-metal": "1.2.0"}, extras.metal, "does not load"),  # nobody knows it to
        ({"tensorflow": "2.21.0"}, extras.metal, "no tensorflow-metal"),
        ({"tensorflow-metal": "1.2.0"}, extras.metal, "does not load"),
        ({"tensorflow": "2.21.0"}, extras.no_metal, ""),
        ({"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0"}, extras.no_metal, "no wheel"),
        ({"tensorflow-cpu": "2.21.0"}, extras.tensorflow, ""),
        ({"tensorflow": "2.15.1"}, extras.tensorflow, "2.16 or later"),
        ({}, extras.tensorflow, "TensorFlow none"),
        ({"torch": "2.11.0"}, extras.package("torch"), ""),
        ({}, extras.package("jax"), "no jax"),
    ],
)
def test_what_is_wrong_with_a_resolution(found, rule, why):
    said = extras.problem({**found, **KERAS}, rule)
    assert why in said if why else said == ""


def test_keras_2_is_wrong():
    assert "Keras 2.15.0" in extras.problem({"torch": "2.11.0", "keras": "2.15.0"}, extras.package("torch"))
    assert "Keras none" in extras.problem({"torch": "2.11.0"}, extras.package("torch"))


def test_every_extra_that_users_install_is_resolved():
    text = extras.PYPROJECT.read_text()
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    named = {line.split(" = ")[0] for line in table.splitlines() if " = [" in line}
    assert {case[0] for case in extras.CASES} == named - {"test", "gate", "lint"}


def test_one_wrong_resolution_fails(monkeypatch, capsys):
    right = {"tensorflow": "2.19.1", "tensorflow-metal": "1.2.0", **KERAS}
    monkeypatch.setattr(extras, "CASES", [("metal", extras.MAC, python, extras.metal) for python in ("3.11", "3.12")])
    monkeypatch.setattr(extras, "resolved", lambda extra, platform, python: right)
    assert extras.main() == 0
    wrong = {**right, "tensorflow": "2.21.0"}
    monkeypatch.setattr(extras, "resolved", lambda extra, platform, python: wrong if python == "3.12" else right)
    assert extras.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 resolutions, 1 wrong"


def test_an_extra_without_a_framework_needs_no_keras(monkeypatch):
    found = {"pytest-benchmark": "5.3.1"}
    monkeypatch.setattr(extras, "resolved", lambda extra, platform, python: found)
    assert extras.checked("benchmark", extras.LINUX, "3.12", extras.package("pytest-benchmark")) == (found, "")
    assert extras.checked("benchmark", extras.LINUX, "3.12", extras.package("other"))[1] == "no other"
    assert extras.checked("cuda", extras.LINUX, "3.12", extras.package("pytest-benchmark"))[1] == "Keras none, not 3"


def test_what_does_not_resolve_fails(monkeypatch, capsys):
    def refuse(*asked):
        raise ValueError("no version of tensorflow-metal==9")

    monkeypatch.setattr(extras, "resolved", refuse)
    assert extras.main() == 1
    assert "does not resolve: no version of tensorflow-metal==9" in capsys.readouterr().out
