"""What the suites of these commands have in common: a conftest.py with the fake backend."""

from __future__ import annotations

from pathlib import Path

CONFTEST = f"""
import sys
sys.path.append({str(Path(__file__).parents[1] / "support")!r})
import pytest
import pytest_metalperf.suspects

pytest_metalperf.suspects.PATIENCE = 0.0  # no minute's wait before a second look

def pytest_metalperf_backends():
    from fake_backend import Fake
    return {{"fake": Fake}}
"""
