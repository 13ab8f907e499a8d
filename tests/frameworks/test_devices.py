"""Where a builder's step computes: the device that it gets, and an error where it computes elsewhere than its name says.

No GPU is needed: PyTorch's `meta` device stands in for a place that the name does not say.
"""

from __future__ import annotations

from pathlib import Path

import plain_steps
import pytest

TORCH = """
    def build(device, where="device"):
        import torch  # here: pytest's process, which runs many of these suites, cannot load it twice

        where = device if where == "device" else torch.device(where)
        assert isinstance(device, torch.device)
        model = torch.nn.Linear(4, 1).to(where)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.ones(8, 4).to(where)

        def step():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return {loss}
        return step

    def test_it(metal_bench):
        metal_bench(build, name="mine"{axes})
"""

JAX = """
    def build(device):
        import jax, jax.numpy as jnp

        assert isinstance(device, jax.Device) and device.platform == "cpu"
        state = jax.device_put(jnp.ones((4,)), device)
        x = jax.device_put(jnp.ones((8, 4)), device)
        update = jax.jit(lambda w, x: (w - 0.01 * jax.grad(lambda w: (x @ w).mean())(w), (x @ w).mean()), donate_argnums=0)
        held = [state]
        def step():
            held[0], loss = update(held[0], x)
            return loss
        return step

    def test_it(metal_bench):
        metal_bench(build, name="mine")
"""

ONE = "--metal-runs=1", "--metal-max-runs=2", "--metal-update-baselines", "--metal-size=quick"


@pytest.mark.torch
def test_torch_builder_that_declares_device_gets_its_object(suite):
    suite.ini(metal_backend="torch")
    suite.write(TORCH.replace("{loss}", "loss").replace("{axes}", ""))
    result = suite.run(*ONE)
    result.assert_outcomes(passed=1)
    assert list(suite.stored) == ["mine@cpu:torch"]
    lacks = "whether weights change (parameters), examples a second (examples)"
    result.stdout.fnmatch_lines([f"mine@cpu:torch: its step does not show {lacks}: return a Step that does"])


@pytest.mark.torch
def test_weights_elsewhere_are_an_error_though_the_step_returns_a_number(suite):
    suite.ini(metal_backend="torch")
    text = TORCH.replace("{loss}", "1.0").replace("{axes}", ", where='meta'")
    suite.write(text)
    result = suite.run(*ONE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mine computes on meta, and its name would say cpu: *argument `device`*"])
    assert not suite.file.exists()


@pytest.mark.jax
def test_jax_builder_that_hands_its_buffers_over_is_measured(suite):
    suite.ini(metal_backend="jax")
    suite.write(JAX)
    suite.run(*ONE).assert_outcomes(passed=1)
    assert list(suite.stored) == ["mine@cpu:jax"]


@pytest.mark.torch
def test_what_is_nothing_to_train_is_refused_without_keras(suite):
    suite.ini(metal_backend="torch")
    suite.pytester.syspathinsert(Path(plain_steps.__file__).parent)
    suite.write(
        "    import plain_steps\n    plain_steps.hide_keras()\n"
        "    def build():\n        return object(), 1\n"
        "    def test_it(metal_bench):\n        metal_bench(build, name='other')\n"
    )
    suite.run(*ONE).stdout.fnmatch_lines(["*returned a tuple of 2 (object, int); a builder returns *, a Step, or a *"])


HALF = """
    def build(device, precision, autocast=False):
        import torch

        model = torch.nn.Linear(8, 8).to(device)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        x = torch.ones(4, 8, device=device)

        def step():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast and precision == "mixed_bfloat16"):
                loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    def test_it(metal_bench):
        metal_bench(build, name="own", device="cpu", precision="mixed_bfloat16", autocast=AUTOCAST)
"""


@pytest.mark.torch
@pytest.mark.parametrize("autocast", [True, False])
def test_a_precision_that_a_step_takes_and_does_not_compute_in_is_an_error(suite, autocast):
    suite.write(HALF.replace("AUTOCAST", str(autocast)))
    result = suite.run("--metal", "smoke", "--metal-backend", "torch", "--metal-devices", "cpu")
    if autocast:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*own takes precision mixed_bfloat16 and computes nothing in bfloat16: *"])


MASKED = """
    def build(device):
        import torch

        model = torch.nn.Linear(8, 8).to(device)
        optimizer = torch.optim.SGD(model.parameters(), 1e30)
        x = torch.full((4, 8), 1e10, device=device)

        def step():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return torch.nan_to_num(loss.detach(), 0.0, 0.0, 0.0)

        return step

    def test_it(metal_bench):
        metal_bench(build, name="own", device="cpu")
"""


@pytest.mark.torch
def test_weights_of_a_plain_step_that_went_to_nan_behind_a_masked_loss_are_an_error(suite):
    suite.write(MASKED)
    result = suite.run("--metal", "smoke", "--metal-backend", "torch", "--metal-devices", "cpu")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*2 trainable weights of own are no longer finite at the end of its run (of shape (8, 8)): *"]
    )
