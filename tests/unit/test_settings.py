"""Where an option's value comes from: call > marker > flag > ini > default; and what it cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf import settings as settings_module
from pytest_metalperf.settings import SettingError, Settings, flag, options, share

# Fake steps of 0.1 s are blocks of their own: the number of samples says how many batches were asked for.
FOUR = """
import pytest
def test_flag_or_ini(metal_bench):
    print("below", len(metal_bench("fake-model", name="a").samples))
@pytest.mark.metal_bench(batches=23)
def test_marker(metal_bench):
    print("marker", len(metal_bench("fake-model", name="b").samples))
    print("call", len(metal_bench("fake-model", name="c", batches=24).samples))
"""


def test_call_over_marker_over_flag_over_ini_over_default(suite):
    suite.write(FOUR)
    suite.ini(metal_batches=None)
    suite.run("-s", "-k", "ini").stdout.fnmatch_lines(["*below 25*"])
    suite.ini(metal_batches=21)
    suite.run("-s", "-k", "ini").stdout.fnmatch_lines(["*below 21*"])
    suite.run("-s", "--metal-batches=22").stdout.fnmatch_lines(["*below 22*", "*marker 23*", "call 24*"])


def test_marker_keys_merge_over_module_class_and_function(suite):
    suite.write(
        """
        import pytest
        pytestmark = pytest.mark.metal_bench(batches=21, on_missing="fail")
        @pytest.mark.metal_bench(batches=22)
        class TestClass:
            @pytest.mark.metal_bench(warmup=0)
            def test_class(self, metal_bench):
                print("class", len(metal_bench("fake-model", name="a", on_missing="warn").samples))
            @pytest.mark.metal_bench(batches=23)
            def test_function(self, metal_bench):
                print("function", len(metal_bench("fake-model", name="b", on_missing="warn").samples))
        def test_module(metal_bench):
            metal_bench("fake-model", name="c")
        """
    )
    result = suite.run("-s", "-rf")
    result.stdout.fnmatch_lines(["*class 22*", "*function 23*", "FAILED *::test_module*", "*1 failed, 2 no baseline*"])


def test_same_workload_with_more_batches_is_not_the_shorter_one_again(suite):
    suite.write(
        """
        def test_it(metal_bench):
            assert len(metal_bench("fake-model", batches=20).samples) == 20
            assert len(metal_bench("fake-model", batches=30).samples) == 30
        """
    )
    assert suite.run().ret == 0


@pytest.mark.parametrize("fixture", ["metal_bench", "metal_live"])
def test_unknown_marker_key_is_one_sentence_without_our_frames(suite, fixture):
    suite.write(f"import pytest\n@pytest.mark.metal_bench(batchs=5)\ndef test_it({fixture}): pass")
    one_sentence(suite.run())


def test_unknown_marker_key_says_which_there_are(suite):
    suite.write("import pytest\n@pytest.mark.metal_bench(batchs=5)\ndef test_it(metal_bench): pass")
    result = suite.run()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_it*batchs*there are *batches, *"])


def test_unknown_value_in_a_marker_says_which_there_are(suite):
    suite.write("import pytest\n@pytest.mark.metal_bench(size='huge')\ndef test_it(metal_bench): pass")
    result = suite.run()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_it*size*quick, standard, full, got 'huge'*"])


def test_unknown_value_in_the_ini_file(suite):
    suite.ini(metal_on_missing="perhaps")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *ini*on_missing*auto, fail, warn*'perhaps'*"])


def test_values_of_a_call(suite):
    suite.write(
        """
        def test_value(metal_bench):
            metal_bench("fake-model", size="huge")
        def test_key(metal_bench):
            metal_bench("fake-model", batchs=5)
        def test_model(metal_bench):
            metal_bench("fake-modle")
        """
    )
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*size*quick, standard, full, got 'huge'*", "*batchs*", "*fake-modle*there are *fake-model*"]
    )
    result.stdout.no_fnmatch_line("*1 no baseline*")


def one_sentence(result) -> str:
    """What a session said that did not measure: once, and no traceback of ours."""
    said = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert "Traceback" not in said
    assert "plugin.py" not in said
    assert "During handling" not in said
    assert "INTERNALERROR" not in said
    return said


@pytest.mark.parametrize(
    ("option", "values"),
    {
        "batches": ["0", "-3", "2.5", "many", "", None, True],
        "warmup": ["-1", "1.5", "few", None],
        "runs": [0, "-1", "x"],
        "max_runs": ["0", "all"],
        "tolerance": ["5", 5, "-5%", "0", "much", "nan", "inf%", "", None, True],
        "timeout": ["0", "-1", "soon", "inf", "nan"],
        "devices": ["tpu", "cpu,mps", "gpu:", "CPU", ",", "", []],
        "strict": ["maybe", 2],
        "size": ["tiny", "", None],
        "on_missing": ["ignore", None],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_an_option_cannot_have(option, values):
    for value in values:
        with pytest.raises(SettingError, match=rf"^here: {option}: .+$"):
            Settings().over({option: value}, "here")


def test_a_framework_is_what_can_be_imported_and_no_folder_of_its_name(monkeypatch, tmp_path):
    for name in ("alpha", "beta"):
        (tmp_path / name).mkdir()
    (tmp_path / "alpha" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(settings_module, "FRAMEWORKS", ("alpha", "beta", "gamma", "sys"))
    assert settings_module.installed.__wrapped__() == ("alpha", "sys")


def test_settings_are_frozen_and_over_leaves_the_old_ones():
    old = Settings()
    new = old.over({"batches": 3, "tolerance": "3%"}, "here")
    assert (old.batches, new.batches, new.tolerance) == (25, 3, 0.03)
    with pytest.raises(AttributeError):
        new.batches = 4


@given(st.floats(min_value=0.001, max_value=99.9))
def test_a_share_is_the_same_as_percent_number_and_text(percent):
    expected = pytest.approx(percent / 100)
    assert share(f"{percent!r}%") == expected
    assert share(f" {percent!r} % ") == expected
    assert share(percent / 100) == expected
    assert share(repr(percent / 100)) == expected


@given(st.floats(min_value=1, allow_infinity=False))
def test_a_bare_number_from_one_could_mean_either(number):
    with pytest.raises(SettingError, match="%"):
        share(repr(number))


@given(st.one_of(st.text(), st.floats(max_value=0), st.sampled_from(["nan%", "inf", "-1%", "5%%", "%", "5 percent"])))
def test_nonsense_is_one_sentence_or_a_number(value):
    found = share_or_sentence(value)
    if isinstance(found, float):
        assert 0 < found < math.inf
    else:
        assert "%" in found
        assert "\n" not in found


def share_or_sentence(value) -> float | str:
    try:
        return share(value)
    except SettingError as error:
        return str(error)


def test_of_the_ini_file_the_key_is_named_as_it_is_written(suite):
    result = suite.run("-o", "metal_batches=abc")
    result.stderr.fnmatch_lines(["ERROR: ini file: metal_batches: expected *"])


def test_a_flag_is_written_where_its_option_is_defined_and_reads_like_its_field():
    assert [flag(option) for option in options()] == [
        "--metal" if option.name == "metal" else f"--metal-{option.name.replace('_', '-')}" for option in options()
    ]
    text = Path(settings_module.__file__).read_text()
    assert all(f'"{flag(option)}"' in text for option in options())
