"""The share of the peak from the worker to the terminal, the file and the page, with the fake backend."""

from __future__ import annotations

import json

import pytest

from pytest_metalperf.report import document

WORK = {"operations": {"Mul": 3}, "flop": 4e9, "arithmetic": ["float32"]}
"""In 0.1 s a batch: 40 GFLOP/s."""


@pytest.fixture
def trained(suite):
    """A suite of one test; `trained(…)` runs it with these wishes and gives the result and the file's row."""
    suite.write("def test_it(metal_bench): metal_bench('fake-model')")

    def run(*options, **wishes):
        suite.set(jitter=0.0, **{"work": WORK, "products": {"float32": 1e11}, **wishes})
        result = suite.run("--metal-json=out.json", *options)
        (row,) = json.loads((suite.pytester.path / "out.json").read_text())["results"]
        return result, row

    return run


def test_it_is_a_column_and_in_the_file(trained, suite):
    result, row = trained("--metal-update-baselines")
    result.stdout.fnmatch_lines(["workload * now  of peak  baseline *", "fake-model* s   40.0 %  *  recorded"])
    assert row["flop_per_second"] == pytest.approx(4e10)
    assert row["peak_flop_per_second"] == pytest.approx(1e11)
    assert row["peak_arithmetic"] == "float32"
    assert row["share_of_peak"] == pytest.approx(0.4)
    assert "no_share_of_peak" not in row
    assert "arithmetic" not in row["work"]
    assert "arithmetic" not in json.dumps(suite.stored)  # a baseline keeps what no clock has measured
    assert "product" not in json.dumps(suite.stored)
    result, row = trained()  # gated, and as large
    result.stdout.fnmatch_lines(["fake-model* s   40.0 % * within"])
    assert row["share_of_peak"] == pytest.approx(0.4)


def test_a_gpus_peak_can_be_read_again(trained, suite):
    trained(products={"float32": 9.89e14})
    row = document.read(suite.pytester.path / "out.json").results[0]
    assert row.peak_flop_per_second == pytest.approx(9.89e14)
    assert row.share_of_peak == pytest.approx(4e10 / 9.89e14)


def test_the_result_tells_it(suite):
    suite.set(work=WORK, products={"float32": 1e11}, jitter=0.0)
    suite.write(
        """
        def test_it(metal_bench):
            result = metal_bench("fake-model")
            assert abs(result.share_of_peak / 0.4 - 1) < 1e-6
            assert abs(result.peak_flop_per_second / 1e11 - 1) < 1e-6
            assert result.no_share_of_peak == ""
        """
    )
    suite.run("--metal-update-baselines").assert_outcomes(passed=1)


def test_of_several_arithmetics_the_fastest_is_the_peak(trained):
    both = {**WORK, "arithmetic": ["bfloat16", "float32"]}
    _, row = trained(work=both, products={"float32": 1e11, "bfloat16": 8e11})
    assert (row["peak_arithmetic"], row["share_of_peak"]) == ("bfloat16", pytest.approx(0.05))
    _, row = trained(work=both, products={"float32": 1e11})  # of which one is unknown
    assert "peak_flop_per_second" not in row
    assert row["no_share_of_peak"].startswith("no rate of a product was measured")


def test_more_than_all_is_not_shown_but_said(trained):
    result, row = trained(products={"float32": 2e10})
    said = "its FLOP/s are 2 times the rate of a product in float32"
    result.stdout.fnmatch_lines([f"fake-model*: no share of the peak: {said}*"])
    result.stdout.no_fnmatch_line("*of peak*baseline*")
    assert "share_of_peak" not in row
    assert row["no_share_of_peak"].startswith(said)
    assert row["peak_flop_per_second"] == pytest.approx(2e10)


def test_a_product_that_fails_costs_no_measurement(trained):
    result, row = trained("--metal-update-baselines", products={"float32": "no kernel here"})
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["fake-model*: no share of the peak: the rate of a product could not *: no kernel here"]
    )
    assert row["seconds_per_batch"] == pytest.approx(0.1)


@pytest.mark.parametrize("work", [None, {"operations": {"Mul": 3}}, {**WORK, "flop": None}])
def test_without_flop_there_is_none(trained, work):
    result, row = trained(work=work)
    result.stdout.no_fnmatch_line("*of the peak*")
    assert row["no_share_of_peak"] == "the FLOP of its step are unknown"


def test_what_is_computed_again_is_not_the_models(trained, suite):
    suite.write("def test_it(metal_bench): metal_bench('fake-model', remat=True)")
    result, row = trained()
    result.stdout.fnmatch_lines(["fake-model*: no share of the peak: remat computes values again*"])
    assert "share_of_peak" not in row


def test_one_run_of_a_session_measures_it(trained, suite):
    """A second test of the same workload adds none, and a smoke run measures nothing."""
    log = suite.pytester.path / "products"
    suite.write(
        """
        def test_one(metal_bench): assert metal_bench("fake-model", runs=3).share_of_peak
        def test_two(metal_bench): assert metal_bench("fake-model", runs=3).share_of_peak
        """
    )
    suite.set(work=WORK, products={"float32": 1e11}, products_log=str(log), jitter=0.0)
    suite.run("--metal-update-baselines").assert_outcomes(passed=2)
    assert log.read_text() == "float32\n"
    suite.run("--metal=smoke")
    assert log.read_text() == "float32\n"


def test_it_is_a_column_of_the_page(trained, suite):
    trained("--metal-html=page.html")
    page = (suite.pytester.path / "page.html").read_text()
    assert '<td class="c7">40.0 %</td>' in page
    assert "40.0 % of 100.0 GFLOP/s, the rate of a large product in float32 here" in page
    trained("--metal-html=page.html", products={})
    page = (suite.pytester.path / "page.html").read_text()
    assert 'class="c7"' not in page
    assert "no rate of a product was measured: only a fresh run of its own does that, not runs in turn" in page
