"""Trials of the replay on this machine: a project that is recorded once, and gated again and again in fresh sessions.

    python tests/speed/replays.py FOLDER [--rounds 20] [--kinds slower,machine] [--backend tensorflow] [--device cpu]

The project is a git repository with a stack of 20 dense layers, and a small package of its own that says how many. A round
gates it once in each way: `unchanged` by a commit without effect on it, `slower` by a commit with two layers more,
`package` with a version of the package that has two layers more, `machine` as it was recorded, beside as many busy processes
as there are cores. Every second round, one busy process competes (`--competing never` or `always` for another share).

FOLDER keeps the project and `trials.jsonl`, a line per session with its samples: asked again, the command goes on where it
was ended, and prints the counts of all. As a pytest plugin (`-p replays`) this module is the listener that reports verdicts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_metalperf import Measurement

FILE = "METALPERF_TRIAL"
KINDS = ("unchanged", "slower", "package", "machine")
WANTED = {"unchanged": "within", "slower": "slower", "package": "slower", "machine": "machine"}
DEPTH, MORE = 20, 2

NET = """
from depthlib import DEPTH

MORE = {more}


def build(batch_size={batch}, width={width}):
{body}
"""
BODIES = {
    "keras": """
    import keras
    import numpy as np

    inputs = h = keras.Input((width,))
    for _ in range(DEPTH + MORE):
        h = keras.layers.Dense(width, kernel_initializer="orthogonal", use_bias=False)(h)
    model = keras.Model(inputs, h)
    model.compile(keras.optimizers.SGD(1e-6), loss="mse")
    x = np.random.default_rng(0).normal(size=(batch_size, width)).astype("float32")
    return model, (x, x)
