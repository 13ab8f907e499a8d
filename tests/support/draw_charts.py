"""The pictures of the page, drawn with Altair: what `pytest_metalperf/report/page/charts.json` holds.

    python tests/support/draw_charts.py    # writes that file anew, after a change here

A session reads the file alone: importing Altair and drawing with it takes longer than all else that a page needs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import altair as alt

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_metalperf.report.page.charts import COUNTERS, TEMPLATES, TONES

WIDTH = 640
"""Pixels of every part that is as wide as the page lets it be; the page puts its own number in."""
_NAMES = 230  # pixels of the names beside a picture
_AXES = {"clock": "clock, MHz", "power": "power, W", "temperature": "°C", "busy": "busy share"}
_OTHER = TONES["other"]
_SIDES = {"stored": "#8c959f", "reference": "#bf8700", "now": "#218bff"}
_SHARES = [-0.9, -0.5, -0.2, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]


def templates() -> dict[str, dict[str, Any]]:
    """The specification of each kind of picture, as Vega-Lite has it."""
    return {
        "forest": _whole(forest()),
        "runs": _whole(runs(reference=False)),
        "runs+reference": _whole(runs(reference=True)),
        "steps": _whole(step_times()),
        "pairs": _whole(pairs()),
        "ratios": _whole(ratios()),
        "bars": _whole(bars()),
        "history": _whole(history()),
        "sweep": _whole(sweep()),
    }


def _whole(chart: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart.properties(usermeta={"width": WIDTH}).to_dict(context={"consolidate_datasets": False})
    found.pop("config", None)  # the page has one for each ground
    # Of Vega-Lite's version the first number, which is what a specification depends on; Altair names its newest.
    return {**found, "$schema": re.sub(r"v(\d+)[.\d]*\.json$", r"v\1.json", found["$schema"])}


def _data(name: str) -> alt.NamedData:
    return alt.NamedData(name)


def _colour(field: str, of: dict[str, str], legend: Any = None) -> alt.Color:
    return alt.Color(field, type="nominal", legend=legend, scale=alt.Scale(domain=list(of), range=list(of.values())))


def forest() -> alt.LayerChart:
    """The change of each workload with its 95 % interval, what is allowed, and the smallest slowdown that is seen.

    Data `rows`: name, tone, verdict, key, change, low, high, from, to (what is allowed) and visible, shares all.
    """
    axis = alt.Axis(format="+.0%", values=_SHARES, labelOverlap=True, orient="top", title="change of seconds per batch")
    scale = alt.Scale(type="symlog", constant=0.05, nice=False, padding=12)
    names = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=_NAMES, grid=False))
    base = alt.Chart(_data("rows")).encode(y=names)
    tooltip = [
        alt.Tooltip("name:N"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("change:Q", format="+.1%"),
        alt.Tooltip("low:Q", format="+.1%", title="from"),
        alt.Tooltip("high:Q", format="+.1%", title="to"),
        alt.Tooltip("to:Q", format="+.1%", title="allowed"),
        alt.Tooltip("visible:Q", format="+.1%"),
    ]
    allowed = base.mark_bar(color=_OTHER, opacity=0.25, height=14).encode(
        x=alt.X("from:Q", axis=axis, scale=scale), x2="to:Q"
    )
    zero = alt.Chart(_data("zero")).mark_rule(color=_OTHER).encode(x="change:Q")
    seen = base.mark_tick(color=_OTHER, thickness=2, height=14).encode(x="visible:Q")
    colour = _colour("tone", TONES)
    interval = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=colour)
    point = base.mark_point(filled=True, opacity=1, size=70, cursor="pointer").encode(
        x="change:Q", color=colour, tooltip=tooltip
    )
    return alt.layer(allowed, zero, seen, interval, point).properties(width=WIDTH, height=alt.Step(20))


def runs(*, reference: bool) -> alt.LayerChart:
    """Each run as a dot beside its session. Data `dots`: session, side, seconds; `anchor`: seconds."""
    sides = {side: colour for side, colour in _SIDES.items() if reference or side != "reference"}
    dots = (
        alt.Chart(_data("dots"))
        .mark_point(filled=True, opacity=0.75, size=55)
        .encode(
            x=alt.X("seconds:Q", title="seconds per batch", scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
            y=alt.Y("session:N", sort=None, title=None, axis=alt.Axis(labelLimit=_NAMES)),
            color=_colour("side", sides, alt.Legend(title=None, orient="top")),
            tooltip=[alt.Tooltip("side:N"), alt.Tooltip("session:N"), alt.Tooltip("seconds:Q", format=".4g")],
        )
    )
    anchor = alt.Chart(_data("anchor")).mark_rule(strokeDash=[5, 4], color=_OTHER).encode(x="seconds:Q")
    return alt.layer(anchor, dots).properties(width=WIDTH, height=alt.Step(18))


def _seconds(field: str, title: str = "s/batch") -> alt.Y:
    return alt.Y(field, type="quantitative", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g"))


def step_times() -> alt.VConcatChart:
    """Step times of each run over the time that it was measured, with all that may be known: the page takes what it needs.

    Data `runs`: rows of the file, each with its number.
    """
    run = alt.Color("run", type="nominal", legend=alt.Legend(title="run", orient="top"))
    samples = (
        alt.Chart(_data("runs"))
        .transform_flatten(["samples"], ["sample"])
        .transform_calculate(block="datum.sample * datum.batches_per_block")
        .transform_window(until="sum(block)", frame=[None, 0], groupby=["run"])
        .mark_line(strokeWidth=1, point=alt.OverlayMarkDef(size=12), interpolate="step-before")
        .encode(
            x=alt.X("until:Q", title="seconds of measuring", scale=alt.Scale(zero=True)),
            y=_seconds("sample"),
            color=run,
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("until:Q", format=".3g"), alt.Tooltip("sample:Q", format=".4g")],
        )
        .properties(width=WIDTH, height=150)
    )
    counters = [
        alt.Chart(_data("runs"))
        .transform_flatten(["trace"], ["moment"])
        .transform_calculate(seconds="datum.moment[0]", value=f"datum.moment[{place}]")
        .transform_filter("isValid(datum.value)")
        .mark_line(strokeWidth=1, point=alt.OverlayMarkDef(size=10))
        .encode(
            x=alt.X("seconds:Q", title=None),
            y=alt.Y("value:Q", title=_AXES[name], scale=alt.Scale(zero=name == "busy")),
            color=run,
        )
        .properties(width=WIDTH, height=60)
        for place, name in enumerate(COUNTERS, 1)
    ]
    timed = alt.vconcat(samples, *counters).resolve_scale(x="shared", color="shared")
    return alt.vconcat(_first_batch(run), _warm_up(run), timed).resolve_scale(color="shared")


def _first_batch(run: alt.Color) -> alt.Chart:
    return (
        alt.Chart(_data("runs"))
        .mark_point(filled=True, size=50)
        .encode(
            x=alt.X("first_batch_seconds:Q", title="first batch, s"),
            color=run,
            tooltip=["run:N", "first_batch_seconds:Q"],
        )
        .properties(width=WIDTH, height=24)
    )


def _warm_up(run: alt.Color) -> alt.Chart:
    return (
        alt.Chart(_data("runs"))
        .transform_flatten(["warm_up"], ["sample"])
        .transform_window(step="row_number()", groupby=["run"])
        .mark_line(strokeWidth=1, point=alt.OverlayMarkDef(size=12))
        .encode(
            x=alt.X("step:Q", title="step of the warm-up", axis=alt.Axis(tickMinStep=1)),
            y=_seconds("sample"),
            color=run,
        )
        .properties(width=WIDTH, height=60)
    )


def pairs() -> alt.LayerChart:
    """The change of each pair. Data `pairs`: pair, change; `change`: low, high, change, tolerance."""
    axis = alt.Axis(format="+.0%")
    dots = (
        alt.Chart(_data("pairs"))
        .mark_point(filled=True, size=60)
        .encode(
            x=alt.X("pair:O", title="pair", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("change:Q", axis=axis, title="change"),
            tooltip=[alt.Tooltip("pair:O"), alt.Tooltip("change:Q", format="+.1%")],
        )
    )
    found = alt.Chart(_data("change"))
    band = found.mark_rect(opacity=0.2).encode(y=alt.Y("low:Q", axis=axis), y2="high:Q")
    middle = found.mark_rule().encode(y="change:Q")
    allowed = found.mark_rule(strokeDash=[5, 4], color=_OTHER).encode(y="tolerance:Q")
    return alt.layer(band, middle, allowed, dots).properties(width=WIDTH, height=140)


def ratios() -> alt.LayerChart:
    """How many times as fast, pair by pair. Data `pairs`: pair, ratio; `ratio`: low, high, ratio; `promise`: at_least."""
    dots = (
        alt.Chart(_data("pairs"))
        .mark_point(filled=True, size=60)
        .encode(
            x=alt.X("pair:O", title="pair", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("ratio:Q", title="times as fast", scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("pair:O"), alt.Tooltip("ratio:Q", format=".3g")],
        )
    )
    found = alt.Chart(_data("ratio"))
    band = found.mark_rect(opacity=0.2).encode(y="low:Q", y2="high:Q")
    middle = found.mark_rule().encode(y="ratio:Q")
    promise = alt.Chart(_data("promise")).mark_rule(strokeDash=[5, 4], color=_OTHER).encode(y="at_least:Q")
    return alt.layer(band, middle, promise, dots).properties(width=WIDTH, height=140)


def bars() -> alt.LayerChart:
    """Seconds per batch side by side. Data `bars`: variant, seconds, low, high, text."""
    names = alt.Y("variant:N", sort=None, title=None, axis=alt.Axis(labelLimit=_NAMES))
    base = alt.Chart(_data("bars")).encode(y=names)
    bar = base.mark_bar(color="#218bff", opacity=0.7).encode(
        x=alt.X("seconds:Q", title="seconds per batch: lower is better", axis=alt.Axis(format="~g")),
        tooltip=[alt.Tooltip("variant:N"), alt.Tooltip("text:N")],
    )
    interval = base.mark_rule(strokeWidth=2, color=_OTHER).encode(x="low:Q", x2="high:Q")
    text = base.mark_text(align="left", dx=6, color=_OTHER).encode(x="end:Q", text="text:N")
    return alt.layer(bar, interval, text).properties(width=WIDTH, height=alt.Step(26))


def history() -> alt.LayerChart:
    """A workload over its sessions. Data `points`: started, seconds, low, high, commit; `changes`: started, change, text."""
    base = alt.Chart(_data("points")).encode(x=alt.X("started:T", title=None))
    span = base.mark_rule(color=_OTHER).encode(y=_seconds("low"), y2="high:Q")
    dots = base.mark_point(filled=True, opacity=1, size=40).encode(
        y=_seconds("seconds"),
        tooltip=[alt.Tooltip("commit:N"), alt.Tooltip("started:T"), alt.Tooltip("seconds:Q", format=".4g")],
    )
    found = alt.Chart(_data("changes")).encode(x="started:T")
    colour = alt.condition("datum.change > 0", alt.value(TONES["worse"]), alt.value(TONES["faster"]))
    at = found.mark_rule(strokeWidth=2).encode(color=colour, tooltip=[alt.Tooltip("text:N")])
    text = found.mark_text(align="left", dx=4, dy=8, y=0).encode(text="text:N", color=colour)
    return alt.layer(span, dots, at, text).properties(width=WIDTH, height=160)


def sweep() -> alt.VConcatChart:
    """Batch sizes. Data `sizes`: size, speed, memory_gb, state (`best`, `knee`, `fits`, `did not fit`, `error`)."""
    states = {"best": "#2da44e", "knee": "#bf8700", "fits": "#218bff", "did not fit": "#cf222e", "error": "#cf222e"}
    x = alt.X("size:O", title="batch size", axis=alt.Axis(labelAngle=0))
    base = alt.Chart(_data("sizes")).encode(x=x)
    line = base.transform_filter("isValid(datum.speed)").mark_line(color=_OTHER).encode(y="speed:Q")
    colour = _colour("state", states, alt.Legend(title=None, orient="top"))
    trained = base.transform_filter("isValid(datum.speed)").mark_point(filled=True, opacity=1, size=80)
    failed = base.transform_filter("!isValid(datum.speed)").mark_point(
        shape="cross", filled=True, size=110, opacity=1, angle=45
    )
    shown = [alt.Tooltip("size:O"), alt.Tooltip("speed:Q", format=".4g"), alt.Tooltip("state:N")]
    above = alt.layer(
        line,
        trained.encode(y=alt.Y("speed:Q", title="examples/s"), color=colour, tooltip=shown),
        failed.encode(y=alt.datum(0), color=colour, tooltip=shown),
    ).properties(width=WIDTH, height=150)
    memory = (
        base.transform_filter("isValid(datum.memory_gb)")
        .mark_bar(color=_OTHER, opacity=0.7, size=14)
        .encode(y=alt.Y("memory_gb:Q", title="peak, GB"))
        .properties(width=WIDTH, height=60)
    )
    return alt.vconcat(above, memory).resolve_scale(x="shared")


if __name__ == "__main__":
    TEMPLATES.write_text(json.dumps(templates(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
