"""Skips a test file that imports it where nothing is installed that draws a page."""

from __future__ import annotations

import pytest

for name in (
    "jinja2",
    "vl_convert",
):  # loaded here: a session within a test forgets modules, and a C extension loads once
    pytest.importorskip(name, reason="the extra `report` draws pages")
