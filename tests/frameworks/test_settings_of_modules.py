"""What a user's module sets as it is imported is in force in the worker: nothing has been computed before it."""

from __future__ import annotations

import pytest

TESTS = """
import pytest
from mine import build

@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_it(metal_bench, precision):
    metal_bench(build, precision=precision)
"""
BUILD = """
import keras, numpy as np
def build(batch_size=8):
    {look}
    m = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse")
    return m, (np.ones((batch_size, 16), "float32"), np.ones((batch_size, 1), "float32"))
"""


@pytest.mark.tensorflow
def test_threads_of_tensorflow(suite):
    found = trained(
        suite,
        "tensorflow",
        "import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads(2)\n",
        "assert tf.config.threading.get_intra_op_parallelism_threads() == 2",
    )
    found.assert_outcomes(passed=2)


@pytest.mark.jax
def test_devices_of_jax(suite):
    found = trained(
        suite,
        "jax",
        'import jax\njax.config.update("jax_num_cpu_devices", 2)\n',
        "assert len(jax.devices()) == 2",
    )
    found.assert_outcomes(passed=2)


@pytest.mark.tensorflow
def test_data_format_of_keras(suite):
    found = trained(
        suite,
        "tensorflow",
        'import keras\nkeras.config.set_image_data_format("channels_first")\n',
        'assert keras.config.image_data_format() == "channels_first"',
    )
    found.assert_outcomes(passed=2)


def trained(suite, backend, settings, look):
    suite.pytester.makepyfile(mine=settings + BUILD.format(look=look), test_it=TESTS)
    (suite.pytester.path / "test_suite.py").unlink()
    suite.ini(metal_backend=backend)
    suite.monkeypatch.setenv("KERAS_BACKEND", backend)
    return suite.pytester.runpytest_subprocess("--metal=smoke")
