"""Every option exactly once: flag, ini key, marker key, default and help, merged into one frozen `Settings`."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .results.metrics import METRICS, RATES

MARKER = "metal_bench"
SIZES = ("quick", "standard", "full")
UPDATE_MODES = ("changed", "missing", "extend", "all", "anchor")
PAIRS_PER_RUN = 3
BASELINE = "baseline"
QUICK = {"batches": 8, "warmup": 2, "runs": 2}


class SettingError(ValueError):
    """One sentence about a value that an option cannot have."""


def _whole(text: object, least: int) -> int:
    try:
        number = int(str(text))
    except ValueError:
        raise SettingError(f"expected a whole number, got {text!r}") from None
    if number < least:
        raise SettingError(f"expected at least {least}, got {number}")
    return number


def _count(text: object) -> int:
    return _whole(text, 1)


def _count_or_zero(text: object) -> int:
    return _whole(text, 0)


def _at_least_two(text: object) -> int:
    if _count(text) < 2:
        raise SettingError("expected at least 2: one run can be suspicious, but only a second can confirm it")
    return _count(text)


def _seconds(text: object) -> float:
    try:
        number = float(str(text))
    except ValueError:
        raise SettingError(f"expected seconds, got {text!r}") from None
    if not 0 < number < float("inf"):
        raise SettingError(f"expected seconds above 0, got {text!r}")
    return number


def share(text: object) -> float:
    """`"5%"`, `"0.05"` or `0.05` -> 0.05; a bare number of 1 or more is refused, since it could mean either.

    Raises:
        SettingError: for anything else.
    """
    string = str(text).strip()
    try:
        number = float(string[:-1]) / 100 if string.endswith("%") else float(string)
    except ValueError:
        raise SettingError(f"expected a share such as 5% or 0.05, got {text!r}") from None
    if not 0 < number < float("inf"):
        raise SettingError(f"expected a share above 0, such as 5% or 0.05, got {text!r}")
    if not string.endswith("%") and number >= 1:
        raise SettingError(f"{text!r} could be {string}% or {string} times: write {string}% or a number below 1")
    return number


def _metrics(text: object) -> tuple[tuple[str, float], ...]:
    """`"memory=5%,energy=10%"`, or a mapping of the same, -> name and share of each; nothing gates none."""
    if isinstance(text, Mapping):
        pairs = [(str(name), tolerance) for name, tolerance in text.items()]
    elif isinstance(text, str):
        parts = [part.partition("=") for part in text.split(",") if part.strip()]
        pairs = [(name.strip(), tolerance.strip()) for name, _, tolerance in parts]
    else:
        raise SettingError(f"expected metrics with their tolerances, such as memory=5%,energy=10%, got {text!r}")
    found: dict[str, float] = {}
    for name, tolerance in pairs:
        if name in RATES:
            raise SettingError(
                f"{name} is seconds per batch written otherwise: set --metal-tolerance, read result.{RATES[name]}"
            )
        if name not in METRICS:
            raise SettingError(f"unknown metric {name!r}: there are {', '.join(METRICS)}")
        if name in found:
            raise SettingError(f"{name} stands twice: keep one of them")
        try:
            found[name] = share(tolerance)
        except SettingError as error:
            raise SettingError(f"{name}: {error}, as in {name}=5% (there are {', '.join(METRICS)})") from None
    return tuple(found.items())


_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


def _span(text: object) -> float | None:
    """`180`, `"180s"`, `"3min"`, `"1h"` -> seconds; `off` -> None."""
    if text is None or text is False or str(text).strip().lower() == "off":
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|h|)", str(text).strip())
    if match is None or not float(match[1]):
        raise SettingError(f"expected a time such as 180 (seconds), 3min or 1h, or off, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


AUTO = "auto"
FRAMEWORKS = ("tensorflow", "torch", "jax", "mlx")


@functools.cache
def installed() -> tuple[str, ...]:
    """The frameworks that could be imported here; none is imported."""
    return tuple(name for name in FRAMEWORKS if name in sys.modules or _is_package(name))


def _is_package(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a folder of that name is no framework


def automatic() -> str:
    """TensorFlow where it is installed, or nothing is; else the one framework that is; `auto` where there are several."""
    found = installed()
    if not found or FRAMEWORKS[0] in found:
        return FRAMEWORKS[0]
    return found[0] if len(found) == 1 else AUTO


def _names(text: object) -> tuple[str, ...]:
    parts = text if isinstance(text, (list, tuple)) else str(text).split(",")
    names = tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))
    if not names:
        raise SettingError(f"expected names separated by commas, got {text!r}")
    return names


def devices(text: object) -> tuple[str, ...]:
    """`"cpu,gpu:1"` -> `("cpu", "gpu:1")`.

    Raises:
        SettingError: for a name that is no device.
    """
    names = _names(text)
    for name in names:
        if not re.fullmatch(r"cpu|gpu(:\d+)?", name):
            raise SettingError(f"unknown device {name!r}: there are cpu, gpu, and gpu:1, gpu:2, … for one of several")
    return tuple(dict.fromkeys("gpu" if name == "gpu:0" else name for name in names))


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(text: object) -> str:
        if text not in choices:
            raise SettingError(f"expected one of {', '.join(choices)}, got {text!r}")
        return str(text)

    return parse


def _truth(text: object) -> bool:
    if isinstance(text, bool):
        return text
    word = str(text).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise SettingError(f"expected true or false, got {text!r}")


def _text(text: object) -> str:
    return str(text)


def _path(text: object) -> str:
    try:
        Path(str(text)).expanduser()
    except RuntimeError as error:
        raise SettingError(f"{text}: {error}") from None
    return str(text)


def _machine(text: object) -> str:
    if not re.search("[a-z0-9]", str(text).lower()):
        raise SettingError(f"a machine's name has letters or digits (a-z, 0-9), got {text!r}")
    return str(text)


def _option(
    flag: str,
    default: Any,
    help: str,  # noqa: A002
    parse: Callable[[object], Any],
    *,
    metavar: str | None = None,
    marker: bool = True,
) -> Any:
    return field(
        default=default, metadata={"flag": flag, "help": help, "parse": parse, "metavar": metavar, "marker": marker}
    )


@dataclass(frozen=True)
class Settings:
    """What one measurement is asked to do. Precedence: call, marker, flag, ini, default."""

    metal: str = _option(
        "--metal",
        "on",
        "run performance tests with the others (on), run nothing else (only), skip them (off),"
        " or train one batch each without a verdict (smoke)",
        _one_of("on", "only", "off", "smoke"),
        metavar="on|only|off|smoke",
        marker=False,
    )
    update_baselines: bool = _option(
        "--metal-update-baselines", False, "store what is measured as the baseline", _truth, marker=False
    )
    update_mode: str = _option(
        "--metal-update-mode",
        "changed",
        "what --metal-update-baselines stores: what is slower, faster or new (changed); only what is new (missing);"
        " further runs beside the stored ones (extend); everything anew (all); everything anew, and the anchor too, from"
        " which the total change is counted (anchor)",
        _one_of(*UPDATE_MODES),
        metavar="|".join(UPDATE_MODES),
        marker=False,
    )
    baselines: str = _option(
        "--metal-baselines",
        "baselines",
        "folder of the baseline files, relative to rootdir",
        _path,
        metavar="DIR",
        marker=False,
    )
    devices: tuple[str, ...] = _option(
        "--metal-devices",
        ("cpu", "gpu"),
        "devices to train on, comma separated; gpu:1 names one of several",
        devices,
        metavar="NAMES",
    )
    backend: tuple[str, ...] = _option(
        "--metal-backend",
        ("auto",),
        "backends, comma separated; auto is TensorFlow where it is installed, else the one that is",
        _names,
        metavar="NAMES",
    )
    size: str = _option(
        "--metal-size", "standard", "size of the reference models", _one_of(*SIZES), metavar="|".join(SIZES)
    )
    batches: int = _option("--metal-batches", 25, "batches timed per run, at least", _count, metavar="N")
    warmup: int = _option("--metal-warmup", 5, "untimed batches after the first", _count_or_zero, metavar="N")
    runs: int = _option("--metal-runs", 5, "runs (fresh processes) when a baseline is recorded", _count, metavar="N")
    tolerance: float = _option("--metal-tolerance", 0.05, "slowdown that is still accepted", share, metavar="SHARE")
    total_tolerance: float | None = _option(
        "--metal-total-tolerance",
        None,
        "slowdown since the anchor, the first figure ever accepted, that is still accepted",
        share,
        metavar="SHARE",
    )
    metrics: tuple[tuple[str, float], ...] = _option(
        "--metal-metrics",
        (),
        f"gate these too, each with its own tolerance, such as memory=5%,energy=10%; there are {', '.join(METRICS)}",
        _metrics,
        metavar="METRIC=SHARE,…",
    )
    max_runs: int = _option(
        "--metal-max-runs", 5, "fresh runs that the gate may spend on one verdict", _at_least_two, metavar="N"
    )
    confirm: str = _option(
        "--metal-confirm",
        "auto",
        "what a first look leaves open is answered by training the baseline's own code in turn with today's (auto), by"
        " further runs against the stored figures (stored); replay trains in turn whatever the first look says",
        _one_of("auto", "replay", "stored"),
        metavar="auto|replay|stored",
    )
    budget: float | None = _option(
        "--metal-budget",
        None,
        "time (20min, 1h) that a session may spend on replays and further looks, the most suspicious first; what is left"
        " over is inconclusive",
        _span,
        metavar="TIME",
        marker=False,
    )
    on_missing: str = _option(
        "--metal-on-missing",
        "auto",
        "no baseline for this machine: fail, warn, or auto (fail where the environment has CI, else warn)",
        _one_of("auto", "fail", "warn"),
        metavar="auto|fail|warn",
    )
    strict: bool = _option(
        "--metal-strict", False, "inconclusive, no baseline, skipped devices and xdist fail too", _truth
    )
    strict_work: bool = _option(
        "--metal-strict-work",
        False,
        "a change of the work itself (operations, FLOP, traces, parameters) fails, whatever the clock says",
        _truth,
    )
    sustained: float | None = _option(
        "--metal-sustained",
        None,
        "train one run for so long (180, 3min, 1h) instead of batches, and judge its last minute by its first",
        _span,
        metavar="TIME",
    )
    sustained_tolerance: float = _option(
        "--metal-sustained-tolerance",
        0.10,
        "slowdown from the first to the last minute of a sustained run that is still accepted",
        share,
        metavar="SHARE",
    )
    require_gpu: bool = _option("--metal-require-gpu", False, "a missing GPU fails instead of skipping", _truth)
    against: str = _option(
        "--metal-against",
        "",
        "compare, in turn, with a revision, an interpreter or the packages in a requirements.txt, instead of stored figures;"
        " or with what each baseline was recorded with (baseline)",
        _text,
        metavar="REV|PYTHON|FILE|baseline",
        marker=False,
    )
    force: bool = _option(
        "--metal-force",
        False,
        "record what would be refused: under battery, low power, throttling, load, a virtual GPU, or beside runs of other work",
        _truth,
        marker=False,
    )
    plan: bool = _option(
        "--metal-plan",
        False,
        "print runs, minutes and the smallest visible slowdown of each test, and stop",
        _truth,
        marker=False,
    )
    json: str = _option(
        "--metal-json",
        "",
        "write all that is measured to this file, relative to where pytest was started: samples, verdicts, what was not judged",
        _path,
        metavar="FILE",
        marker=False,
    )
    html: str = _option(
        "--metal-html",
        "",
        "write a page of what is measured to this file, relative to where pytest was started: it works without a network",
        _path,
        metavar="FILE",
        marker=False,
    )
    history: str = _option(
        "--metal-history",
        "",
        "add every run to this SQLite file at the session's end, relative to where pytest was started; python -m"
        " pytest_metalperf history lists what became slower since when",
        _path,
        metavar="FILE",
        marker=False,
    )
    host: str = _option(
        "--metal-host",
        "",
        "run workers elsewhere (an execnet spec: ssh=ci@mac-mini//python=python3)",
        _text,
        metavar="SPEC",
        marker=False,
    )
    timeout: float = _option(
        "--metal-timeout",
        1200.0,
        "kill a worker that says nothing for so long",
        _seconds,
        metavar="SECONDS",
    )
    wait: float = _option(
        "--metal-wait",
        1800.0,
        "wait so long for another measurement on this machine; then it is an error that names it",
        _seconds,
        metavar="SECONDS",
        marker=False,
    )
    machine: str = _option(
        "--metal-machine",
        "",
        "name this machine by hand (identical cloud runners)",
        _machine,
        metavar="NAME",
        marker=False,
    )

    given: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was given at any level, of which the rest follows."""

    @property
    def backends(self) -> tuple[str, ...]:
        """The names of `backend`, with what `auto` stands for here; `auto` itself where that cannot be told."""
        return tuple(dict.fromkeys(automatic() if name == AUTO else name for name in self.backend))

    @property
    def max_pairs(self) -> int:
        """Fresh pairs that one comparison under --metal-against may spend: they know no noise but their own."""
        return PAIRS_PER_RUN * self.max_runs

    @property
    def fails_on_missing(self) -> bool:
        """Whether a missing baseline fails the test."""
        return self.strict or self.on_missing == "fail" or (self.on_missing == "auto" and bool(os.environ.get("CI")))

    def over(self, values: Mapping[str, object], where: str, *, allowed: frozenset[str] | None = None) -> Settings:
        """These settings with `values` (from a marker or a call) on top.

        Raises:
            SettingError: naming `where`, for an unknown key or a value that the option cannot have.
        """
        return complete({**self.given, **parsed(values, where, marker_keys() if allowed is None else allowed)})


