"""What the page shows beside its rows: devices, machines and stacks side by side, batch sizes, and what the gate cost."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import document, words
from ..markdown import one_line
from ..sweeps import how
from .row import WORDS, Chart, Row, age_of
from .rows import session_names

KNEE = 0.95
"""The share of the best throughput that the smallest batch beyond the knee reaches."""


@dataclass(frozen=True)
class Panel:
    """A picture with its heading and a table of the same figures for those who read."""

    title: str
    chart: Chart
    said: str = ""


def title(found: Sequence[Row]) -> str:
    """`1 slower, 4 within`, of all rows."""
    shown = words.counts([one.verdict for one in found], WORDS)
    return shown or "nothing was measured"


def opening(found: Sequence[Row], most: int) -> tuple[Chart | None, int]:
    """The opening picture, and how many rows that have a change it leaves out: those that say least."""
    changed = [one for one in found if "change" in one.figures]
    names: dict[str, int] = {}
    shown: list[dict[str, Any]] = []
    for one in changed[:most]:
        name = ", ".join(part for part in (f"{one.label} {one.device}".strip(), one.session) if part)
        names[name] = count = names.get(name, 0) + 1
        figures = one.figures
        tolerance = figures.get("tolerance", 0.0)
        shown.append(
            {
                "name": f"{name} ({count})" if count > 1 else name,
                "verdict": one.verdict,
                "tone": one.tone,
                "key": one.key,
                "from": -tolerance,
                "to": tolerance,
                **{key: figures[key] for key in ("change", "low", "high", "visible") if key in figures},
            }
        )
    if not shown:
        return None, 0
    data: dict[str, list[dict[str, Any]]] = {"rows": shown, "zero": [{"change": 0}]}
    said = (
        "A dot is the change with its 95 % interval. The grey band is what is allowed,"
        " the grey tick the smallest slowdown that is seen 9 times in 10."
    )
    return Chart("forest", "", said, data=data), len(changed) - len(shown)


# side by side


@dataclass(frozen=True)
class _Variant:
    """One workload of one session, as it stands beside others."""

    device: str
    backend: str
    session: str
    stack: str
    seconds: float
    low: float
    high: float


def side_by_side(sessions: Sequence[document.Document]) -> list[Panel]:
    """A picture for each workload that ran on two devices, machines or stacks: seconds per batch, lower is better."""
    groups: dict[str, list[_Variant]] = {}
    for session, name in zip(sessions, session_names(sessions), strict=True):
        for result in session.results:
            if isinstance(result, document.Measurement) and (one := _variant(result, name)):
                groups.setdefault(_work(result.workload), []).append(one)
    checked = {
        (_work(one.of), one.of.device): one.parity
        for session in sessions
        for one in session.results
        if isinstance(one, document.Speedup) and one.parity == "checked"
    }
    found = []
    for work, variants in groups.items():
        told = _names(variants)
        if len(set(told)) < 2:
            continue
        data = [
            {
                "variant": name,
                "seconds": one.seconds,
                "low": one.low,
                "high": one.high,
                "end": max(one.high, one.seconds),
                "text": f"{words.seconds(one.seconds)} s"
                + (", computes the same" if (work, one.device) in checked else ""),
            }
            for name, one in sorted(zip(told, variants, strict=True), key=lambda both: both[1].seconds)
        ]
        chart = Chart("bars", one_line(work), data={"bars": data})
        found.append(Panel(one_line(work), chart))
    return found


def _work(workload: document.Workload) -> str:
    """What was trained, wherever that was."""
    return workload.label


def _variant(result: document.Measurement, session: str) -> _Variant | None:
    if (
        result.error
        or result.sustained is not None
        or not result.verdict
        or result.seconds_per_batch is None
        or not result.runs
    ):
        return None
    workload, judged = result.workload, result.judgement
    figures = [run.seconds_per_batch for run in result.runs]
    own = judged is not None and result.verdict != "recorded"
    low, high = (judged.now_low, judged.now_high) if own and judged is not None else (min(figures), max(figures))
    stack = words.versions([result.runs[-1].versions])
    return _Variant(workload.device, workload.backend, session, stack, result.seconds_per_batch, low, high)


def _names(variants: Sequence[_Variant]) -> list[str]:
    """Of each what tells it from the others: its device, its backend, its session, its packages, as far as they differ."""
    backends = len({one.backend for one in variants}) > 1
    stacks = len({(one.device, one.backend, one.session) for one in variants}) < len(set(variants))
    return [
        one_line(
            ", ".join(
                part
                for part in (
                    f"{one.device}:{one.backend}" if backends else one.device,
                    one.session,
                    one.stack if stacks else "",
                )
                if part
            )
        )
        for one in variants
    ]


# batch sizes


def sweeps(sessions: Sequence[document.Document]) -> list[Panel]:
    """A picture for each workload that was measured at three batch sizes or more."""
    found = []
    for session in sessions:
        groups: dict[str, dict[int, document.Measurement]] = {}
        for result in session.results:
            if (
                isinstance(result, document.Measurement)
                and result.sustained is None
                and (result.verdict or result.error)
            ):
                size = result.workload.axes.get("batch_size")
                if isinstance(size, int) and not isinstance(size, bool):
                    groups.setdefault(_without_size(result.workload), {}).setdefault(size, result)
        found += [_sweep(name, group) for name, group in groups.items() if len(group) > 2]
    return found


def _without_size(workload: document.Workload) -> str:
    axes = ",".join(f"{key}={value}" for key, value in sorted(workload.axes.items()) if key != "batch_size")
    return f"{workload.name}{f' {axes}' if axes else ''} {workload.device}:{workload.backend}"


def _sweep(name: str, group: Mapping[int, document.Measurement]) -> Panel:
    speeds = {size: one.examples_per_second for size, one in group.items() if one.examples_per_second and not one.error}
    best = max(speeds, key=lambda size: speeds[size] or 0.0, default=None)
    knee = next((size for size in sorted(speeds) if best and (speeds[size] or 0) >= KNEE * (speeds[best] or 0)), None)
    data: list[dict[str, Any]] = []
    for size in sorted(group):
        one = group[size]
        state = "best" if size == best else "knee" if size == knee else "fits"
        if size not in speeds:
            state = how(one.error)
        memory = one.peak_memory_bytes
        data.append(
            {
                "size": size,
                "speed": speeds.get(size),
                "memory_gb": None if memory is None else memory / 1e9,
                "state": state,
            }
        )
    said = "Nothing trained."
    if best is not None and knee is not None:
        said = f"Most examples a second at {best}: {speeds[best]:.4g}."
        said += (
            f" The knee is at {knee}: larger batches bring less than {words.percent(1 - KNEE)} more."
            if knee != best
            else ""
        )
    lost = [str(one["size"]) for one in data if one["state"] == "did not fit"]
    said += f" No longer fits: {', '.join(lost)}." if lost else ""
    return Panel(one_line(name), Chart("sweep", one_line(name), said, data={"sizes": data}))


# what the gate cost


def costs(session: document.Document, today: datetime.date) -> list[tuple[str, str]]:
    """Minutes, runs, the gate's promises and the age of baselines, of one session."""
    cost, gate = session.cost, session.gate
    found = [
        ("took", words.duration(cost.seconds)),
        ("runs", f"{words.plural(cost.runs, 'fresh run')} and {words.plural(cost.pairs, 'fresh pair')}"),
    ]
    if cost.waited_for_others >= 1:
        whom = f" ({words.listed([one_line(name) for name in cost.waited_for], 3)})" if cost.waited_for else ""
        found.append(("waited for other measurements", f"{words.duration(cost.waited_for_others)}{whom}"))
    if cost.waited_for_slow_minutes >= 1:
        found.append(("waited for slow minutes to pass", words.duration(cost.waited_for_slow_minutes)))
    if session.options.budget is not None:
        found.append(
            ("budget", f"{words.duration(cost.budget_spent)} of {words.duration(session.options.budget)} were spent")
        )
    if gate is not None:
        alarms, limit = (f"{100 * one:g} %" for one in (gate.alarm_rate, gate.tolerance_alarm_rate))
        found.append(
            (
                "false alarms",
                f"at most {alarms} of unchanged workloads, {limit} of those that change by just what is allowed",
            )
        )
        found.append(("power", f"a slowdown as large as visible is found in {words.percent(gate.power)} of sessions"))
    ages = sorted(
        age for one in session.results if one.baseline is not None and (age := age_of(one.baseline, today)) is not None
    )
    if ages:
        middle = ages[len(ages) // 2]
        found.append(("age of baselines", f"{ages[0]} to {ages[-1]} days, the median {middle}"))
    return found


def session_facts(session: document.Document) -> list[tuple[str, str]]:
    """Which machine, which code, when."""
    machine, one = session.machine, session.session
    commit = (
        "" if one.commit is None else one.commit[:10] + ("" if one.clean is not False else ", and changes beside it")
    )
    runs = [run for r in session.results if isinstance(r, document.Measurement) for run in r.runs]
    pairs = [pair for r in session.results if isinstance(r, document.Speedup) for pair in r.pairs]
    versions = words.versions(
        one.versions for one in [*runs, *(side for pair in pairs for side in (pair.of, pair.over))]
    )
    known = (machine.model, machine.chip, f"{machine.memory_gb} GB", *machine.gpus, machine.os)
    hardware = ", ".join(text for text in dict.fromkeys(known) if text not in ("", "unknown"))
    found = [
        ("machine", machine.id),
        ("hardware", hardware),
        *machine.added.items(),
        ("started", one.started),
        ("commit", commit),
        ("packages", versions),
        ("plugin", f"pytest-metalperf {one.plugin}"),
        *((f"not available: {place}", why) for place, why in session.unavailable.items()),
    ]
    return [(one_line(term), one_line(text)) for term, text in found if text]


def ended(session: document.Document) -> str:
    """What is missing of a session that did not end by itself; empty where nothing is."""
    return {
        "running": "This session was killed, or still runs: what it had not measured by then is missing.",
        "interrupted": "This session ended before all its tests had run.",
    }.get(session.session.state, "")
