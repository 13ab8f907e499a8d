"""The pictures' specifications, which the package holds ready-made: they are what Altair draws today."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product

import pytest

from pytest_metalperf.report.page import charts

ROWS = (
    "import sys, datetime\n"
    "from made_sessions import measured, replayed, session\n"
    "from pytest_metalperf.report.page.write import page\n"
    "page([session([measured(), replayed()])], 'x', datetime.date(2026, 11, 28))\n"
    "print(sorted(name for name in ('altair', 'vl_convert', 'scipy.stats', 'sqlite3') if name in sys.modules))\n"
)


def test_the_file_is_what_altair_draws():
    """After a change of the pictures: `python tests/support/draw_charts.py`."""
    pytest.importorskip("altair", reason="the extra `test` draws pictures")
    import draw_charts

    assert json.loads(charts.TEMPLATES.read_bytes()) == draw_charts.templates()


def test_step_times_have_the_parts_that_are_known():
    for warm_up, *known in product((False, True), repeat=1 + len(charts.COUNTERS)):
        counters = [name for name, is_known in zip(charts.COUNTERS, known, strict=True) if is_known]
        kind = charts.steps(counters, warm_up=warm_up)
        *before, timed = charts.specifications([kind])[kind]["vconcat"]
        assert [one["encoding"]["x"]["field"] for one in before] == ["first_batch_seconds", *(["step"] * warm_up)]
        places = [one["transform"][2]["calculate"] for one in timed["vconcat"][1:]]
        assert places == [f"datum.moment[{1 + charts.COUNTERS.index(name)}]" for name in counters]


def test_a_page_loads_nothing_that_it_does_not_need(tmp_path):
    path = [str(charts.TEMPLATES.parents[3]), str(charts.TEMPLATES.parents[3] / "tests" / "support")]
    code = f"import sys; sys.path[:0] = {path!r}\n{ROWS}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['sqlite3']\n", "")
