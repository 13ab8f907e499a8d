"""What freezegun does to the clocks, for tests that must not depend on it: the module `time`, and whoever holds its functions."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

DAY = 1326499200.0  # 2012-01-14
_gmtime, _strftime = time.gmtime, time.strftime
_FAKES = {
    "time": lambda: DAY,
    "monotonic": lambda: DAY,
    "perf_counter": lambda: DAY,
    "gmtime": lambda seconds=DAY: _gmtime(seconds),
    "localtime": lambda seconds=DAY: _gmtime(seconds),
    "strftime": lambda form, when=None: _strftime(form, when or _gmtime(DAY)),
}
_LEFT_ALONE = ("time", "threading", "queue", "multiprocessing", "_pytest.runner", "_pytest.terminal", __name__)


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Every clock stands still in 2012, in every module that is loaded, as freezegun's own `start` finds them."""
    fakes = {id(getattr(time, name)): fake for name, fake in _FAKES.items()}
    places = [
        (module, name, value)
        for key, module in list(sys.modules.items())
        if module is not None and not key.startswith(_LEFT_ALONE)
        for name, value in list(vars(module).items())
        if id(value) in fakes
    ]
    places += [(time, name, getattr(time, name)) for name in _FAKES]
    for module, name, value in places:
        setattr(module, name, fakes[id(value)])
    try:
        yield
    finally:
        for module, name, value in places:
            setattr(module, name, value)
