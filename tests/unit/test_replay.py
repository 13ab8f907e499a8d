"""How a recipe is followed where no repository is needed for it."""

from __future__ import annotations

import msgspec
import pytest

from pytest_metalperf.references.code import Code
from pytest_metalperf.references.collected import Collected
from pytest_metalperf.references.environment import Environment, Environments
from pytest_metalperf.references.replay import NoReplay, Recipes, Today, computing
from pytest_metalperf.references.stack import Package, Stack
from pytest_metalperf.workloads.workload import Workload

MODEL = Workload("model", "cpu", "fake", source={"kind": "reference", "name": "models:model"})


def today(code="a" * 64, version="1.0", **variables):
    stack = Stack("cpython 3.11", "linux x86_64 glibc", "", (Package("numpy", version, "d" * 32),))
    return Today(None, Code(code), Collected(stack, (), stack.packages), variables)


@pytest.fixture
def recipes(tmp_path):
    (tmp_path / "baselines").mkdir()
    return Recipes(tmp_path, tmp_path / "baselines", Environments(tmp_path / "cache"))


def test_where_nothing_differs_there_is_no_other_side(recipes):
    recipe = recipes.accepted(MODEL, today(), None)
    assert recipes.replay(recipe, MODEL, today(), "m").reference is None


def test_a_model_of_ours_that_an_upgrade_of_ours_changed_is_not_replayed(recipes):
    """Its slowdown would be the machine's otherwise."""
    recipe = recipes.accepted(MODEL, today(), None)
    with pytest.raises(NoReplay, match="pytest-metalperf's own, and another version of that measures today"):
        recipes.replay(recipe, MODEL, today("b" * 64), "m")


def test_a_model_of_ours_is_replayed_on_the_packages_of_then(recipes, monkeypatch, tmp_path):
    monkeypatch.setattr(Environments, "of", lambda self, stack, tools: Environment(tmp_path / "python", tmp_path))
    recipe = recipes.accepted(MODEL, today(), None)
    found = recipes.replay(recipe, MODEL, today(version="2.0"), "m")
    assert found.differs == ("numpy 1.0 -> 2.0",)
    assert found.reference.interpreter.python == str(tmp_path / "python")
    assert found.workload == MODEL


def test_variables_of_a_file_that_would_load_code_are_not_set(recipes):
    recipe = recipes.accepted(MODEL, today(OMP_NUM_THREADS="2"), None)
    recipe = msgspec.structs.replace(
        recipe, variables={"LD_PRELOAD": "/evil.so", "PATH": "/evil", "OMP_NUM_THREADS": "2"}
    )
    found = recipes.replay(recipe, MODEL, today(MKL_NUM_THREADS="4"), "m")
    assert found.reference.interpreter.variables == {"MKL_NUM_THREADS": None, "OMP_NUM_THREADS": "2"}
    assert computing({"LD_PRELOAD": "/evil.so", "CUDA_VISIBLE_DEVICES": "0", "numpy": "2.0"}) == {}


def test_without_a_recipe_the_reason_says_what_to_do(recipes):
    recipe = msgspec.structs.replace(recipes.accepted(MODEL, today(), None), stack=None)
    with pytest.raises(NoReplay, match="record it again, and it is one"):
        recipes.replay(recipe, MODEL, today(), "m")


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 16, "0" * 16])
def test_a_stack_that_is_none_is_refused(recipes, name):
    recipe = msgspec.structs.replace(recipes.accepted(MODEL, today(), None), stack=name)
    with pytest.raises(NoReplay, match=r"is no name of a stack|is not there"):
        recipes.replay(recipe, MODEL, today(), "m")
