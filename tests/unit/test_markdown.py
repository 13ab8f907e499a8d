"""Markdown of names and reasons that others choose: text, never markup; and no more of it than there is room for."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_metalperf.report import markdown
from pytest_metalperf.report.markdown import LONGEST, Page, code, fitting, one_line

RENDERER = MarkdownIt("commonmark").enable("table")
NASTY = st.text(alphabet=st.sampled_from("`|\\<>*_&~[]()!#@$: \nax\u202e🚀\t\x1b\ud800"), max_size=60) | st.text(
    max_size=60
)


def inline(text: str) -> list[tuple[str, str]]:
    """Every piece that is no block, by its kind and its text."""
    found = []
    for token in RENDERER.parse(text):
        assert token.type not in ("html_block", "fence", "code_block"), token
        found += [(child.type, child.content) for child in token.children or []]
    return found


@given(NASTY)
@example("a\\|b")
@example("`|`")
@example("``` x")
@example("<img src=x onerror=alert(1)>")
def test_a_name_in_a_cell_is_one_piece_of_code(text):
    shown = one_line(text)
    head = markdown._line(["verdict", "workload"])
    row = markdown._line(["within", code(text).replace("|", "\\|")])
    pieces = inline("\n".join([head, "| --- | --- |", row]))
    assert pieces == [
        ("text", "verdict"),
        ("text", "workload"),
        ("text", "within"),
        *([("code_inline", shown)] if shown else []),
    ]


@given(NASTY, NASTY)
def test_reasons_and_names_of_a_line_stay_apart(reason, name):
    pieces = [content for kind, content in inline(f"- skipped {code(name)}: {code(reason)}") if kind == "code_inline"]
    assert pieces == [shown for shown in (one_line(name), one_line(reason)) if shown]


@given(NASTY)
def test_a_command_is_kept_to_the_byte_in_a_block_of_its_own(text):
    (token,) = RENDERER.parse(markdown._fenced([f"repeat it with  {text}"]))
    assert token.type == "fence"
    assert token.content == f"repeat it with  {text}\n".replace("\x00", "\ufffd").replace("\r\n", "\n").replace(
        "\r", "\n"
    )


def test_emoji_that_are_joined_stay_joined_and_what_turns_text_around_goes():
    assert code("👩\u200d🔬 \u202eabc\n") == "` 👩\u200d🔬 \ufffdabc  `"
    assert code("") == ""


def test_a_name_of_300_characters_is_whole_and_one_of_a_million_is_not():
    assert code("n" * 300) == f"`{'n' * 300}`"
    assert len(code("n" * 1_000_000)) == LONGEST + 3


def many(count: int) -> Page:
    return Page(
        "### Training performance: many slower",
        ["| verdict | workload |", "| --- | --- |"],
        [f"| **slower** | `{number} {'n' * 300}` |" for number in range(count)],
        [f"- skipped `{number}`: `no GPU`" for number in range(count // 2)],
        [f"slower: `{number}`\n\n```\nrepeat it with  pytest {number}\n```" for number in range(count)],
    )


@pytest.mark.parametrize("room", [0, 30, 500, 5_000, 100_000, 1024 * 1024])
def test_the_worst_that_there_is_room_for_is_shown_and_the_rest_counted(room):
    page = many(20_000)
    text = fitting(page, room)
    assert len(text.encode()) <= room
    if room <= 30:
        assert text == ""
        return
    shown = text.count("| **slower** |")
    assert f"{20_000 - shown} rows left out: there is no room for more." in text
    assert "10000 reasons left out" in text or "- skipped `0`" in text
    assert shown == 0 or page.rows[shown - 1] in text
    assert room < 5_000 or len(page.text(shown + 1).encode()) > room  # and no more would have fitted


def test_a_page_that_fits_has_all_of_it():
    page = many(3)
    assert fitting(page, len(page.text().encode())) == page.text()
    assert "left out" not in page.text()
