"""What `calibrate` prints: noise, rates and choices as aligned tables, and what to do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from ..gate import Rule, learn_noise
from ..gate.noise import SESSIONS_TO_KNOW
from ..report import words
from ..report.tables import aligned
from . import simulation
from .simulation import Choice, Measured, World, choices, replay, stored, verdict_seconds, worthwhile


def report(all_measured: Sequence[Measured], rule: Rule, step: int) -> str:
    """The whole answer for workloads that were measured in the same sessions."""
    days, runs = len(all_measured[0].sessions), len(all_measured[0].sessions[0])
    stores, count = [stored(one.sessions) for one in all_measured], len(all_measured)
    noises = [learn_noise(stores[i], [*stores[:i], *stores[i + 1 :]]) for i in range(count)]
    worlds = [World([noises[i], *noises[:i], *noises[i + 1 :]], days, runs) for i in range(count)]
    both = list(zip(all_measured, worlds, strict=True))
    parts = [
        _noise(both),
        _replayed(all_measured, rule, step),
        _simulated(both, rule, step),
        *_needed(both, rule, step),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _noise(both: Sequence[tuple[Measured, World]]) -> list[str]:
    rows = []
    for one, world in both:
        noise, middle = world.noises[0], statistics.median(run for runs in one.sessions for run in runs)
        levels = ((noise.run_sd, noise.run_known), (noise.session_sd, noise.session_known))
        cells = (words.percent(sd) + ("" if known else " (prior)") for sd, known in levels)
        rows.append((one.label, words.seconds(middle), *cells))
    few = not both[0][1].noises[0].session_known
    return [
        "Noise: what runs differ by when nothing changes (standard deviations)",
        *table(("workload", "s/batch", "between runs", "between sessions"), rows),
        *(["(prior): assumed, since too little was measured to know it; that takes three sessions."] if few else []),
        "Sessions minutes apart know nothing of other days: their noise is the least to expect (--pause 3600 knows more).",
    ]


_SLOWER = (
    "workload",
    "unchanged",
    *(f"{100 * ratio - 100:.0f} % slower" for ratio in list(simulation.TRIALS)[1:]),
    "inconclusive",
)


def _replayed(all_measured: Sequence[Measured], rule: Rule, step: int) -> list[str]:
    days, runs = len(all_measured[0].sessions), len(all_measured[0].sessions[0])
    if days == 1:
        return [
            "One session alone has no other to be judged against: for A/A verdicts on these runs measure two or more."
        ]
    rows, still_open = [], 0
    for one in all_measured:
        peers = [other.sessions for other in all_measured if other is not one]
        rates = [replay(one.sessions, peers, ratio, rule, step) for ratio in simulation.TRIALS]
        rows.append((one.label, *(each.of("slower") for each in rates), rates[0].of("inconclusive")))
        still_open += sum(each.verdicts["open"] for each in rates)
    notes = [
        f"The {days * runs} verdicts of each share {days * runs} runs, which take turns in coming first: a check, no rate."
    ]
    if still_open:
        notes += [f"{words.plural(still_open, 'verdict')} stayed open: the gate wanted more than {runs} runs (--runs)."]
    if days <= SESSIONS_TO_KNOW:
        against = words.plural(days - 1, "session")
        notes += [
            f"Against {against} the gate still assumes part of what sessions differ by, and sees less (--sessions 4)."
        ]
    return [
        "Called slower: these very runs, each session against the others"
        f" (tolerance {words.percent(rule.tolerance)}, up to {words.plural(rule.max_runs, 'run')})",
        *table(_SLOWER, rows),
        *notes,
    ]


def _simulated(both: Sequence[tuple[Measured, World]], rule: Rule, step: int) -> list[str]:
    rows = []
    for one, world in both:
        rates = [world.simulate(ratio, rule, step, trials) for ratio, trials in simulation.TRIALS.items()]
        shares = [*(each.share("slower") for each in rates), rates[0].share("inconclusive")]
        rows.append((one.label, *shares, f"{rates[0].mean(float):.2f}", words.percent(world.visible(rule))))
    return [
        f"Called slower: simulated with that noise, {both[0][1].stored} stored, {simulation.TRIALS[1.0]} trials"
        f" ({simulation.TRIALS[1.05]} of each slowdown)",
        *table((*_SLOWER, "runs", "visible"), rows),
        "unchanged: false alarms. inconclusive, runs: of unchanged code. visible: the slowdown that is seen 9 times in 10.",
    ]


def _needed(both: Sequence[tuple[Measured, World]], rule: Rule, step: int) -> list[list[str]]:
    wanted, rows, advice = 2 * rule.tolerance, [], []
    for one, world in both:
        kept = worthwhile(choices(world, rule, one.took, step), wanted)
        for choice in kept:
            unchanged, slowed = (
                choice.world.simulate(ratio, choice.rule, step, simulation.CHOICE_TRIALS) for ratio in (1.0, 1 + wanted)
            )
            usual = unchanged.mean(partial(verdict_seconds, one.took, step=step))
            times = (words.duration(seconds) for seconds in (choice.record, usual, choice.longest))
            shares = (words.percent(choice.visible), slowed.share("slower"))
            rows.append((one.label, choice.world.stored, str(choice.rule.max_runs), *shares, *times))
        advice.append(f"{one.label}: {advised(kept[-1], wanted)}")
    needed = [
        f"Needed to see a slowdown of {words.percent(wanted)}, twice the tolerance, 9 times in 10",
        *table(("workload", "stored", "max. runs", "visible", "seen", "recording", "verdict", "at most"), rows),
        f"seen: how often {words.percent(wanted)} is called slower, of {simulation.CHOICE_TRIALS} trials."
        " verdict: of unchanged code, on average. Times are without waiting for other measurements.",
    ]
    return [needed, ["What to do", *advice]]


def advised(last: Choice, wanted: float) -> str:
    """The options that see `wanted`; where none do, what else helps."""
    noise, days = last.world.noises[0], last.world.sessions
    if last.visible <= wanted:
        extend = f", on {days} days (the later ones with --metal-update-mode extend)" if days > 1 else ""
        return f"record and gate with {last.options}{extend}"
    if noise.session_sd >= noise.run_sd:
        why = f"sessions differ by {words.percent(noise.session_sd)}" + ("" if noise.session_known else " (assumed)")
        cure = "no number of runs averages that out: compare within one session, --metal-against"
    else:
        why = f"runs differ by {words.percent(noise.run_sd)}"
        cure = "try longer runs (--metal-batches), a quieter machine, or compare within one session, --metal-against"
    least = f"about {words.percent(last.visible)} is the least to be seen, with {last.world.stored}, {last.options}"
    return f"{why}; {cure}. Else {least}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table: names to the left, figures to the right."""
    return aligned([head, *rows], "l" + "r" * (len(head) - 1))
