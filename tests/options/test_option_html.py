"""`--metal-html`: what a session measured, as a page."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import drawing  # noqa: F401
import pytest

from pytest_metalperf.report import document, html

TWO = """
def test_a(metal_bench):
    metal_bench("fake-model", name="a")
def test_b(metal_bench):
    metal_bench("fake-model", name="b")
"""


def page(suite, name: str = "out.html") -> str:
    return (suite.pytester.path / name).read_text(encoding="utf-8")


def file_in(text: str, number: int = 0) -> document.Document:
    """The session that a page holds for download."""
    (found,) = re.findall(rf'<script type="application/json" id="file-{number}">(.*?)</script>', text, re.DOTALL)
    return document.parse(found.encode(), "the page")


def test_a_slower_workload_stands_first_with_its_figures(suite):
    suite.write(TWO)
    suite.run("--metal-update-baselines", "-k", "test_b")
    suite.set(seconds=0.2)
    suite.run("--metal-html=out.html", "--metal-json=out.json", "--metal-confirm=stored")
    text = page(suite)
    assert '<p class="counts">1 slower, 1 no baseline</p>' in text
    assert re.findall(r'<span class="verdict">(.*?)</span>', text) == ["slower", "no baseline"]
    assert "--metal-update-baselines</pre>" in text
    (now,) = {row.seconds_per_batch for row in file_in(text).results if row.verdict == "slower"}
    assert now == pytest.approx(0.2, rel=0.05)
    written = json.loads((suite.pytester.path / "out.json").read_bytes())
    assert written["results"] == json.loads(document.encoded(file_in(text)))["results"]


def test_the_page_is_in_its_place_and_no_command_repeats_it(suite, monkeypatch):
    monkeypatch.chdir(suite.pytester.mkdir("inside"))
    suite.run("..", "--metal-html=new/out.html")
    assert "--metal-html" not in page(suite, "inside/new/out.html")
    assert [path.name for path in (suite.pytester.path / "inside" / "new").iterdir()] == ["out.html"]


@pytest.mark.parametrize("at", ["folder", "taken/out.html", "pipe"])
def test_a_page_that_cannot_be_written_is_found_before_anything_is_measured(suite, at):
    suite.pytester.mkdir("folder")
    (suite.pytester.path / "taken").write_text("")
    os.mkfifo(suite.pytester.path / "pipe")
    result = suite.run(f"--metal-html={at}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-html: * cannot be written: *; name another file"])
    assert suite.trained() == []


def test_without_what_draws_it_a_sentence_names_the_extra(suite, monkeypatch):
    monkeypatch.setattr(html, "NEEDS", ("no_such_package",))
    result = suite.run("--metal-html=out.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --metal-html: *pip install 'pytest-metalperf[[]report]'"])
    assert suite.trained() == []


def test_a_session_that_is_killed_leaves_a_page_that_says_so(suite):
    (suite.pytester.path / "out.html").write_text("of another session")
    suite.write(
        "import os\ndef test_a(metal_bench):\n    print(open('out.html').read())\n    metal_bench('fake-model')\n    assert 0"
    )
    suite.run("--metal-html=out.html").stdout.fnmatch_lines(["*This session has not ended, or was killed*"])


def test_a_session_that_ends_early_has_what_it_measured(suite):
    suite.write(TWO.replace("def test_b", "def test_stop():\n    import pytest\n    pytest.exit('enough')\ndef test_b"))
    suite.run("--metal-html=out.html")
    text = page(suite)
    assert "This session ended before all its tests had run." in text
    assert [row.workload.name for row in file_in(text).results] == ["a"]


def test_a_disk_that_becomes_full_is_told_and_fails_no_test(suite, monkeypatch):
    puts = []

    def put(path, data, **how):
        puts.append(data)
        if len(puts) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(html, "put", put)
    result = suite.run("--metal-html=out.html")
    result.stdout.fnmatch_lines(["--metal-html: *out.html cannot be written: No space left on device"])
    assert result.ret == 0


def test_names_of_all_kinds_are_text(suite):
    suite.write(
        "def test_it(metal_bench):\n    metal_bench('fake-model', name='a</script><img src=x onerror=alert(1)>\U0001f600')\n"
    )
    suite.run("--metal-html=out.html")
    text = page(suite)
    assert "<img src=x" not in text
    assert "</script><img" not in text
    assert "onerror=alert(1)&gt;\U0001f600" in text


def test_a_session_without_tests_of_ours_has_an_empty_page(suite):
    suite.write("def test_plain(): pass\n")
    suite.run("--metal-html=out.html").assert_outcomes(passed=1)
    assert "Nothing was measured in this session." in page(suite)


def test_a_page_beside_a_history_shows_the_past_and_this_session(suite):
    for _ in range(2):
        suite.run("--metal-history=past.db", "--metal-html=out.html")
    (drawn,) = re.findall(r'<script type="application/json" id="drawn">(.*?)</script>', page(suite), re.DOTALL)
    (chart,) = [one for one in json.loads(drawn) if one["kind"] == "history"]
    assert len(chart["data"]["points"]) == 2


@pytest.mark.parametrize("arguments", [("--collect-only",), ("--metal-plan",)])
def test_what_measures_nothing_leaves_the_page_as_it_is(suite, arguments):
    Path(suite.pytester.path / "out.html").write_text("before")
    suite.run("--metal-html=out.html", *arguments)
    assert page(suite) == "before"


def test_nothing_that_draws_is_loaded_before_it_is_asked_for(suite):
    suite.pytester.makeconftest(
        suite.pytester.path.joinpath("conftest.py").read_text() + "\nimport sys\ndef pytest_unconfigure():\n"
        "    print('loaded', [name for name in sys.modules if name.split('.')[0] in ('altair', 'jinja2', 'vl_convert')])\n"
    )
    result = suite.pytester.runpytest_subprocess("--metal-json=out.json")
    result.stdout.fnmatch_lines(["*loaded []*"])
