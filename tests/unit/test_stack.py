"""What of a worker's answer is its stack, and how two stacks differ."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_metalperf.references.collected import OUR_OWN, OURSELVES, collected, project_names
from pytest_metalperf.references.stack import Change, Package, Stack, difference

MARKERS = {
    "implementation_name": "cpython", "implementation_version": "3.11.7", "os_name": "posix", "platform_machine": "x86_64",
    "platform_release": "6", "platform_system": "Linux", "platform_version": "1", "platform_python_implementation": "CPython",
    "python_full_version": "3.11.7", "python_version": "3.11", "sys_platform": "linux",
}  # fmt: skip


def one(name, version="1.0", *, loaded=False, by_user=False, plugin=False, requires=(), **more):
    return {
        "name": name, "version": version, "loaded": loaded, "by_user": by_user, "plugin": plugin, "requires": list(requires),
        "url": "", "installer": "pip", "tags": ["py3-none-any"], "digest": "d" * 32, "folder": "/venv/site-packages", **more,
    }  # fmt: skip


def of(*distributions, repository=None, **answer):
    told = {"python": "cpython 3.11", "system": "linux", "machine": "x86_64", "libc": "glibc 2.35", "markers": MARKERS}
    return collected({**told, **answer, "distributions": distributions}, repository)


def names(packages):
    return [package.name for package in packages]


def test_a_stack_is_what_is_loaded_with_what_that_requires():
    found = of(
        one(
            "torch",
            loaded=True,
            requires=["Filelock>=3", "sympy", "gone", "nvidia-cudnn-cu12==9; sys_platform == 'linux'"],
        ),
        one("filelock"),
        one("sympy", requires=["mpmath", "colour; sys_platform == 'win32'"]),
        *map(one, ("mpmath", "nvidia-cudnn-cu12", "colour", "ruff")),
    )
    assert names(found.stack.packages) == ["filelock", "mpmath", "nvidia-cudnn-cu12", "sympy", "torch"]
    assert (found.stack.python, found.stack.platform, found.tools) == ("cpython 3.11", "linux x86_64 glibc", ())
    assert names(found.installed) == sorted({*names(found.stack.packages), "colour", "ruff"})


def test_an_extra_counts_where_a_requirement_names_it():
    extras = [
        "jaxlib",
        "plugin; extra == 'Cuda_12'",
        "deep; extra == 'cuda-12' and python_version >= '3.11'",
        "no; extra == 'tpu'",
    ]
    found = of(
        one("flax", loaded=True, requires=["jax[cuda-12]"]),
        one("jax", requires=extras),
        *map(one, ("jaxlib", "deep", "no")),
    )
    assert names(found.stack.packages) == ["deep", "flax", "jax", "jaxlib"]
    found = of(one("jax", loaded=True, requires=extras), *map(one, ("jaxlib", "deep", "no")))
    assert names(found.stack.packages) == ["jax", "jaxlib"]


def test_a_circle_of_requirements_ends():
    found = of(one("a", loaded=True, requires=["b[x]"]), one("b", requires=["a; extra == 'x'", "a", "[broken"]))
    assert names(found.stack.packages) == ["a", "b"]


def test_pytest_its_plugins_and_our_requirements_never_count():
    found = of(
        one("pytest", loaded=True, requires=["pluggy", "iniconfig"]),
        one("pytest-metalperf", loaded=True, plugin=True, requires=["msgspec", "numpy", "psutil"]),
        one("hypothesis", loaded=True, by_user=True, plugin=True, requires=["sortedcontainers"]),
        *(
            one(name, loaded=True)
            for name in ("pluggy", "iniconfig", "sortedcontainers", "msgspec", "psutil", "numpy", "execnet")
        ),
        one("keras", loaded=True, requires=["pytest"]),
    )
    assert names(found.stack.packages) == ["keras"]
    tools = ["execnet", "hypothesis", "iniconfig", "msgspec", "numpy", "pluggy", "psutil", "pytest", "sortedcontainers"]
    assert names(found.tools) == tools


def test_they_count_where_training_needs_them_otherwise():
    ours = one("pytest-metalperf", plugin=True, requires=["numpy", "psutil", "packaging", "scipy"])
    found = of(
        ours,
        one("tensorflow", loaded=True, requires=["numpy", "packaging"]),
        one("numpy", loaded=True),
        one("packaging"),
        one("psutil", loaded=True),
        one("scipy", loaded=True, by_user=True),
    )
    assert names(found.stack.packages) == ["numpy", "packaging", "scipy", "tensorflow"]
    assert names(found.tools) == ["psutil"]


def test_a_plugin_that_is_merely_installed_changes_nothing():
    loaded = [one("keras", loaded=True), one("filelock", loaded=True), one("pytest", loaded=True)]
    plugin = one("pytest-plugin", plugin=True, requires=["filelock"])
    assert of(*loaded).stack == of(*loaded, plugin).stack
    assert names(of(*loaded).stack.packages) == ["filelock", "keras"]


def test_a_framework_counts_though_a_plugin_requires_it():
    found = of(
        one("pytest-torch", loaded=True, plugin=True, requires=["torch", "helper"]),
        one("torch", loaded=True),
        one("helper", loaded=True),
    )
    assert names(found.stack.packages) == ["torch"]


def test_our_own_requirements_are_those_of_the_package():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    required = set(re.findall(r'^ *"([a-z-]+)', block[1], re.MULTILINE))
    assert required - {"pytest"} <= OUR_OWN
    assert f'name = "{OURSELVES}"' in text


@pytest.mark.parametrize(
    ("more", "is_code"),
    [
        ({"url": '{"url": "file:///repo", "dir_info": {"editable": true}}'}, True),
        ({"url": '{"url": "file:///repo/packages/it", "dir_info": {}}'}, True),
        ({"url": '{"url": "file:///repo/.tox/.pkg/dist/it-1.0.tar.gz", "archive_info": {}}'}, True),
        ({"folder": "/repo/src"}, True),
        ({"folder": "/repo/.venv/lib/python3.11/site-packages"}, False),
        ({"url": '{"url": "file:///repo2", "dir_info": {"editable": true}}'}, False),
        ({}, False),
    ],
)
def test_the_projects_own_distribution_is_code(more, is_code):
    found = of(one("it", loaded=True, requires=["numpy", "docs"], **more), one("numpy", loaded=True, by_user=True), one("docs"),
               repository=Path("/repo"))  # fmt: skip
    assert names(found.stack.packages) == (["numpy"] if is_code else ["docs", "it", "numpy"])
    assert "it" not in names(found.tools)


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        (
            "pyproject.toml",
            '[build-system]\nrequires = ["x"]\n\n[project]\nkeywords = ["y"]\nname = "My.Project"\n',
            {"my-project"},
        ),
        ("pyproject.toml", "[tool.poetry]\nname = 'it'\n", {"it"}),
        ("pyproject.toml", '[tool.other]\nname = "it"\n', set()),
        ("pyproject.toml", '[project]\n[[tool.uv.index]]\nname = "it"\n', set()),
        ("setup.cfg", "[metadata]\nname = it\n", {"it"}),
        ("setup.py", "", set()),
    ],
)
def test_what_a_project_calls_itself_is_code(tmp_path, file, text, names):
    (tmp_path / file).write_text(text)
    assert project_names(tmp_path) == names
    for name in names:
        assert of(one(name, loaded=True), repository=tmp_path).installed == ()


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ({}, ""),
        ({"url": '{"url": "file:///elsewhere", "dir_info": {"editable": true}}'}, "editable from a folder"),
        ({"url": '{"url": "file:///elsewhere", "dir_info": {}}'}, "from a folder"),
        ({"url": '{"url": "file:///a.whl", "archive_info": {}}'}, "from a file"),
        ({"url": '{"url": "https://u:secret@host/a.whl", "archive_info": {}}'}, "from a URL"),
        (
            {"url": '{"url": "https://h/g", "vcs_info": {"commit_id": "0123456789abcdef"}}'},
            "from a repository at 0123456789",
        ),
        ({"url": '{"url": "https://h/g", "vcs_info": {"commit_id": "; x"}}'}, "from a repository"),
        ({"url": "{"}, "from a URL"),
        ({"url": "[]"}, "from a URL"),
        ({"installer": "conda"}, "by conda"),
        ({"digest": ""}, "without a RECORD"),
        ({"version": "2004 d;"}, "of no valid version"),
    ],
)
def test_why_one_cannot_be_installed_again(more, origin):
    (found,) = of(one("it", loaded=True, **more)).stack.packages
    assert found.origin == origin
    assert "secret" not in repr(found)


def test_a_version_is_written_as_pep_440_has_it():
    assert of(one("it", "1.0.0-RC1+cpu.X", loaded=True)).stack.packages[0].version == "1.0.0rc1+cpu.x"
    assert of(one("it", "2004 d;", loaded=True)).stack.packages[0].version == "2004-d-"


@pytest.mark.parametrize(
    ("tags", "least"),
    [
        ([["py3-none-any"]], ""),
        ([["cp311-cp311-linux_x86_64"]], ""),
        ([["cp311-cp311-manylinux_2_17_x86_64", "x-x-manylinux2014_x86_64"], ["x-abi3-manylinux_2_28_x86_64"]], "2.28"),
        ([["cp311-cp311-manylinux2010_x86_64", "cp311-cp311-manylinux_2_5_x86_64"]], "2.5"),
        ([["cp311-cp311-macosx_12_0_arm64"], ["cp311-cp311-macosx_11_0_universal2"]], "12.0"),
    ],
)  # fmt: skip
def test_what_the_wheels_need_of_the_system(tags, least):
    found = of(*(one(f"p{number}", loaded=True, tags=some) for number, some in enumerate(tags)))
    assert found.stack.least == least


def test_the_machines_glibc_is_no_part_of_it():
    assert of(libc="glibc 2.35").stack == of(libc="glibc 2.40").stack


STACK = Stack("cpython 3.11", "linux x86_64 glibc", "2.28", (Package("a", "1", "x" * 32), Package("b", "2", "y" * 32)))


def test_nothing_differs():
    assert not difference(STACK, STACK)
    assert not difference(STACK, STACK).needs_environment
    assert difference(STACK, STACK).words() == ""


def test_packages_that_differ():
    ours = replace(STACK, packages=(Package("b", "3", "y" * 32), Package("c", "1", "z" * 32)))
    found = difference(STACK, ours)
    assert found.words() == "a 1 is gone, b 2 -> 3, c 1 is new"
    assert found.packages[1] == Change(Package("b", "2", "y" * 32), Package("b", "3", "y" * 32))
    assert found.words(most=1) == "a 1 is gone and 2 more"
    assert found.needs_environment


def test_one_that_is_new_needs_no_other_environment():
    found = difference(replace(STACK, packages=STACK.packages[:1]), STACK)
    assert (found.words(), found.needs_environment) == ("b 2 is new", False)


def test_one_that_is_installed_and_not_loaded_is_no_difference_of_packages():
    ours = replace(STACK, packages=STACK.packages[:1])
    assert not difference(STACK, ours, installed=STACK.packages)
    assert difference(STACK, ours, installed=(Package("b", "4", "y" * 32),)).words() == "b 2 -> 4"


def test_the_same_version_of_another_build():
    ours = replace(STACK, packages=(STACK.packages[0], Package("b", "2", "z" * 32)))
    assert difference(STACK, ours).words() == "b 2 is another build"
    # another interpreter or platform has other wheels of everything
    assert difference(STACK, replace(ours, python="cpython 3.12")).words() == "Python 3.11 -> 3.12"
    assert difference(STACK, replace(ours, platform="darwin arm64 macos")).words() == (
        "platform linux x86_64 glibc -> darwin arm64 macos"
    )


def test_what_may_differ_unseen_is_named():
    edited = Package("b", "2", "y" * 32, "editable from a folder")
    found = difference(STACK, replace(STACK, packages=(STACK.packages[0], edited)))
    assert (bool(found), found.unseen) == (False, ("b",))


def test_what_wheels_need_of_the_system_is_no_difference_of_its_own():
    assert not difference(STACK, replace(STACK, least="2.17"))
