"""The page: rows and pictures from sessions, in the order in which somebody has to act, and nothing as markup."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re

import drawing  # noqa: F401
import pytest
from made_sessions import asked, entry, judgement, measured, replayed, run, session, sped

from pytest_metalperf.history.trend import Change, History, Point
from pytest_metalperf.report import document, html
from pytest_metalperf.report.page import charts, views, write
from pytest_metalperf.report.page.past import chart_of
from pytest_metalperf.report.page.row import age_of
from pytest_metalperf.report.page.rows import rows, session_names

TODAY = datetime.date(2026, 11, 28)
RUNTIME = "window.vegaEmbed = () => {};"
NASTY = "</script><!--<img src=x onerror=alert(1)>'\"\u202e\x1b[31m\U0001f600" + "long " * 60


def page(*sessions: document.Document) -> str:
    return write.page(sessions, RUNTIME, TODAY)


def test_rows_stand_in_the_order_in_which_somebody_has_to_act():
    memory = document.Metric(
        name="memory", unit="B", tolerance=0.05, verdict="more", worse=True, now=2e9, baseline=1e9, change=1.0
    )
    found = rows(
        [
            session(
                [
                    measured("fine"),
                    measured("odd", "inconclusive", 0.2),
                    measured("a little", "slower", 0.07),
                    measured("much", "slower", 0.4, metrics=[memory]),
                    measured("broken", "", None, error="it broke\nwith more", runs=[]),
                    replayed("heated", "machine", 0.0),
                ],
                not_measured=[document.NotMeasured(nodeid="t.py::t[gpu]", how="skipped", reason="no GPU")],
            )
        ],
        TODAY,
    )
    assert [one.label for one in found] == [
        "much",
        "a little",
        "much: memory",
        "broken",
        "heated",
        "odd",
        "fine",
        "t.py::t[gpu]",
    ]
    assert [one.tone for one in found][:6] == ["worse", "worse", "worse", "worse", "machine", "inconclusive"]
    assert found[2].now, found[2].baseline == ("2.000 GB", "1.000 GB")
    assert found[3].reason == "it broke"
    assert ("error", "it broke\nwith more") in found[3].facts
    assert found[-1].reason == "no GPU"


def test_figures_of_a_row_are_those_of_the_file():
    (one,) = rows([session([measured("ranker", "slower", 0.2, 0.05)])], TODAY)
    assert (one.now, one.baseline, one.change, one.visible) == (
        "0.1200 s",
        "0.1000 s",
        "+20.0 % (+15.0 % to +25.0 %)",
        "12.5 %",
    )
    assert one.figures == pytest.approx({"change": 0.2, "low": 0.15, "high": 0.25, "tolerance": 0.05, "visible": 0.125})
    assert one.weight == pytest.approx(0.2 / 0.125)
    facts = dict(one.facts)
    assert facts["baseline"].startswith("0.1000 s/batch, 6 runs of 3 sessions, last 2026-11-12")
    assert facts["age of the baseline"] == "16 days"
    assert facts["anchor"] == "0.09700 s/batch, first accepted 2026-10-01 at aaaaaaaaaa; +23.0 % since"
    assert facts["costs"] == "266.7 examples/s, 1.4 GB at its peak"
    assert one.commands == [
        ("repeat it", 'pytest "tests/test_ranker.py::test_it[cpu]"'),
        ("accept it", 'pytest "tests/test_ranker.py::test_it[cpu]" --metal-update-baselines'),
    ]


def test_a_slower_row_names_the_command_that_finds_the_commit():
    command = 'pytest "t.py::t[cpu]" --metal-batches 5'
    commands = document.Commands(repeat=command, compare=f"{command} --metal-against=0000000000")
    (one,) = rows([session([measured("ranker", "slower", 0.2, commands=commands)])], TODAY)
    said = dict(one.commands)["find the commit that did it"]
    assert said == 'python -m pytest_metalperf bisect 0000000000 bbbbbbbbbb -- "t.py::t[cpu]" --metal-batches 5'
    (fine,) = rows([session([measured("ranker", "within", 0.0, commands=commands)])], TODAY)
    assert "find the commit that did it" not in dict(fine.commands)


def test_a_recorded_workload_has_no_change():
    (one,) = rows([session([measured("ranker", "recorded", None, judgement=judgement("within", 0.1))])], TODAY)
    assert (one.now, one.change, one.figures) == ("0.1000 s", "-", {})
    assert math.isnan(one.weight)


def test_a_replay_shows_its_pairs_as_the_gate_sees_them():
    now, then = run(0.12, samples=40), run(0.1, samples=40)
    reference = document.Reference(name="its baseline", runs=[then])
    (one,) = rows([session([replayed(runs=[now], reference=reference)])], TODAY)
    (pairs,) = [chart for chart in one.charts if chart.kind == "pairs"]
    (pair,) = pairs.data["pairs"]
    assert pair["change"] == pytest.approx(0.2, abs=0.02)
    assert pairs.data["change"] == [pytest.approx({"low": 0.09, "high": 0.15, "change": 0.12, "tolerance": 0.05})]
    facts = dict(one.facts)
    assert facts["differs"] == "code; keras 3.14.0 -> 3.15.1"
    assert facts["by stored figures"] == "slower, +45.0 % (+25.0 % to +65.0 %)"


def test_whole_runs_in_turn_are_compared_as_wholes():
    now, then = run(0.12), run(0.1)
    reference = document.Reference(name="its baseline", runs=[then], apart="both do not fit")
    (one,) = rows([session([replayed(runs=[now], reference=reference)])], TODAY)
    (pairs,) = [chart for chart in one.charts if chart.kind == "pairs"]
    assert pairs.data["pairs"] == [
        {"pair": 1, "change": pytest.approx(now.seconds_per_batch / then.seconds_per_batch - 1)}
    ]


def test_a_speedup_that_shrank_is_to_the_right():
    (one,) = rows([session([sped()])], TODAY)
    assert one.now == "3x (2.8 to 3.2)"
    assert one.baseline == "4x"
    assert one.change.startswith("-25.0 % (")
    assert one.figures["change"] == pytest.approx(1 / 3)
    assert dict(one.facts)["promised"] == "4; not kept"
    assert [chart.kind for chart in one.charts] == ["ratios", "steps+warm-up", "steps+warm-up"]
    assert one.charts[1].at == {"runs": "/0/results/0/pairs/*/of"}


def test_a_sustained_run_has_its_own_change():
    long = document.Sustained(first=0.1, last=0.121, ratio=1.21, low=1.1, high=1.3, stretch=60.0)
    (one,) = rows(
        [session([measured(sustained=long, verdict="slower", asked=asked(sustained=300.0, sustained_tolerance=0.1))])],
        TODAY,
    )
    assert (one.now, one.baseline, one.change) == ("0.1210 s", "0.1000 s", "+21.0 % (+10.0 % to +30.0 %)")
    assert one.figures["tolerance"] == 0.1


def test_links_are_the_same_in_every_session_and_two_of_one_are_told_apart():
    first, second = (rows([session([measured("a", "within", change), measured("b")])], TODAY) for change in (0.0, 0.02))
    assert {one.key for one in first} == {one.key for one in second}
    twice = rows([session([measured("a"), measured("a")])], TODAY)
    assert len({one.key for one in twice}) == 2


def test_sessions_are_told_apart_by_the_shortest_name():
    one, other = session(machine="m1"), session(machine="m2")
    assert session_names([one]) == [""]
    assert session_names([one, other]) == ["m1", "m2"]
    assert session_names([one, one]) == ["session 1 at bbbbbbbbbb", "session 2 at bbbbbbbbbb"]


def test_the_age_of_a_baseline():
    assert age_of(entry(), TODAY) == 16
    assert age_of(entry(), datetime.date(2026, 1, 1)) == 0  # a clock that went back
    edited = entry(sessions=1, runs=1)
    assert (
        age_of(
            document.msgspec.structs.replace(
                edited, runs=[document.msgspec.structs.replace(edited.runs[0], recorded="soon")]
            ),
            TODAY,
        )
        is None
    )


def test_the_opening_picture_has_what_changed_and_says_what_it_leaves_out():
    found = rows(
        [session([measured(f"net{i}", "within", i / 1000) for i in range(5)] + [measured("new", "recorded", None)])],
        TODAY,
    )
    picture, left = views.opening(found, 3)
    assert [one["name"] for one in picture.data["rows"]] == ["net4 cpu", "net3 cpu", "net2 cpu"]
    assert left == 2
    assert picture.data["rows"][0]["from"] == -0.05
    assert views.opening([], 3) == (None, 0)


def test_devices_and_machines_stand_side_by_side():
    both = [measured("net", seconds=0.4), measured("net", seconds=0.1, device="gpu"), measured("other")]
    (panel,) = views.side_by_side([session(both)])
    assert [(one["variant"], one["seconds"]) for one in panel.chart.data["bars"]] == [("gpu", 0.1), ("cpu", 0.4)]
    two = views.side_by_side([session(both[:1], machine="m1"), session(both[:1], machine="m2")])
    assert [one["variant"] for one in two[0].chart.data["bars"]] == ["cpu, m1", "cpu, m2"]
    assert views.side_by_side([session([measured("net"), measured("net")])]) == []


def test_a_bar_says_that_parity_was_checked():
    (panel,) = views.side_by_side([session([measured("net"), measured("net", seconds=0.02, device="gpu"), sped()])])
    assert [one["text"] for one in panel.chart.data["bars"]] == ["0.02000 s, computes the same", "0.1000 s"]


def test_batch_sizes_have_a_knee_and_one_that_does_not_fit():
    speeds = {32: 300.0, 64: 450.0, 128: 520.0, 256: 530.0}
    found = [
        measured("net", "recorded", None, axes={"batch_size": size}, examples_per_second=speed)
        for size, speed in speeds.items()
    ]
    lost = measured(
        "net", "", None, axes={"batch_size": 512}, error="ran out of memory", runs=[], examples_per_second=None
    )
    (panel,) = views.sweeps([session([*found, lost])])
    assert [one["state"] for one in panel.chart.data["sizes"]] == ["fits", "fits", "knee", "best", "did not fit"]
    assert panel.chart.said == (
        "Most examples a second at 256: 530. The knee is at 128: larger batches bring less than 5.0 % more. No longer fits: 512."
    )
    assert views.sweeps([session(found[:2])]) == []


def test_names_of_all_kinds_are_text_in_the_page():
    broken = measured("net", "", None, error=NASTY, runs=[], commands=document.Commands(repeat=NASTY))
    named = measured("net", axes={"size": NASTY})
    text = page(session([broken, named], machine=NASTY, unavailable={NASTY: NASTY}))
    outside = re.sub(r"<script[ >].*?</script>", "", text, flags=re.DOTALL)
    assert "<img" not in text
    assert "onerror=alert(1)&gt;" in outside
    assert "\u202e" not in outside
    assert "\x1b" not in text
    assert text.count("<script") == text.count("</script>") == 5
    found = document.parse(re.search(r'id="file-0">(.*?)</script>', text, re.DOTALL)[1].encode(), "inside")
    assert found.machine.id == NASTY


def test_every_picture_of_a_page_has_its_specification_and_its_data():
    both = [measured("net", seconds=0.4), measured("net", seconds=0.1, device="gpu"), replayed("ranker")]
    text = page(session(both))
    drawn = json.loads(re.search(r'id="drawn">(.*?)</script>', text, re.DOTALL)[1])
    specifications = json.loads(re.search(r'id="specifications">(.*?)</script>', text, re.DOTALL)[1])
    assert {one["kind"] for one in drawn} == specifications.keys()
    assert "steps+warm-up+clock+power+temperature+busy" in specifications
    for one in drawn:
        wanted = set(re.findall(r'"data": \{"name": "(\w+)"\}', json.dumps(specifications[one["kind"]])))
        assert wanted == {*one["at"], *one["data"]}, one["kind"]
    numbers = [int(number) for number in re.findall(r'data-chart="(\d+)"', text)]
    assert sorted(numbers) == list(range(len(drawn)))


def test_a_picture_names_the_counters_that_its_trace_knows():
    trace = [[0.0, None, 30.0, None, None]]
    (one,) = rows([session([measured(runs=[run(trace=trace, warm_up=[])])])], TODAY)
    assert one.charts[-1].kind == charts.steps(["power"], warm_up=False) == "steps+power"


def test_the_policy_of_the_page_lets_nothing_out_and_runs_its_own_scripts_alone():
    text = page(session([measured()]))
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in re.search("script-src (.*?);", policy)[1]
    assert policy.count("sha256-") == 2
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", text)


def test_the_runtime_defines_what_the_page_calls():
    script = html.runtime()
    assert "window.vegaEmbed" in script
    assert len(script) > 500_000
    assert "</script" not in script


def test_the_runtime_is_put_together_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTEST_METALPERF_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr(html, "_put_together", lambda: made.append(1) or "window.vegaEmbed=1")
    assert html.runtime() == html.runtime() == "window.vegaEmbed=1"
    assert made == [1]
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("cut off")
    assert html.runtime() == "window.vegaEmbed=1"
    assert made == [1, 1]
    (tmp_path / "cache").chmod(0o777)  # others could have put it there
    html.runtime()
    assert made == [1, 1, 1]


def test_a_page_says_what_its_session_lacks():
    found = session(
        [], session=document.Session(id="s", started="", written="", state="running", plugin="1"), gate=None
    )
    assert "This session was killed, or still runs" in page(found)
    assert "Nothing was measured in this session." in page(found)


def test_what_the_gate_cost():
    cost = document.Cost(
        seconds=700.0, runs=12, pairs=1, waited_for_others=30.0, waited_for=["another"], budget_spent=60.0
    )
    found = dict(
        views.costs(session([measured()], cost=cost, options=document.Options(metal="on", budget=120.0)), TODAY)
    )
    assert found == {
        "took": "12 min",
        "runs": "12 fresh runs and 1 fresh pair",
        "waited for other measurements": "30 s (another)",
        "budget": "60 s of 2.0 min were spent".replace("2.0 min", "2.0 min"),
        "false alarms": "at most 0.1 % of unchanged workloads, 10 % of those that change by just what is allowed",
        "power": "a slowdown as large as visible is found in 90.0 % of sessions",
        "age of baselines": "16 to 16 days, the median 16",
    }


def known(points: int, changes: list) -> History:
    made = [
        Point(
            started=f"2026-{1 + number // 28:02}-{1 + number % 28:02}T08:00:00Z",
            commit=f"{number:040x}",
            clean=True,
            sessions=[str(number)],
            hour=str(number),
            runs=3,
            seconds=0.1,
            low=0.09,
            high=0.11,
            versions={},
            os="",
            work={},
            conditions=[],
        )
        for number in range(points)
    ]
    return History(
        machine="m", workload="w", points=made, changes=changes, runs=3 * points, sessions=points, left_out={}
    )


def test_a_row_shows_its_history_and_where_it_changed():
    change = Change(before=3, after=6, likely=4, change=0.2, change_low=0.15, change_high=0.25, differs=["code"])
    found = session([measured("net"), measured("new")])
    past = {(found.machine.id, "net@cpu:tensorflow"): known(250, [change, dataclasses.replace(change, likely=249)])}
    first, other = rows([found], TODAY, past)
    (chart,) = [one for one in first.charts if one.kind == "history"]
    assert len(chart.data["points"]) == 200
    assert chart.data["points"][-1]["commit"] == f"{249:040x}"[:10]
    assert [one["text"] for one in chart.data["changes"]] == ["+20.0 %"]  # the other lies before what is shown
    said = dict(first.facts)["history"].splitlines()
    assert said[0] == "+20.0 % (+15.0 % to +25.0 %) between 0000000000 (2026-01-04) and 0000000000 (2026-01-07): code"
    assert len(said) == 2
    assert "history" not in {one.kind for one in other.charts}
    assert chart_of(known(1, [])) is None


def leaves(tree: object, at: tuple = ()) -> list[tuple]:
    if isinstance(tree, dict):
        return [leaf for key, one in tree.items() for leaf in leaves(one, (*at, key))]
    if isinstance(tree, list):
        return [
            leaf
            for number, one in enumerate(tree if len(tree) < 8 else tree[:2])
            for leaf in leaves(one, (*at, number))
        ]
    return [at]


def changed(tree: object, at: tuple, value: object) -> object:
    if not at:
        return value
    key, *rest = at
    if isinstance(tree, dict):
        return {**tree, key: changed(tree[key], tuple(rest), value)}
    return [changed(one, tuple(rest), value) if number == key else one for number, one in enumerate(tree)]


PEAK = {"peak_flop_per_second": 4e12, "peak_arithmetic": "float32 (TF32 allowed)", "share_of_peak": 0.25}


def test_the_share_of_the_peak_is_a_column_where_one_is_known():
    known, other = measured("encoder", **PEAK), measured("ranker", no_share_of_peak="the FLOP of its step are unknown")
    first, second = rows([session([known, other])], TODAY)
    assert (first.of_peak, second.of_peak) == ("25.0 %", "-")
    assert dict(first.facts)["share of the peak"] == (
        "25.0 % of 4.000 TFLOP/s, the rate of a large product in float32 (TF32 allowed) here"
    )
    assert dict(second.facts)["share of the peak"] == "the FLOP of its step are unknown"
    assert "share of the peak" not in dict(rows([session([measured()])], TODAY)[0].facts)  # what an older version wrote
    broken = measured("encoder", error="it broke", **PEAK)
    assert rows([session([broken])], TODAY)[0].share is None


def whole_session() -> dict:
    """One session in which everything is known."""
    memory = document.Metric(
        name="memory", unit="B", tolerance=0.05, verdict="more", worse=True, now=2e9, now_low=1e9, now_high=3e9,
        baseline=1e9, change=1.0, change_low=0.9, change_high=1.1, visible=0.1, runs=3, reason="x",
    )  # fmt: skip
    both = sped(of_peak_memory_bytes=1e9, of_joules=2.0)
    long = document.Sustained(first=0.1, last=0.121, ratio=1.21, low=1.1, high=1.3, stretch=60.0)
    sizes = [measured("net", "recorded", None, axes={"batch_size": size}, nodeid=str(size)) for size in (32, 64, 128)]
    found = session(
        [
            replayed(metrics=[memory], joules_per_batch=2.0, flop_per_second=1e12, **PEAK),
            measured(no_share_of_peak="x"),
            measured(sustained=long),
            both,
            *sizes,
        ],
        not_measured=[document.NotMeasured(nodeid="t", how="skipped", reason="r")],
        cost=document.Cost(
            seconds=1.0, runs=1, pairs=1, waited_for_others=2.0, waited_for=["x"], waited_for_slow_minutes=3.0
        ),
        options=document.Options(metal="on", budget=60.0),
    )
    return json.loads(document.encoded(found))


@pytest.mark.parametrize("value", [0, -1, 1e-300, -1e300, 1e300, 2**63 - 1, "", NASTY, None, True])
def test_no_value_that_a_file_may_hold_ends_a_page_by_a_traceback(value):
    tree, tried = whole_session(), 0
    for at in leaves(tree):
        try:
            found = document.parse(json.dumps(changed(tree, at, value)).encode(), "changed")
        except document.DocumentError:
            continue
        tried += 1
        try:
            drawn = rows([found], TODAY)
            kept = views.title(drawn), views.opening(drawn, 40), views.costs(found, TODAY), views.session_facts(found)
            document.encoded([[chart.data for one in drawn for chart in one.charts], kept and None])
            views.side_by_side([found, found]), views.sweeps([found])
        except Exception as error:
            raise AssertionError(f"{at} = {value!r}") from error
    assert tried > 3
