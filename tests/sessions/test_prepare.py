"""What a suite sets of a framework: by the hook where models train, and a word where a conftest.py sets it elsewhere."""

from __future__ import annotations

import pytest
from conftest import CONFTEST

from pytest_metalperf.measure.preparing import set_by

SEEN = """
import os
from fake_backend import FakeModel

SET_BEFORE = os.environ.get("PREPARED", "nothing")

def build():
    open("seen", "a").write(SET_BEFORE + "\\n")
    return FakeModel(0.2)
"""
TEST = "from model import build\ndef test_it(metal_bench):\n    metal_bench(build, name='own')\n"
PREPARE = "def pytest_metalperf_prepare():\n    return {returned}\n"


@pytest.fixture
def prepared(suite):
    suite.pytester.makepyfile(model=SEEN)
    suite.write(TEST)
    return suite


@pytest.mark.processes
@pytest.mark.parametrize("where", ["conftest", "module", "closure"])
def test_workers_call_it_before_the_builders_module_is_imported(prepared, where):
    function = "def prepare():\n    import os\n    os.environ['PREPARED'] = 'yes'\n"
    if where == "module":
        prepared.pytester.makepyfile(setting=function)
        function = "from setting import prepare\n"
    hook = PREPARE.format(returned="prepare")
    if where == "closure":
        hook = "def pytest_metalperf_prepare():\n" + "".join(f"    {line}\n" for line in function.splitlines())
        hook, function = hook + "    return prepare\n", ""
    prepared.pytester.makeconftest(f"{CONFTEST}\n{function}\n{hook}")
    prepared.run("--metal-update-baselines", "--metal-runs=2").assert_outcomes(passed=1)
    assert (prepared.pytester.path / "seen").read_text().splitlines() == ["yes", "yes"]


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("5", "pytest_metalperf_prepare: expected a function, got int: return it, do not call it"),
        ("print", "pytest_metalperf_prepare: print has no source file (builtins); put it into a module"),
    ],
)
def test_what_is_no_function_of_a_module_is_refused(prepared, returned, sentence):
    prepared.pytester.makeconftest(f"{CONFTEST}\n{PREPARE.format(returned=returned)}")
    result = prepared.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_one_that_fails_is_an_error_with_its_line(prepared):
    failing = "def prepare():\n    raise RuntimeError('no such thread')\n"
    prepared.pytester.makeconftest(f"{CONFTEST}\n{failing}\n{PREPARE.format(returned='prepare')}")
    result = prepared.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*own* failed in its preparing: RuntimeError: no such thread*"])
    result.stdout.fnmatch_lines(["*conftest.py*, in prepare*"])


def test_what_a_conftest_sets_in_pytests_process_alone_is_said(prepared):
    prepared.pytester.makeconftest(f"{CONFTEST}\ndef threads():\n    import torch\n    torch.set_num_threads(2)\n")
    line = prepared.run().stdout
    line.fnmatch_lines(["conftest.py:* sets torch.set_num_threads: in pytest's process, and not where models train;"])
    line.fnmatch_lines(["  name a function that sets it there by the hook pytest_metalperf_prepare"])
    with_hook = f"{CONFTEST}\ndef prepare():\n    import torch\n\n{PREPARE.format(returned='print_nothing')}\n"
    with_hook += "def print_nothing():\n    pass\n"
    prepared.pytester.makeconftest(with_hook)
    prepared.run().stdout.no_fnmatch_line("*not where models train*")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch\ntorch.set_num_threads(2)", ["2 sets torch.set_num_threads"]),
        ("from torch import set_num_threads as threads\nthreads(2)", ["2 sets torch.set_num_threads"]),
        ("import torch\ntorch.backends.cudnn.benchmark = True", ["2 sets torch.backends.cudnn.benchmark"]),
        (
            "import torch.backends\ntorch.use_deterministic_algorithms(True)",
            ["2 sets torch.use_deterministic_algorithms"],
        ),
        ("import jax\njax.config.update('jax_enable_x64', True)", ["2 sets jax.config.update"]),
        ("from jax import config\nconfig.update('jax_enable_x64', True)", ["2 sets jax.config.update"]),
        (
            "import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads(1)",
            ["2 sets tensorflow.config.threading.set_intra_op_parallelism_threads"],
        ),
        (
            "import keras\nkeras.config.set_floatx('float16')\nkeras.mixed_precision.set_global_policy('mixed_float16')",
            ["2 sets keras.config.set_floatx", "3 sets keras.mixed_precision.set_global_policy"],
        ),
        ("import keras\nkeras.utils.set_random_seed(1)", []),
        ("import torch\ntorch.manual_seed(1)\nx = torch.zeros(3)", []),
        ("settings = {}\nsettings.update(a=1)\nthread.set_num_threads(2)", []),
        ("import torch\ndef broken(:\n", []),
    ],
)
def test_settings_of_frameworks_are_found_in_the_source(tmp_path, source, names):
    file = tmp_path / "conftest.py"
    file.write_text(source)
    assert set_by([file, tmp_path / "gone.py"]) == [f"conftest.py:{name}" for name in names]
