"""The pictures, as specifications of Vega-Lite: what is drawn alone. Data come when a picture is drawn, by their names.

`charts.json` beside this module is drawn with Altair by `tests/support/draw_charts.py`, where each picture has its data named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

COUNTERS = ("clock", "power", "temperature", "busy")
"""What a trace may know of the device, in the order of its columns after the seconds."""

TONES = {
    "worse": "#cf222e",
    "machine": "#bf8700",
    "inconclusive": "#8250df",
    "faster": "#2da44e",
    "within": "#218bff",
    "other": "#8c959f",
}
"""The colour of each kind of row, which is clear on a light ground and on a dark one."""

TEMPLATES = Path(__file__).with_name("charts.json")

Spec = dict[str, Any]


def steps(counters: Iterable[str], *, warm_up: bool) -> str:
    """The name of the picture of step times over these counters."""
    return "+".join(["steps", *(["warm-up"] if warm_up else []), *counters])


def specifications(kinds: Iterable[str]) -> dict[str, Spec]:
    """The specification of each kind of picture."""
    made: dict[str, Spec] = json.loads(TEMPLATES.read_bytes())
    return {
        kind: _step_times(made["steps"], kind.split("+")[1:]) if kind.startswith("steps") else made[kind]
        for kind in dict.fromkeys(kinds)
    }


def _step_times(whole: Spec, more: Sequence[str]) -> Spec:
    """Of the picture with all that may be known what a session does know."""
    first_batch, warm_up, timed = whole["vconcat"]
    samples, *counters = timed["vconcat"]
    known = [one for name, one in zip(COUNTERS, counters, strict=True) if name in more]
    parts = [first_batch, *([warm_up] if "warm-up" in more else []), {**timed, "vconcat": [samples, *known]}]
    return {**whole, "vconcat": parts}