""",
    "torch": """
    import os

    import torch

    device = os.environ["KERAS_TORCH_DEVICE"]
    torch.manual_seed(0)
    layers = [torch.nn.Linear(width, width, bias=False) for _ in range(DEPTH + MORE)]
    model = torch.nn.Sequential(*layers).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    x = torch.randn(batch_size, width, device=device)

    def step():
        optimizer.zero_grad()
        loss = ((model(x) - x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step
""",
}
TEST = """
from net import build


def test_net(metal_bench):
    metal_bench(build, name="net")
"""
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # not for ever, should we be killed


def pytest_metalperf_measured(measurement: Measurement) -> None:
    """Report the trial's figures."""
    judgement, replayed, reference = measurement.judgement, measurement.replayed, measurement.reference
    theirs = [] if reference is None else reference.runs
    figures = {
        "verdict": measurement.error or measurement.verdict,
        "change": None if judgement is None else judgement.change,
        "low": None if judgement is None else judgement.change_low,
        "high": None if judgement is None else judgement.change_high,
        "visible": None if judgement is None else judgement.smallest_visible,
        "pair_sd": judgement.run_sd if judgement is not None and theirs else None,
        "why": measurement.no_replay or ("" if judgement is None else judgement.reason),
        "differs": [] if replayed is None else list(replayed.differs),
        "load": [run.conditions.get("load1") for run in measurement.runs],
        "ours": [list(run.samples) for run in measurement.runs],
        "theirs": [list(run.samples) for run in theirs],
    }
    Path(os.environ[FILE]).write_text(json.dumps(figures))


class Project:
    """The recorded project, with an interpreter for each version of its package."""

    def __init__(self, folder: Path, backend: str, device: str) -> None:
        self.folder, self.root, self.backend, self.device = folder, folder / "project", backend, device
        self.pythons = {version: folder / f"python{version}" / "bin" / "python" for version in ("1.0", "2.0")}
        self.cache, self.results = folder / "cache", folder / "trials.jsonl"

    def write(self, more: int = 0, comment: str = "") -> None:
        body = BODIES["torch" if self.backend == "torch" else "keras"].strip("\n")
        batch, width = (128, 512) if self.device == "cpu" else (2048, 2048)
        (self.root / "net.py").write_text(NET.format(more=more, body=body, batch=batch, width=width) + comment)

    def git(self, *words: str) -> None:
        own = ["git", "-C", str(self.root), "-c", "user.name=trial", "-c", "user.email=trial@localhost"]
        subprocess.run([*own, *words], check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "trial")

    def record(self) -> None:
        """Make everything, and record."""
        self.root.mkdir(parents=True)
        for version, depth in (("1.0", DEPTH), ("2.0", DEPTH + MORE)):
            wheel = _wheel(self.folder / "index", version, depth)
            home = self.pythons[version].parents[1]
            venv.create(home, symlinks=True)
            (site,) = home.glob("lib/python*/site-packages")
            sites = {sysconfig.get_path("purelib"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)} - {""}
            (site / "base.pth").write_text("".join(f"import site; site.addsitedir({one!r})\n" for one in sorted(sites)))
            with zipfile.ZipFile(wheel) as file:
                file.extractall(site)
        (self.root / "test_net.py").write_text(TEST)
        (self.root / ".gitignore").write_text("__pycache__\n")
        self.write()
        self.git("init", "--quiet")
        self.commit()
        self.pytest("1.0", "--metal-update-baselines", "--metal-force")  # whatever else the machine does
        self.commit()

    def pytest(self, version: str, *flags: str) -> dict:
        """One session: its figures."""
        result = self.folder / "figures.json"
        result.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            FILE: str(result),
            "PYTHONPATH": str(Path(__file__).parent.resolve()),
            "UV_FIND_LINKS": str(self.folder / "index"),
            "XDG_CACHE_HOME": str(self.cache),
        }
        since = time.monotonic()
        done = subprocess.run(
            [
                *(str(self.pythons[version]), "-m", "pytest", "-q", "-p", "replays", "-p", "no:cacheprovider"),
                *(
                    f"--rootdir={self.root}",
                    f"--metal-devices={self.device}",
                    f"--metal-backend={self.backend}",
                    *flags,
                ),
            ],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not result.exists():
            sys.exit(done.stdout + done.stderr)
        return {**json.loads(result.read_text()), "wall_seconds": time.monotonic() - since, "exit": done.returncode}

    def gate(self, kind: str, competing: int) -> dict:
        """One session of a kind, beside so many busy processes."""
        self.git("checkout", "--quiet", "--force", "HEAD")
        recorded = subprocess.check_output(["git", "-C", str(self.root), "rev-parse", "HEAD"], text=True).strip()
        if kind != "machine":
            self.write(MORE if kind == "slower" else 0, "" if kind == "package" else f"# {kind}\n")
            self.commit()
        try:
            with busy(competing):
                return self.pytest("2.0" if kind == "package" else "1.0")
        finally:
            self.git("reset", "--quiet", "--hard", recorded)


def _wheel(index: Path, version: str, depth: int) -> Path:
    index.mkdir(exist_ok=True)
    path, info = index / f"depthlib-{version}-py3-none-any.whl", f"depthlib-{version}.dist-info"
    files = {
        "depthlib.py": f"DEPTH = {depth}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: depthlib\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: trial\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},{_sums(text)},{len(text)}\n" for name, text in files.items())
    with zipfile.ZipFile(path, "w") as file:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            file.writestr(name, text)
    return path


def _sums(text: str) -> str:
    import base64
    import hashlib

    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute beside."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def counts(lines: list[dict]) -> None:
    """Verdicts, spread, load and time of each kind, quiet and beside a busy process."""
    for kind in KINDS:
        for competing in sorted({one["competing"] for one in lines if one["kind"] == kind}):
            mine = [one for one in lines if one["kind"] == kind and one["competing"] == competing]
            said = ", ".join(
                f"{count} {verdict}" for verdict, count in Counter(o["verdict"] for o in mine).most_common()
            )
            sds = [one["pair_sd"] for one in mine if one["pair_sd"] is not None]
            pairs = f", {len(sds)} replayed, pairs differ by {spread(sds, 100)} %" if sds else ""
            loads = [load for one in mine for load in one["load"] if load is not None]
            print(
                f"{kind}, {competing} competing: {len(mine)} sessions: {said} (wanted {WANTED[kind]}){pairs},"
                f" load {spread(loads)}, {spread([one['wall_seconds'] / 60 for one in mine])} min"
            )


def spread(values: list[float], times: float = 1.0) -> str:
    """Median, least and most."""
    if not values:
        return "-"
    return f"{times * statistics.median(values):.1f} ({times * min(values):.1f} to {times * max(values):.1f})"


def main() -> None:
    """Record once, then a session of every kind in each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--competing", choices=["never", "half", "always"], default="half")
    asked = parser.parse_args()
    project = Project(asked.folder.resolve(), asked.backend, asked.device)
    if not project.root.exists():
        project.record()
    lines = [json.loads(line) for line in project.results.read_text().splitlines()] if project.results.exists() else []
    for number in range(asked.rounds):
        beside = {"never": 0, "half": number % 2, "always": 1}[asked.competing]
        for kind in asked.kinds.split(","):
            if any((one["round"], one["kind"]) == (number, kind) for one in lines):
                continue
            competing = len(os.sched_getaffinity(0)) if kind == "machine" else beside
            one = {"round": number, "kind": kind, "competing": competing, **project.gate(kind, competing)}
            lines.append(one)
            with project.results.open("a") as file:
                file.write(json.dumps(one) + "\n")
            change = "" if one["change"] is None else f" {one['change']:+.1%} ({one['low']:+.1%} to {one['high']:+.1%})"
            why = f"; {one['why']}" if one["why"] else ""
            print(
                f"{number + 1} {kind} beside {competing}: {one['verdict']}{change}, {len(one['theirs'])} pairs,"
                f" {one['wall_seconds']:.0f} s{why}; differs: {', '.join(one['differs'])}",
                flush=True,
            )
    counts(lines)


if __name__ == "__main__":
    main()
