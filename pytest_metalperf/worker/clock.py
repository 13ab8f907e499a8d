"""The clocks, bound when pytest loads this plugin: what a test does to the module `time` afterwards reaches none of ours.

freezegun replaces every module's attribute that is one of `time`'s functions, also of a module that wrote
`from time import monotonic`. It does not look into classes.
"""

from __future__ import annotations

import time


class RealTime:
    """The real clocks and the real sleep, whatever a test has frozen or replaced."""

    monotonic = staticmethod(time.monotonic)
    perf_counter = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)

    _began = time.time() - time.perf_counter()
    _format = staticmethod(time.strftime)
    _utc = staticmethod(time.gmtime)

    @classmethod
    def now(cls) -> float:
        """Seconds since 1970: counted from this program's start, since time-machine changes `time.time` itself."""
        return cls._began + cls.perf_counter()

    @classmethod
    def utc(cls, form: str) -> str:
        """Date and time of now in UTC, as `time.strftime` writes them."""
        return cls._format(form, cls._utc(cls.now()))
