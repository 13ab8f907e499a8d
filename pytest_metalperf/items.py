"""pytest's items that are ours: which they are, what they ask for, how to run one of them alone."""

from __future__ import annotations

import pytest

from .settings import MARKER, SettingError, Settings

FIXTURES = ("metal_bench", "metal_live", "metal_speedup", "metal_device")


def ours(item: pytest.Item) -> bool:
    """Whether a test uses our fixtures."""
    return any(name in FIXTURES for name in getattr(item, "fixturenames", ()))


def marked(item: pytest.Item, settings: Settings) -> Settings:
    """The settings of one test: marker keys of class and function over the session's.

    Raises:
        SettingError: for a marker that says what no option has.
    """
    for marker in reversed(list(item.iter_markers(MARKER))):  # the closest last, so that it wins
        where = f"{item.nodeid}: marker {MARKER}"
        if marker.args:
            raise SettingError(f"{where}: takes keywords only, got {marker.args!r}")
        settings = settings.over(marker.kwargs, where)
    return settings


def device_and_backend(item: pytest.Item) -> tuple[str, str] | None:
    """The device and backend that a test is parametrised with."""
    found: tuple[str, str] | None = getattr(getattr(item, "callspec", None), "params", {}).get("metal_device")
    return found


def constants(item: pytest.Item) -> list[str]:
    """Texts and names in a test's code and parameters: among them stand its model's, or that of what builds it."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    values = [
        *getattr(code, "co_consts", ()),
        *getattr(code, "co_names", ()),
        *getattr(getattr(item, "callspec", None), "params", {}).values(),
    ]
    return [value for value in values if isinstance(value, str)]


def target(item: pytest.Item) -> list[str]:
    """Arguments that select `item` alone, from where pytest was started."""
    inside = item.nodeid.partition("::")[2]
    config = item.config
    if config.option.pyargs and getattr(item, "module", None) is not None:
        return ["--pyargs", f"{item.module.__name__}::{inside}"]  # type: ignore[attr-defined]
    try:
        path = item.path.relative_to(config.invocation_params.dir)
    except ValueError:
        path = item.path
    return [f"{path}::{inside}"]


def whole(config: pytest.Config) -> bool:
    """Whether every test was asked for: no selection by an option, and files as the ini file names them."""
    selecting = ("keyword", "markexpr", "lf", "deselect", "ignore", "ignore_glob")
    selected = any(getattr(config.option, name, None) for name in selecting)
    return not selected and config.args_source is not pytest.Config.ArgsSource.ARGS
