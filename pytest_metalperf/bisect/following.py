"""A search from its first comparison to its last: measures, keeps what was measured, and says how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..references.git import revision
from . import step, words
from .checkout import checked_out
from .likelihood import GOOD, Pair, figure
from .probe import Answer, Interrupted, Probe
from .question import Question, Refused, key, machine, stack
from .search import forecast, searched
from .state import Comparison, StateFile, held


class Ended(KeyboardInterrupt):
    """A search that was interrupted; what it had measured is kept."""


class Following:
    """One search.

    Args:
        asked: the question.
        probe: that compares commits with BAD.
        kept: what was measured, before and now.

    Attributes:
        found: whether it has an answer.
    """

    def __init__(self, asked: Question, probe: Probe, kept: StateFile) -> None:
        self.found = False
        self._asked, self._probe, self._kept = asked, probe, kept
        self._last: tuple[str, Sequence[float], float] | None = None

    def lines(self) -> Iterator[str]:
        """What is printed, as it comes.

        Raises:
            Refused: in one sentence.
            Ended: by Ctrl-C.
        """
        try:
            yield from self._lines()
        except Interrupted as interrupted:
            raise Ended from interrupted
        except KeyboardInterrupt:
            raise Ended from None

    def _lines(self) -> Iterator[str]:
        asked, count = self._asked, len(self._asked.commits)
        measured = sum(len(one.pairs) for one in self._kept.state.comparisons)
        yield from words.beginning(asked, measured, dirty=revision(asked.top).clean is False)
        while (verdict := self._verdict()) is None:
            yield self._with_good()
        good = self._pairs(asked.good)
        judgement = step.judged(good)
        if not verdict:
            yield words.no_step(
                judgement.verdict, judgement.change, judgement.change_low, judgement.change_high, len(good)
            )
            return
        seen = self._seen()
        expected = forecast(count, seen, self._skipped())
        if expected[-1]:
            yield words.cost(expected, self._seconds() / len(self._kept.state.comparisons))
        found = None
        for found in searched(count, seen, self._compare, self._skipped()):
            if self._last is not None:
                commit, values, seconds = self._last
                why = self._skipped().get(asked.commits.index(commit), "")
                yield words.compared(asked, commit, values, seconds, found) if values else words.skipped(commit, why)
        assert found is not None  # it is known before the first comparison
        self.found = found.is_sure
        last = words.answer if self.found else words.no_answer
        yield ""
        yield from last(asked, found, self._seen(), self._kept.state.workload, self._skipped(), self._seconds())

    # what was measured

    def _of(self, commit: str) -> list[Comparison]:
        return [one for one in self._kept.state.comparisons if one.commit == commit]

    def _pairs(self, commit: str) -> list[Pair]:
        return [pair for one in self._of(commit) for pair in one.pairs]

    def _seen(self) -> dict[int, list[float]]:
        pairs = {
            index: self._pairs(commit) for index, commit in enumerate((self._asked.good, *self._asked.commits), GOOD)
        }
        return {index: [figure(pair) for pair in found] for index, found in pairs.items() if found}

    def _skipped(self) -> dict[int, str]:
        why = {index: [one.skipped for one in self._of(commit)] for index, commit in enumerate(self._asked.commits)}
        return {index: reasons[-1] for index, reasons in why.items() if reasons and reasons[-1]}

    def _seconds(self) -> float:
        return sum(one.seconds for one in self._kept.state.comparisons)

    # what is measured

    def _verdict(self) -> bool | None:
        good = self._pairs(self._asked.good)
        return step.is_step(good) if good else None

    def _with_good(self) -> str:
        answer = self._measured(self._asked.good)
        if answer.why:
            raise Refused(
                f"GOOD ({words.commit(self._asked, self._asked.good)}) and BAD cannot be compared: {answer.why}"
            )
        return words.compared(
            self._asked, self._asked.good, [figure(one) for one in answer.pairs], answer.seconds, None
        )

    def _compare(self, index: int) -> list[float] | None:
        commit = self._asked.commits[index]
        answer = self._measured(commit)
        figures = [figure(pair) for pair in answer.pairs]
        self._last = commit, figures, answer.seconds
        return figures or None

    def _measured(self, commit: str) -> Answer:
        try:
            answer = self._probe.compare(commit, self._kept.state.workload)
        except Interrupted as interrupted:
            if interrupted.answer.pairs:
                self._keep(commit, interrupted.answer)
            raise
        if answer.pairs or commit != self._asked.good:
            self._keep(commit, answer)
        return answer

    def _keep(self, commit: str, answer: Answer) -> None:
        if answer.pairs:
            self._kept.state.workload = self._kept.state.workload or answer.workload
        pairs = [(list(bad), list(other)) for bad, other in answer.pairs]
        self._kept.add(Comparison(commit=commit, pairs=pairs, skipped=answer.why, seconds=round(answer.seconds, 3)))


@contextmanager
def opened(asked: Question, *, restart: bool = False) -> Iterator[Following]:
    """A search with BAD's checkout and what was measured of it before.

    Args:
        asked: the question.
        restart: put aside what was measured before.

    Raises:
        Refused: in one sentence.
    """
    here = machine()
    with held(asked, here, key(asked, here, stack(asked.top)), restart=restart) as kept, checked_out(asked) as tree:
        yield Following(asked, Probe(asked, tree), kept)
