"""pytest's items that are ours: which they are, what they ask for, how to run one of them alone."""

from __future__ import annotations

from collections.abc import Container, Sequence

import pytest

from .settings import MARKER, SettingError, Settings

CAN_WAIT = pytest.StashKey[bool]()
"""Whether a test can be put off to the end of the session: set by the hook that would run it there again."""
TOOK = "metalperf/took"
"""Where pytest's cache keeps what the workloads of each test took."""
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


def place(item: pytest.Item) -> tuple[str, str] | None:
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


def more_to_come(item: pytest.Item, unavailable: Container[str] = ()) -> bool:
    """Whether other tests of ours follow `item`, so that a look at the end of the session is a later one.

    Tests of a place in `unavailable` (`gpu:tensorflow`) do not count: they will be skipped.
    """
    items: Sequence[pytest.Item] = item.session.items
    first = next((index for index, one in enumerate(items) if one is item), len(items))
    following = items[first + 1 :]
    return item not in following and any(
        ours(one) and ":".join(place(one) or ()) not in unavailable for one in following
    )


def can_wait(item: pytest.Item, unavailable: Container[str]) -> bool:
    """Whether we may run `item` ourselves, and again at the end of the session.

    Not where something else wants each failure at once (--pdb, -x), or runs tests again in its own way.
    """
    option = item.config.option
    claimed = any(getattr(option, name, None) for name in ("usepdb", "maxfail", "reruns", "forked"))
    claimed = claimed or item.get_closest_marker("flaky") is not None  # pytest-rerunfailures' own marker
    return not claimed and ours(item) and more_to_come(item, unavailable)
