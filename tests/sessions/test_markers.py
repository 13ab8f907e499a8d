"""Which tests are performance tests, what selects them, and what their devices do to other parameters and classes."""

from __future__ import annotations


def test_tests_that_use_the_fixtures_get_the_marker(suite):
    suite.write(
        """
        import pytest
        @pytest.fixture
        def trained(metal_bench):
            return metal_bench("fake-model")
        def test_bench(metal_bench): pass
        def test_live(metal_live): pass
        def test_speedup(metal_speedup): pass
        def test_indirect(trained): pass
        def test_plain(): pass
        """
    )
    result = suite.run("--collect-only", "-q", "--strict-markers", "-m", "metal_bench")
    result.stdout.fnmatch_lines_random(
        [
            "*::test_bench[[]cpu[]]",
            "*::test_live",
            "*::test_speedup",
            "*::test_indirect[[]cpu[]]",
            "4/5 tests collected*",
        ]
    )
    result = suite.run("--collect-only", "-q", "-m", "not metal_bench")
    result.stdout.fnmatch_lines(["*::test_plain", "1/5 tests collected*"])


def test_marker_is_registered_and_says_what_it_takes(suite):
    suite.run("--markers").stdout.fnmatch_lines(["@pytest.mark.metal_bench(batches, *"])


def test_selected_away_nothing_is_trained_or_said(suite):
    suite.write("def test_it(metal_bench):\n    metal_bench('fake-model')\ndef test_plain(): pass")
    result = suite.run("-m", "not metal_bench")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.no_fnmatch_line("*metalperf:*")
    result.stdout.no_fnmatch_line("*training performance*")
    assert suite.trained() == []


def test_devices_multiply_other_parameters(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.parametrize("depth", [1, 2])
        def test_it(metal_bench, depth):
            metal_bench("fake-model", depth=depth)
        """
    )
    suite.set(gpus=["gpu"])
    suite.run("--metal-devices=cpu,gpu", "--metal-update-baselines").assert_outcomes(passed=4)
    assert sorted(suite.stored) == [
        f"fake-model[b8{depth}]@{where}:fake" for depth in (",depth=2", "") for where in ("cpu", "gpu")
    ]
    suite.run("--metal-devices=cpu,gpu", "-k", "gpu and 2").assert_outcomes(passed=1, deselected=3)


def test_failure_names_a_command_that_runs_that_test(suite):
    suite.write(
        """
        import pytest
        @pytest.mark.parametrize("depth", [1, 2])
        def test_it(metal_bench, depth):
            metal_bench("fake-model", depth=depth)
        """
    )
    result = suite.run("--metal-on-missing=fail", "-k", "2")
    result.assert_outcomes(failed=1, deselected=1)
    (line,) = {line for line in result.outlines if "record it with" in line}
    node = line.split('"')[1]
    suite.run(node, "--metal-update-baselines", "--metal-runs=1").assert_outcomes(passed=1)


UNITTEST = """
import unittest
import pytest
class TestCase(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _bench(self, metal_bench):
        self.metal_bench = metal_bench
    def test_without(self):
        self.metal_bench("fake-model")
    def test_with(self):
        self.assertEqual(self.metal_bench("fake-model", device="cpu").device, "cpu")
"""


def test_unittest_class_names_its_device(suite):
    suite.write(UNITTEST)
    result = suite.run("--metal-update-baselines", "--metal-runs=1")
    assert result.ret == 1
    assert list(suite.stored) == ["fake-model[b8]@cpu:fake"]
    result.stdout.fnmatch_lines(['*test_without has no device: *unittest*device="cpu"*', "*1 passed*"])
    said = [line for line in result.outlines if "has no device" in line]
    assert len(said) == 1
    result = suite.run("--collect-only", "-q", "-m", "metal_bench")
    result.stdout.fnmatch_lines(["2 tests collected*"])


def test_positional_marker_argument_is_refused_in_one_sentence(suite):
    suite.write("import pytest\n@pytest.mark.metal_bench(5)\ndef test_it(metal_bench): pass")
    result = suite.run()
    said = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert "keyword" in said
    assert "Traceback" not in said


def test_marker_on_a_test_that_measures_nothing_does_no_harm(suite):
    suite.write("import pytest\n@pytest.mark.metal_bench(batches=5)\ndef test_it(): pass")
    suite.run("-W", "error").assert_outcomes(passed=1)
