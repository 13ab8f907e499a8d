"""What each test will measure, before anything is: for the line that announces it, and for --metal-plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from ..items import constants, device_and_backend, marked
from ..measure.forecast import Expected, Took, guess, replay, restored, second_look, stored
from ..session import MetalSession
from ..settings import SettingError, Settings
from ..workloads.workload import Workload
from .against_baseline import to_record
from .evidence import is_comparable, peers, rule_of, runs_for_the_gate

TOOK = "metalperf/seconds"
"""The entry of pytest's cache that keeps what the workloads of each test took, for all tests: an id is no path."""


def remembered(config: pytest.Config) -> dict[str, list[Took]]:
    """What the workloads of each test took in earlier sessions; nothing where the cache is damaged or switched off."""
    cache = getattr(config, "cache", None)
    try:
        return restored(cache.get(TOOK, None)) if cache is not None else {}
    except RecursionError:  # json's of brackets without end, which pytest lets through
        return {}


def remember(config: pytest.Config, took: Mapping[str, Sequence[Took]]) -> None:
    """Keep it for later sessions, beside what other tests took."""
    cache = getattr(config, "cache", None)
    if cache is not None and took:
        cache.set(TOOK, stored({**remembered(config), **took}))


def expectations(
    config: pytest.Config, items: Sequence[pytest.Item], session: MetalSession, settings: Settings
) -> list[Expected]:
    """What each test will measure, as far as that is known: from what it took here before, else from its baseline."""
    took = remembered(config)
    found = []
    for item in items:
        try:
            own = marked(item, settings)
        except SettingError:  # the test will say so
            continue
        device, backend = device_and_backend(item) or ("", "")
        known = took.get(item.nodeid) or _forecasts(session, constants(item), device, backend, own)
        found += [replace(_expected(session, item.nodeid, one, own), guessed=one.guessed) for one in known]
        if not known and (settings.plan or device in ("", "cpu")):  # a GPU that may not be there needs no announcement
            found.append(Expected(item.nodeid))
    return found


def _forecasts(
    session: MetalSession, words: Iterable[str], device: str, backend: str, settings: Settings
) -> list[Took]:
    """What the models named in `words` will take on `device`; those of which nothing is known are left out."""
    stored = {} if settings.against else session.store.workloads
    found = []
    for name in dict.fromkeys(words):
        if name not in session.models:  # a builder of theirs: what is stored under its name
            found += [
                one
                for key, entry in stored.items()
                if key.startswith((f"{name}[", f"{name}@")) and key.endswith(f"@{device}:{backend}")
                if (one := guess(name, key, {}, settings.batches, entry)) is not None
            ]
        elif device == "cpu" or device in settings.devices:
            axes = dict(session.models[name].sizes.get(settings.size, {}))
            key = Workload(name, device, backend, axes).id
            one = guess(name, key, axes, settings.batches, stored.get(key))
            if one is not None and (device == "cpu" or key in stored):
                found.append(one)
    return found


def _expected(session: MetalSession, nodeid: str, one: Took, settings: Settings) -> Expected:
    """What a test will cost for one workload: recorded, compared, or gated with the looks that its noise makes likely."""
    if settings.against:
        return Expected(nodeid, one.id, f"3-{settings.max_pairs} pairs", one.in_turn(3))
    if settings.sustained:
        return Expected(nodeid, one.id, "1 sustained", one.prepare + settings.sustained)
    store = session.store
    entry = store.workloads.get(one.id)
    if to_record(session, one.id, entry, settings):
        return Expected(nodeid, one.id, str(settings.runs), one.recorded(settings.runs))
    if entry is None or not is_comparable(entry):
        return Expected(nodeid, one.id, "1", one.recorded(1))
    from ..gate import judge  # numpy and scipy: a verdict is due

    stored = runs_for_the_gate(store, entry)
    judgement = judge(stored[:1], stored, peers(store, one.id), rule_of(settings))
    second = second_look(judgement.change_low, judgement.change_high, settings.tolerance)
    runs, seconds, changed = f"1-{settings.max_runs}", one.gated(second, settings.max_runs), None
    if entry.accepted is not None and settings.confirm != "stored" and session.local:
        no_change = (1 + judgement.change_at_most) / (1 + judgement.change) - 1
        chance = replay(judgement.change_low, judgement.change_high, no_change, settings.tolerance)
        runs += f", changed: 1, 0-{settings.max_pairs} pairs"
        changed = one.replayed(1.0 if settings.confirm == "replay" else chance)
    return Expected(nodeid, one.id, runs, seconds, changed, len(stored), judgement.smallest_visible)
