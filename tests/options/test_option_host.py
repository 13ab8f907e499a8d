"""--metal-host SPEC: workers run where an execnet spec says."""

from __future__ import annotations

import sys

import pytest

from pytest_metalperf.worker.machine import machine_facts

pytestmark = pytest.mark.processes


def test_another_interpreter(suite):
    program = suite.pytester.path / "another-python"
    program.write_text(f'#!/bin/sh\nexport ANOTHER=yes\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    suite.write(
        """
        import os
        from fake_backend import FakeModel
        def only_there():
            assert os.environ["ANOTHER"] == "yes"
            return FakeModel(0.1)
        def test_it(metal_bench):
            metal_bench(only_there)
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(errors=1)
    suite.run("--metal-update-baselines", f"--metal-host=popen//python={program}").assert_outcomes(passed=1)


def test_same_machine_and_same_baseline(suite):
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    result = suite.run(f"--metal-host=popen//python={sys.executable}")
    result.stdout.fnmatch_lines(["1 gated: 1 within"])


@pytest.mark.parametrize("spec", ["popen//python=/no/such/python", "carrier-pigeon=home"])
def test_host_that_cannot_be_reached_is_an_error_that_names_it(suite, spec):
    result = suite.run(f"--metal-host={spec}", "--metal-timeout=20", "--metal-update-baselines")
    said = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert spec.partition("=")[2] in said
    assert "INTERNALERROR" not in said
    assert not suite.file.exists()


def test_objects_of_this_process_are_not_measured_elsewhere(suite):
    suite.monkeypatch.setattr("pytest_metalperf.session.MetalSession._remote_facts", lambda self: machine_facts())
    suite.write("def test_live(metal_live):\n    metal_live(lambda: 0.5, name='mine')\n")
    result = suite.run("--metal-host=ssh=nowhere", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*metal_live trains here, not on --metal-host"])
    assert suite.run("--metal-host=ssh=nowhere", "--metal-strict").ret == 1
