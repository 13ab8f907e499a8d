"""The fleet whose workers train real frameworks, beside those of other pytest-xdist processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_metalperf.measure.fleet import Fleet


@contextmanager
def real_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One that locks a machine of its own, and whose workers compute in one thread: all share the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_METALPERF_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
        for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            patch.setenv(threads, "1")
        fleet = Fleet(session="test")
        yield fleet
        fleet.close()