def complete(given: Mapping[str, Any]) -> Settings:
    """Settings from what was given at any level: a size of `quick` brings batches, warm-up and runs that nobody gave.

    Whoever compares with baselines trains each of them again, whatever the first look says.
    """
    values = {**(QUICK if given.get("size") == "quick" else {}), **given}
    if values.get("against") == BASELINE:
        values.update(against="", confirm="replay")
    return Settings(**values, given=given)


def options() -> Sequence[dataclasses.Field[Any]]:
    """All options, in the order of the help text."""
    return [option for option in dataclasses.fields(Settings) if "parse" in option.metadata]


def flag(option: dataclasses.Field[Any]) -> str:
    """The flag of an option, as its definition writes it, so that a search for it finds that."""
    found: str = option.metadata["flag"]
    return found


def ini_key(option: dataclasses.Field[Any]) -> str:
    """`metal_max_runs` for the field `max_runs`; `metal` for `metal`."""
    return "metal" if option.name == "metal" else "metal_" + option.name


def marker_keys() -> frozenset[str]:
    """Options that a marker or a call may set."""
    return frozenset(option.name for option in options() if option.metadata["marker"])


def call_keys() -> frozenset[str]:
    """Options that a call may set: it has one device and one backend, parameters of their own."""
    return marker_keys() - {"devices", "backend"}


