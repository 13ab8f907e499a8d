"""`Step` as users import it, also where the plugin is not installed; and being told of an import."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_metalperf
from pytest_metalperf import Step
from pytest_metalperf.measure.interpreter import archive
from pytest_metalperf.worker.imported import when_imported


def test_a_builder_imports_it_where_the_plugin_is_not_installed(tmp_path):
    (tmp_path / "worker.zip").write_bytes(archive(Path(pytest_metalperf.__file__).parent))
    text = f"import sys; sys.path.insert(0, {str(tmp_path / 'worker.zip')!r}); from pytest_metalperf import Step"
    text += "; print(Step(print, examples=3).examples)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_only_what_trains_must_be_there():
    assert Step(print).run is print
    assert Step(print).parameters is Step(print).examples is Step(print).program is None
    with pytest.raises(TypeError):
        Step()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text("FINISHED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "imported_late"
    sys.modules.pop("imported_late", None)


def test_a_function_is_called_at_the_end_of_an_import(module):
    seen = []
    when_imported(module, lambda one: seen.append(one.FINISHED))
    assert importlib.util.find_spec(module) is not None  # to look for it is not to import it
    assert seen == []
    __import__(module)
    assert seen == [True]
    when_imported(module, lambda one: seen.append("now"))
    assert seen == [True, "now"]


def test_the_last_wish_counts_and_leaves_no_finder(module):
    seen, before = [], len(sys.meta_path)
    when_imported(module, lambda one: seen.append("first"))
    when_imported(module, lambda one: seen.append("second"))
    __import__(module)
    assert (seen, len(sys.meta_path)) == (["second"], before)


def test_what_is_not_there_stays_missing(module):
    when_imported("no_such_module_of_ours", print)
    with pytest.raises(ModuleNotFoundError):
        __import__("no_such_module_of_ours")


def test_what_it_raises_ends_the_import(module):
    def refuse(one):
        raise LookupError("not this one")

    when_imported(module, refuse)
    with pytest.raises(LookupError, match="not this one"):
        __import__(module)
    assert module not in sys.modules
