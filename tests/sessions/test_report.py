"""`python -m pytest_metalperf report`: files of --metal-json as one page."""

from __future__ import annotations

import drawing  # noqa: F401
import pytest
from made_sessions import measured, session

from pytest_metalperf.__main__ import main
from pytest_metalperf.report import document, html


def test_several_sessions_become_one_page(tmp_path, capsys):
    for number in (1, 2):
        found = session([measured("net", seconds=0.1 * number)], machine=f"machine-{number}")
        (tmp_path / f"{number}.json").write_bytes(document.encoded(found))
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(tmp_path / "1.json"), str(tmp_path / "2.json"), "--html", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 2 sessions, 1 MB\n"
    text = out.read_text()
    assert text.count('class="session">machine-') == 2
    assert "Side by side" in text


def test_a_history_that_is_none_is_one_sentence_and_no_page(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(document.encoded(session([measured()])))
    (tmp_path / "past.db").write_text("no database")
    arguments = [str(tmp_path / "a.json"), "--html", str(tmp_path / "p.html"), "--history", str(tmp_path / "past.db")]
    assert main(["report", *arguments]) == 2
    assert "past.db" in capsys.readouterr().err
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "is no file of --metal-json: it has no version"),
        (b'{"version": 99}', "is of version 99, and this pytest-metalperf reads version 1"),
        (b"{", "is damaged"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_none_is_one_sentence_and_no_page(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "page.html").write_text("before")
    assert main(["report", str(tmp_path / "a.json"), "--html", str(tmp_path / "page.html")]) == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "before"


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(document.encoded(session()))
    assert main(["report", str(tmp_path / "a.json"), "--html", str(tmp_path)]) == 2
    assert "cannot be written: it is no regular file; name another file" in capsys.readouterr().err


def test_without_what_draws_it_a_sentence_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(html, "NEEDS", ("no_such_package",))
    assert main(["report", str(tmp_path / "a.json"), "--html", str(tmp_path / "p.html")]) == 2
    assert "pip install 'pytest-metalperf[report]'" in capsys.readouterr().err
