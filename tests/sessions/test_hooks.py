"""What a conftest.py may add, and what it is told when that cannot be."""

from __future__ import annotations

import pytest
from conftest import CONFTEST

from pytest_metalperf.measure.fleet import Fleet
from pytest_metalperf.measure.worker import WorkerError

MODELS = "def pytest_metalperf_models():\n    from fake_backend import build\n    from pytest_metalperf import Model\n"
BROKEN = [
    (MODELS + "    return Model('a', build)", "pytest_metalperf_models: expected a list of Model, got Model"),
    (MODELS + "    return ['a']", "pytest_metalperf_models: expected a list of Model, got one with 'a'"),
    (MODELS + "    return {'a': build}", "pytest_metalperf_models: expected a list of Model, got dict"),
    (
        MODELS + "    return [Model('a', build, {'quick': 5})]",
        "pytest_metalperf_models: a: sizes maps *; got {'quick': 5}",
    ),
    (
        MODELS + "    return [Model('a', build, {'huge': {}})]",
        "pytest_metalperf_models: a: sizes maps *; got {'huge': {}}",
    ),
    (
        MODELS + "    return [Model('a', build, None)]",
        "pytest_metalperf_models: a: sizes maps quick, standard, full to *",
    ),
    (
        MODELS + "    return [Model('a', build, {'full': {'batch_size': '8'}})]",
        "pytest_metalperf_models: a: full: batch_size is a whole number from 1, got '8'",
    ),
    (MODELS + "    raise RuntimeError('mine')", "pytest_metalperf_models fails at *theirs.py:4: RuntimeError: mine"),
    (
        "def pytest_metalperf_backends():\n    return [5]",
        "pytest_metalperf_backends: expected a dict of classes, got list",
    ),
    (
        "def pytest_metalperf_machine_facts():\n    return 5",
        "pytest_metalperf_machine_facts: expected a dict *, got int",
    ),
]


@pytest.mark.parametrize(("source", "sentence"), BROKEN)
def test_what_a_hook_cannot_return_is_told_in_one_sentence(suite, source, sentence):
    (suite.pytester.path / "theirs.py").write_text(source + "\n")
    result = suite.run("-p", "theirs")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence.replace('[', '[[]')}"])


def test_models_and_facts_of_a_plugin_are_there(suite):
    suite.pytester.makeconftest(CONFTEST + "\ndef pytest_metalperf_machine_facts():\n    return {'rack': '7'}\n")
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)
    assert '"rack": "7"' in suite.file.read_text()


def test_listeners_are_told_of_measurements_and_of_speedups(suite):
    listening = "def pytest_metalperf_measured(measurement):\n    print('told of', type(measurement).__name__)\n"
    suite.pytester.makeconftest(CONFTEST + listening)
    suite.set(gpus=["gpu"])
    suite.write(
        "def test_one(metal_bench): metal_bench('fake-model')\n"
        "def test_both(metal_speedup): metal_speedup('fake-model', at_least=2)\n"
    )
    suite.run("-s").stdout.fnmatch_lines(["*told of Measurement*", "*told of Speedup*"])


def test_a_probe_that_broke_is_not_tried_again(suite, monkeypatch):
    asked = []

    def hangs(fleet, backend, device, *interpreter):
        asked.append(device)
        raise WorkerError("worker", "said nothing for 1200 s")

    monkeypatch.setattr(Fleet, "probe", hangs)
    suite.write(
        "import pytest\n@pytest.mark.parametrize('size', [8, 16, 32])\n"
        "def test_it(metal_bench, size): metal_bench('fake-model', batch_size=size)\n"
    )
    result = suite.run("--metal-devices=gpu")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*said nothing for 1200 s*"] * 3)
    assert asked == ["gpu"]
