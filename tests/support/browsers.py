"""Where a Chromium is, for those who look at a page."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

MAC_CHROME = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def chromium() -> str | None:
    """The program; None where there is none, or no Playwright to drive it."""
    if importlib.util.find_spec("playwright") is None:
        return None
    for name in ("chromium", "google-chrome"):
        if found := shutil.which(name):
            return found
    return str(MAC_CHROME) if MAC_CHROME.exists() else None