INI = "ini file"


def parsed(values: Mapping[str, object], where: str, allowed: frozenset[str]) -> dict[str, Any]:
    """`values` checked and converted, each by its option's own parser."""
    by_name = {option.name: option for option in options()}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise SettingError(f"{where}: unknown key {', '.join(unknown)}; there are {', '.join(sorted(allowed))}")
    out = {}
    for name, value in values.items():
        try:
            out[name] = by_name[name].metadata["parse"](value)
        except SettingError as error:
            written = ini_key(by_name[name]) if where == INI else name
            raise SettingError(f"{where}: {written}: {error}") from None
    return out


def resolve(flags: Mapping[str, object], ini: Mapping[str, object]) -> Settings:
    """Session-wide settings from parsed flags and raw ini values (absent keys are unset).

    `--metal-size quick` brings its own batches, warm-up and runs, where nobody sets them.
    """
    settings = complete({**parsed(ini, INI, frozenset(option.name for option in options())), **flags})
    if settings.given.get("against") and settings.update_baselines:
        raise SettingError("--metal-against compares and stores no baselines: leave --metal-update-baselines out")
    if settings.against and settings.host:
        raise SettingError("--metal-against needs both sides on this machine: leave --metal-host out")
    return settings


def baselines_folder(settings: Settings, rootdir: Path) -> Path:
    """Where baselines live."""
    return rootdir / Path(settings.baselines).expanduser()
