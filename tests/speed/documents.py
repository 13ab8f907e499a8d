"""What the files of reports add to a session, and what opening them takes: 200 workloads of 5 runs of 100 samples.

    python tests/speed/documents.py [--workloads 200] [--runs 5] [--samples 100]

Prints seconds and bytes of --metal-json and --metal-html, each by itself, and what the first page on a machine takes more:
it puts the pictures' runtime together, which the user's cache folder then keeps. Where Playwright and a Chromium are there,
also the seconds until the page shows its opening picture, and until a row has opened. Exit code 1 where writing both takes 2 s
or more (the runtime is kept), one is as large as 8 MB, or the page opens in 2 s or more.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import browsers

from pytest_metalperf.baselines.schema import Anchor, Entry
from pytest_metalperf.gate import ESTIMATOR, RunFigure, judge
from pytest_metalperf.report import document, html
from pytest_metalperf.report.files import Files
from pytest_metalperf.results.measurement import Measurement
from pytest_metalperf.results.run import Run
from pytest_metalperf.session import MetalSession
from pytest_metalperf.settings import Settings
from pytest_metalperf.workloads.workload import Workload

VERSIONS = dict.fromkeys(("tensorflow", "keras", "numpy", "h5py", "protobuf", "python", "macos", "ml-dtypes"), "1.23.4")
CONDITIONS = dict.fromkeys(("other_load", "stolen", "background", "memory_free", "speed_limit", "temperature"), 0.123)
WORK = {"operations": {f"Operation{number}": number for number in range(1, 60)}, "flop": 4.1e9, "parameters": 5_000_000}


def run(samples: int, session: str) -> Run:
    """One run with everything that a run may know."""
    seconds = random.gauss(0.1, 0.002)
    return Run(
        samples=tuple(random.gauss(seconds, 0.003) for _ in range(samples)),
        batches_per_block=1,
        first_batch_seconds=3.1,
        session=session,
        recorded="2026-01-01",
        peak_memory_bytes=10**9,
        versions=VERSIONS,
        conditions=CONDITIONS,
        joules_per_batch=1.0,
        fingerprint=WORK,
        trace=[[0.5 * tick, 1980.0, 300.0, 41.0, 0.9] for tick in range(20)],
    )


def measurement(number: int, runs: int, samples: int) -> Measurement:
    """One workload, compared with as many stored runs."""
    stored = [run(samples, f"before-{one}").stored() for one in range(runs)]
    entry = Entry(anchor=Anchor(recorded="2026-01-01", seconds_per_batch=0.1, estimator=ESTIMATOR), runs=stored)
    fresh = [run(samples, "now") for _ in range(runs)]
    figures = [RunFigure(one.estimate.seconds, one.session) for one in fresh]
    judgement = judge(figures, [RunFigure(one.seconds_per_batch, one.session) for one in stored], [])
    workload = Workload(f"net{number}", "gpu", "tensorflow", axes={"image_size": 224, "batch_size": 32})
    return Measurement(
        workload, fresh, judgement.verdict, judgement, entry, nodeid=f"tests/test_net.py::test_it[{number}]"
    )


def main() -> int:
    """Write a session's files as the session would, and open them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=100)
    asked = parser.parse_args()
    random.seed(1)
    found = [measurement(number, asked.runs, asked.samples) for number in range(asked.workloads)]
    print(f"{asked.workloads} workloads, {asked.runs} runs, {asked.samples} samples; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path, page = Path(folder) / "out.json", Path(folder) / "out.html"
        took = written(Settings(json=str(path)), found, Path(folder))
        since = time.perf_counter()
        document.read(path)
        reading, size = time.perf_counter() - since, path.stat().st_size
        each = f"median {1e3 * statistics.median(took):.1f} ms, last {1e3 * took[-1]:.0f} ms"
        print(
            f"JSON: {size / 1e6:.1f} MB, written {len(took)} times in {sum(took):.2f} s ({each}), read in {reading:.2f} s"
        )
        os.environ["PYTEST_METALPERF_CACHE"] = str(Path(folder) / "cache")
        since = time.perf_counter()
        html.runtime()
        first = time.perf_counter() - since
        whole = written(Settings(html=str(page)), found, Path(folder))
        print(f"page: {page.stat().st_size / 1e6:.1f} MB, written in {sum(whole):.2f} s")
        print(f"first page on a machine (empty cache): {first:.2f} s more")
        opening = shown(page)
        largest = max(size, page.stat().st_size)
    return int(sum(took) + sum(whole) >= 2 or largest >= 8e6 or opening >= 2)


def written(settings: Settings, found: Sequence[Measurement], folder: Path) -> list[float]:
    """Seconds that each step of writing took: before the first result, after each, at the end."""
    session, took = MetalSession(settings, folder, {}, {}), []
    # A run takes a second at least. A session in which results come faster than that would write less often.
    session.since -= sum(len(one.runs) for one in found)
    files: list[Files] = []
    steps: list[Callable[[], object]] = [lambda: files.append(Files(session, folder))]
    steps += [lambda one=one: added(session, files[0], one) for one in found]
    steps.append(lambda: files[0].end(whole=True))
    for step in steps:
        since = time.perf_counter()
        step()
        took.append(time.perf_counter() - since)
    return took


def added(session: MetalSession, files: Files, one: Measurement) -> None:
    """A result, as a session finishes it."""
    session.results.append(one)
    session._runs[one.workload.id, "", ""] = one.runs
    files.add(one, Settings(), f'pytest "{one.nodeid}"')


def shown(page: Path) -> float:
    """Seconds until the page shows its opening picture; 0 without a browser."""
    chromium = browsers.chromium()
    if chromium is None:
        print("no Chromium, or no Playwright: the page was not opened")
        return 0.0
    from playwright.sync_api import sync_playwright  # only where there is one

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        since = time.perf_counter()
        opened.goto(page.as_uri())
        opened.locator("#changes svg").wait_for()
        opening = time.perf_counter() - since
        since = time.perf_counter()
        opened.locator(".opens").first.click()
        opened.locator("tr.more .chart").first.scroll_into_view_if_needed()
        opened.locator("tr.more .chart svg").first.wait_for()
        print(f"opened in {opening:.2f} s, a row in {time.perf_counter() - since:.2f} s")
        browser.close()
    return opening


if __name__ == "__main__":
    sys.exit(main())
