"""What a builder sees under `[cpu]` and `[gpu]`: its device and dtype, beside the id under which its time is stored.

    python tests/speed/devices.py [--backends torch,jax]

Needs a GPU for the rows of `gpu`, and no Keras. Each row is a pytest session of its own that records a baseline for a step of
plain PyTorch or JAX: one that names no device, one that takes `device`, one that asks for CUDA where it is available, and each
with half precision asked for, declared and not declared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]

BUILDERS = {
    "torch": """
import json, os
def note(loss):
    if os.environ.get("SEEN"):
        open(os.environ["SEEN"], "w").write(f"{loss.device} {loss.dtype}".replace("torch.", ""))

def made(where, dtype):
    import torch
    model = torch.nn.Linear(256, 256, device=where, dtype=dtype)
    x = torch.randn(64, 256, device=where, dtype=dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    def step():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss
    loss = model(x).square().mean()
    note(loss)
    return step

def plain():
    return made(None, None)

def takes_device(device):
    return made(device, None)

def asks_for_cuda():
    import torch
    return made("cuda" if torch.cuda.is_available() else "cpu", None)

def insists_on_the_cpu():
    return made("cpu", None)

def takes_precision(device, precision="float32"):
    import torch
    return made(device, torch.bfloat16 if precision == "mixed_bfloat16" else torch.float32)
""",
    "jax": """
import os
def made(where, dtype):
    import jax, jax.numpy as jnp
    x = jnp.ones((64, 256), dtype or jnp.float32)
    w = jnp.ones((256, 256), dtype or jnp.float32)
    if where is not None:
        x, w = jax.device_put((x, w), where)
    update = jax.jit(lambda w, x: (w - 0.001 * jax.grad(lambda w: jnp.mean((x @ w) ** 2))(w), jnp.mean((x @ w) ** 2)))
    held = [w]
    def step():
        held[0], loss = update(held[0], x)
        return loss
    _, loss = update(w, x)
    if os.environ.get("SEEN"):
        open(os.environ["SEEN"], "w").write(f"{next(iter(loss.devices()))} {loss.dtype}")
    return step

def plain():
    return made(None, None)

def takes_device(device):
    return made(device, None)

def asks_for_cuda():
    import jax
    return made(jax.devices()[0], None)

def insists_on_the_cpu():
    import jax
    return made(jax.devices("cpu")[0], None)

def takes_precision(device, precision="float32"):
    import jax.numpy as jnp
    return made(device, jnp.bfloat16 if precision == "mixed_bfloat16" else jnp.float32)
""",
}
CASES = [
    *((name, "") for name in ("plain", "takes_device", "asks_for_cuda", "insists_on_the_cpu")),
    ("plain", "mixed_bfloat16"),
    ("takes_precision", "mixed_bfloat16"),
]
OPTIONS = (
    "--metal-runs=1",
    "--metal-update-baselines",
    "--metal-machine=m",
    "--metal-batches=5",
    "-p",
    "no:cacheprovider",
)


INSTALLED = any(entry.value == "pytest_metalperf.plugin" for entry in metadata.entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "pytest_metalperf.plugin")


def row(backend: str, device: str, builder: str, precision: str) -> str:
    """One session: what the builder saw, and what was stored or said."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        axes = f", precision={precision!r}" if precision else ""
        (here / "pytest.ini").write_text("[pytest]\n")
        (here / "test_it.py").write_text(
            f"{BUILDERS[backend]}\ndef test_it(metal_bench):\n    metal_bench({builder}{axes})\n"
        )
        environment = {
            **os.environ,
            "SEEN": str(here / "seen"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "pytest", *PLUGIN, *OPTIONS]
        command += [f"--metal-devices={device}", f"--metal-backend={backend}"]
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=200
        )
        seen = (here / "seen").read_text() if (here / "seen").exists() else "-"
        file = here / "baselines" / "m.json"
        stored = ", ".join(json.loads(file.read_text())["workloads"]) if file.exists() else ""
        words = next((line for line in done.stdout.splitlines() if f"@{device}:{backend}: " in line), "")
        return f"{seen:<28} {stored or 'nothing stored: ' + (words or (done.stdout + done.stderr)[-400:]).strip()}"


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="torch,jax")
    parser.add_argument("--devices", default="cpu,gpu")
    asked = parser.parse_args()
    for backend in asked.backends.split(","):
        for device in asked.devices.split(","):
            for builder, precision in CASES:
                case = f"{backend:<6} {device:<4} {builder:<19} {precision or 'float32':<15}"
                print(case, row(backend, device, builder, precision), flush=True)


if __name__ == "__main__":
    main()
