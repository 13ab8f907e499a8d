"""What pytest is told in a child that runs one test alone: a list of what it gets, since any plugin may run tests its own way."""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

OF_PYTEST = {
    "-p", "-c", "--config-file", "--rootdir", "-o", "--override-ini", "--confcutdir", "--noconftest", "--import-mode",
    "-W", "--pythonwarnings", "--strict", "--strict-config", "--strict-markers", "--assert", "--log-level",
    "--disable-plugin-autoload",
}  # fmt: skip
"""pytest's options that say what is imported, and how. Selection, reports and early stops are the parent's."""
OF_PLUGINS = {
    "--ds", "--dc", "--base-url", "--asyncio-mode", "--hypothesis-profile", "--hypothesis-seed", "--randomly-seed",
    "--jaxtyping-packages", "--typeguard-packages", "--beartype-packages",
}  # fmt: skip
"""Options of installed plugins that change what a test imports or draws, wherever its fixtures come from."""
NOT_OURS_TO_PASS = {
    "--metal", "--metal-update-mode", "--metal-update-baselines", "--metal-strict", "--metal-plan",
}  # fmt: skip
_RUNS_TESTS = {"xdist", "pytest_benchmark", "pytest_codspeed", "pytest_cov", "pytest_timeout"}
"""Plugins that say how tests run, though they have fixtures."""
_WITHOUT_VALUE = {"store_true", "store_false", "store_const", "append_const", "count", "help", "version"}


def of_child(config: pytest.Config, item: pytest.Item) -> list[str]:
    """The arguments of a child that runs `item` alone, without the test: of those given here, in the ini file and in
    PYTEST_ADDOPTS, what says which code runs. A suite's own options all do, and so do those of the plugins whose
    fixtures the test uses.
    """
    typed = [*config.getini("addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    arguments = [*typed, *config.invocation_params.args]
    known: dict[str, str] = {}
    kept = OF_PYTEST | OF_PLUGINS
    fixtures = _packages_of_fixtures(item) - _RUNS_TESTS
    for plugin in config.pluginmanager.get_plugins():
        package, own = _package(plugin)
        if own:
            found = _options_of(plugin, config.pluginmanager)
            known |= found
            if package in fixtures or package == __package__.partition(".")[0]:
                kept |= found.keys() - NOT_OURS_TO_PASS
    out = child_arguments([str(one) for one in arguments], config.option.file_or_dir, known, kept)
    if "--timeout" in known:
        out.append("--timeout=0")  # of pytest-timeout: the test's time is the parent's, and it has a limit of its own
    return out


def child_arguments(
    arguments: Sequence[str], files: Sequence[str], known: Mapping[str, str], kept: Collection[str]
) -> list[str]:
    """Those of `arguments` that a child gets.

    Args:
        arguments: of this session.
        files: those of them that name tests.
        known: options of pytest and of installed plugins, each with what follows it: `none`, `one`, `maybe`, `many`.
        kept: those of them that a child gets. What nobody has installed is the suite's own, and is kept.
    """
    out: list[str] = []
    left = list(arguments)
    values = Counter(arguments) - Counter(files)  # an option's value may read like a file that was asked for
    while left:
        argument = left.pop(0)
        name, equals, _ = argument.partition("=")
        if argument[:1] != "-" or argument == "-":
            value = bool(values[argument]) and bool(out) and out[-1].startswith("-") and "=" not in out[-1]
            if value or argument not in files:
                values[argument] -= 1
                out.append(argument)
        elif argument[:2] != "--":
            out += _short(argument[1:], left, known, kept)
        else:
            words = [argument] if equals else [argument, *_values(known.get(name, "none"), left)]
            values.subtract(words[1:])
            out += words if name in kept or name not in known else []
    return [*out, "-o", "addopts="]  # what it says is among these


def _short(letters: str, left: list[str], known: Mapping[str, str], kept: Collection[str]) -> list[str]:
    """The same of one word of short options: `-q`, `-xvs`, `-k`, `-kname`, `-xp`."""
    out: list[str] = []
    while letters:
        flag, letters = f"-{letters[0]}", letters[1:]
        if flag not in known:
            return [*out, flag + letters]
        words = [flag]
        if known[flag] != "none":
            words = [flag + letters] if letters else [flag, *_values(known[flag], left)]
            letters = ""
        out += words if flag in kept else []
    return out


def _values(how: str, left: list[str]) -> list[str]:
    """Take the words that belong to an option from what is left."""
    most = {"none": 0, "one": 1, "maybe": 1, "many": len(left)}[how]
    taken: list[str] = []
    while left and len(taken) < most and (how == "one" or not left[0].startswith("-")):
        taken.append(left.pop(0))
    return taken


def _package(plugin: object) -> tuple[str, bool]:
    """The top-level package that a plugin comes from, and whether that is pytest, this one or an installed one."""
    module = plugin if inspect.ismodule(plugin) else sys.modules.get(type(plugin).__module__)
    name = module.__name__.partition(".")[0] if module is not None else ""
    file = getattr(module, "__file__", None) or ""
    ours = name in ("_pytest", __package__.partition(".")[0])
    return name, ours or bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def _packages_of_fixtures(item: pytest.Item) -> set[str]:
    """The top-level packages whose fixtures a test uses."""
    found = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return {str(one.func.__module__).partition(".")[0] for several in found.values() for one in several}


class _Recorder:
    """Stands for pytest's parser and its groups, and notes which options a plugin adds: pytest keeps no such list."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.extra_info: dict[str, Any] = {}

    def addoption(self, *names: str, **words: Any) -> None:
        action, count = words.get("action"), words.get("nargs")
        alone = action in _WITHOUT_VALUE or count == 0
        alone = alone or (inspect.isclass(action) and action.__module__.startswith("_pytest."))
        takes = "none" if alone else {None: "one", "?": "maybe", 1: "one"}.get(count, "many")
        self.found.update(dict.fromkeys(names, takes))

    _addoption = addoption

    def getgroup(self, *_: Any, **__: Any) -> _Recorder:
        return self

    def addini(self, *_: Any, **__: Any) -> None:
        pass


def _options_of(plugin: object, manager: pytest.PytestPluginManager) -> dict[str, str]:
    """The options that a plugin adds, each with what follows it."""
    add = getattr(plugin, "pytest_addoption", None)
    if add is None:
        return {}
    recorder = _Recorder()
    given = {"parser": recorder, "pluginmanager": manager}
    with contextlib.suppress(Exception):  # one that asks more of a parser: what it has added so far is known
        add(**{name: given[name] for name in inspect.signature(add).parameters if name in given})
    return recorder.found
