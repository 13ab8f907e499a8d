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


@pytest.mark.parametrize(
    ("backend", "settings", "look"),
    [
        pytest.param(
            "tensorflow",
            "import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads(2)\n",
            "assert tf.config.threading.get_intra_op_parallelism_threads() == 2",
            marks=pytest.mark.tensorflow,
        ),
        pytest.param(
            "tensorflow",
            'import keras\nkeras.config.set_image_data_format("channels_first")\n',
            'assert keras.config.image_data_format() == "channels_first"',
            marks=pytest.mark.tensorflow,
        ),
        pytest.param(
            "jax",
            'import jax\njax.config.update("jax_num_cpu_devices", 2)\n',
            "assert len(jax.devices()) == 2",
            marks=pytest.mark.jax,
        ),
    ],
    ids=["threads", "data format", "number of devices"],
)
def test_it_is_in_force_in_both_precisions(suite, backend, settings, look):
    suite.pytester.makepyfile(mine=settings + BUILD.format(look=look), test_it=TESTS)
    (suite.pytester.path / "test_suite.py").unlink()
    suite.ini(metal_backend=backend)
    suite.monkeypatch.setenv("KERAS_BACKEND", backend)
    suite.pytester.runpytest_subprocess("--metal=smoke").assert_outcomes(passed=2)
