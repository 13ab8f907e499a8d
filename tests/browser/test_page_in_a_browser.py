"""The page in a browser: what is drawn, what opens and sorts by keyboard, and that nothing leaves it.

Needs Playwright and a Chromium: Debian's `chromium`, or Chrome; without one they are skipped.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import browsers
import drawing  # noqa: F401
import pytest
from made_sessions import measured, replayed, session

from pytest_metalperf.report import document, html
from pytest_metalperf.report.page.write import page

pytestmark = pytest.mark.browser
TODAY = datetime.date(2026, 11, 28)
NASTY = "<img src=x onerror=window.broken=1>"


@pytest.fixture(scope="module")
def browser():
    found = browsers.chromium()
    if found is None:
        pytest.skip("no Chromium: apt install chromium")
    from playwright.sync_api import sync_playwright  # after the mark: it may be missing

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def runtime():
    return html.runtime()


@pytest.fixture
def opened(browser, runtime, tmp_path):
    """Opens a page of sessions; when the test ends, it must have asked for nothing and said nothing."""
    said: list[str] = []
    contexts = []

    def _open(*sessions: document.Document, width: int = 1100, scheme: str = "light", at: str = ""):
        path = tmp_path / "page.html"
        path.write_text(page(sessions, runtime, TODAY), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        shown = context.new_page()
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("request", lambda asked: said.append(asked.url) if asked.url != path.as_uri() else None)
        shown.goto(path.as_uri() + at)
        return shown

    yield _open
    for context in contexts:
        context.close()
    assert [one for one in said if not one.startswith(("blob:", "file:"))] == []


def labels(shown) -> list[str]:
    return shown.locator("tbody:visible .name").all_inner_texts()


def test_rows_are_sorted_by_their_share_of_the_peak(opened):
    def of(name: str, share: float | None) -> document.Measurement:
        known = {} if share is None else {"peak_flop_per_second": 1e12, "peak_arithmetic": "float32"}
        return measured(name, share_of_peak=share, **known)

    shown = opened(session([of("some", 0.1), of("none", None), of("most", 0.9)]))
    button = shown.get_by_role("button", name="of peak")
    button.click()
    assert labels(shown) == ["some", "most", "none"]
    button.click()
    assert labels(shown) == ["most", "some", "none"]  # what is not known stands last, both ways
    assert shown.locator("td.c7").all_inner_texts() == ["90.0 %", "10.0 %", "-"]


def one_of_each() -> document.Document:
    return session(
        [measured("encoder", "within", 0.01), replayed("ranker"), measured("decoder", "inconclusive", 0.1, 0.2)],
        not_measured=[document.NotMeasured(nodeid="t.py::t[gpu]", how="skipped", reason="no GPU")],
    )


def test_the_opening_picture_is_drawn_and_leads_to_its_rows(opened):
    shown = opened(one_of_each())
    picture = shown.locator("#changes .chart")
    picture.locator("svg").wait_for()
    assert picture.locator("text").filter(has_text="ranker cpu").count() == 1
    picture.locator("svg path[aria-roledescription='point']").first.click()
    assert shown.locator("tr.more:visible").count() == 1
    assert "#row-" in shown.url


def test_a_row_opens_by_keyboard_and_draws_its_pictures(opened):
    shown = opened(one_of_each())
    assert shown.locator("tr.more:visible").count() == 0
    shown.locator(".opens").first.focus()
    shown.keyboard.press("Enter")
    row = shown.locator("tr.more:visible")
    assert row.count() == 1
    assert shown.locator(".opens").first.get_attribute("aria-expanded") == "true"
    for number in range(row.locator(".chart").count()):
        row.locator(".chart").nth(number).scroll_into_view_if_needed()
        row.locator(".chart svg").nth(number).wait_for()
    assert row.locator(".chart svg").count() == 4
    assert row.locator("text").filter(has_text="clock, MHz").count() == 1
    shown.locator(".opens").first.focus()
    shown.keyboard.press("Space")
    assert shown.locator("tr.more:visible").count() == 0


def test_rows_are_sorted_by_keyboard_and_what_is_unknown_stands_last(opened):
    shown = opened(one_of_each())
    assert labels(shown) == ["ranker", "decoder", "encoder", "t.py::t[gpu]"]
    button = shown.locator("thead button", has_text="workload")
    button.focus()
    shown.keyboard.press("Enter")
    assert labels(shown) == ["decoder", "encoder", "ranker", "t.py::t[gpu]"]
    assert shown.locator("th.c2[aria-sort]").get_attribute("aria-sort") == "ascending"
    change = shown.locator("thead button", has_text="change")
    change.focus()
    shown.keyboard.press("Enter")
    assert labels(shown) == ["encoder", "decoder", "ranker", "t.py::t[gpu]"]
    shown.keyboard.press("Enter")
    assert labels(shown) == ["ranker", "decoder", "encoder", "t.py::t[gpu]"]
    assert shown.locator("thead [aria-sort=descending]").count() == 1


def test_a_filter_leaves_what_it_names(opened):
    shown = opened(one_of_each())
    shown.locator("#filter").fill("SKIPPED")
    assert labels(shown) == ["t.py::t[gpu]"]
    assert shown.locator("#shown").inner_text() == "1 shown"


def test_a_link_opens_its_row(opened):
    shown = opened(one_of_each())
    key = shown.locator("tbody").nth(1).get_attribute("id")
    again = opened(one_of_each(), at=f"#{key}")
    assert again.locator(f"#{key}-more").is_visible()


@pytest.mark.parametrize("name", [NASTY, "'\"><script>window.broken=1</script>", "n\u202eame\n2", "\U0001f600" * 150])
def test_names_are_text(opened, name):
    named = measured("net", "slower", 0.2, axes={"size": name}, commands=document.Commands(repeat=name))
    broken = measured("other", "", None, error=name, runs=[])
    shown = opened(session([named, broken], machine=name), session([named], machine=f"{name}2"))
    shown.locator("#changes svg").wait_for()
    shown.locator("#changes svg path[aria-roledescription='point']").first.hover(force=True)
    for button in shown.locator(".opens").all():
        button.click()
    shown.wait_for_function("document.querySelectorAll('tr.more .chart svg').length > 0")
    assert shown.evaluate("window.broken") is None
    assert shown.locator("img").count() == 0


def test_the_json_inside_is_handed_out_whole(opened, tmp_path):
    found = session([measured("net", axes={"size": NASTY})])
    shown = opened(found)
    with shown.expect_download() as download:
        shown.locator("[data-download]").click()
    assert json.loads(Path(download.value.path()).read_bytes()) == json.loads(document.encoded(found))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_telephone(opened, scheme):
    shown = opened(one_of_each(), width=390, scheme=scheme)
    shown.locator(".opens").first.click()
    shown.locator("tr.more .chart").first.scroll_into_view_if_needed()
    shown.locator("tr.more .chart svg").first.wait_for()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")


def test_machines_and_batch_sizes_are_drawn(opened):
    sizes = [measured("net", "recorded", None, axes={"batch_size": size}) for size in (32, 64, 128)]
    shown = opened(session(sizes, machine="m1"), session(sizes, machine="m2"))
    for place in shown.locator("#side-by-side .chart, #batch-sizes .chart").all():
        place.scroll_into_view_if_needed()
        place.locator("svg").wait_for()
    assert shown.locator("#side-by-side .chart svg").count() == 3


def test_an_empty_session_has_a_page(opened):
    shown = opened(session([], gate=None))
    assert shown.locator("#results").inner_text().endswith("Nothing was measured in this session.")
