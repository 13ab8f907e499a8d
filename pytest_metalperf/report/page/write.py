"""From sessions to the bytes of one page, which asks nothing of any network and shows all that it is given as text."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from .. import document
from . import charts, views
from .past import Past
from .row import Chart
from .rows import rows

MOST_IN_PICTURE = 40
"""Rows of the opening picture; the table has all."""

_HERE = Path(__file__).parent


def page(sessions: Sequence[document.Document], runtime: str, today: datetime.date, known: Past | None = None) -> str:
    """The page of one session or several.

    Args:
        sessions: as their files have them.
        runtime: Vega, Vega-Lite and Vega-Embed as one script.
        today: what ages are counted from.
        known: what a history knows of their workloads.
    """
    found = rows(sessions, today, known)
    picture, left = views.opening(found, MOST_IN_PICTURE)
    beside, sweeps = views.side_by_side(sessions), views.sweeps(sessions)
    drawn = [chart for row in found for chart in row.charts]
    drawn += [panel.chart for panel in (*beside, *sweeps)] + ([picture] if picture else [])
    numbered = {id(chart): number for number, chart in enumerate(drawn)}
    scripts = [runtime, (_HERE / "page.js").read_text(encoding="utf-8")]
    made: str = _template().render(
        title=views.title(found),
        sessions=[
            {"facts": views.session_facts(one), "ended": views.ended(one), "costs": views.costs(one, today)}
            for one in sessions
        ],
        several=len(sessions) > 1,
        rows=found,
        peaks=any(row.share is not None for row in found),
        picture=picture,
        left=left,
        beside=beside,
        sweeps=sweeps,
        number=lambda chart: numbered[id(chart)],
        drawn=_embedded(_drawn(drawn)),
        specifications=_embedded(document.encoded(charts.specifications(chart.kind for chart in drawn))),
        files=[_embedded(document.encoded(one)) for one in sessions],
        scripts=[Markup(_inert(script)) for script in scripts],
        hashes=" ".join(f"'sha256-{_digest(_inert(script))}'" for script in scripts),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
    )
    return made


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((_HERE / "page.html.j2").read_text(encoding="utf-8"))


def _drawn(found: Sequence[Chart]) -> bytes:
    return document.encoded([{"kind": one.kind, "at": one.at, "data": one.data} for one in found])


def _embedded(data: bytes) -> Markup:
    """JSON inside a script element, which nothing in it can end."""
    for what in (b"<", b">", b"&"):
        data = data.replace(what, b"\\u%04x" % ord(what))
    return Markup(data.decode("utf-8"))


def _inert(script: str) -> str:
    """A script that no string within it ends."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
