"""Where a workload became slower or faster: seconds in, steps out; nothing here reads a file or a clock.

The model is the gate's, in logarithms of seconds per batch: a level that changes in steps, plus an effect of the hour that is
the same for all that it measured, plus an effect of each run. In the code's order:

1. `ruptures` proposes places: for each number of steps those that leave the smallest sum of squares (kernel change points
   with the linear kernel: Celisse, Marot, Pierre-Jean and Rigaill 2018, Computational Statistics and Data Analysis 128:200).
   They know nothing of hours, in which four commits share one effect, so each place is then moved to the likeliest one by
   the model, the other steps held where they are.
2. The share of the hours' variance in that of runs is not known, and 15 hours hardly tell it. So it is averaged over a grid by
   its restricted likelihood (Patterson and Thompson 1971, Biometrika 58:545) beside the steps, instead of being estimated:
   what is an hour and what is a step has to be told by the data. For each share the size of a step over its standard error
   has Student's t, exactly.
3. Steps are believed where noise alone would make one as large, at the best of all places, with a probability of `ALARM` at
   most. From one place to all of them leads the bound of Hunter and Worsley (Worsley 1982, Biometrika 69:297): neighbouring
   places have nearly the same noise, and those inside an hour less so. Where only two more steps are believed together, such
   as those of a slow week, they are chosen from all pairs of places.
4. The size of a step is given with its 95 % interval of the same average. So are its places: the fewest that hold it with 95 %,
   each as probable as its likelihood.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri, stdtr
from scipy.stats import rankdata

ALARM = 0.0075
"""Probability of a step where nothing changed, of all places of a series together; what simulations find is below it."""
BY_RANKS = 0.02
"""The same of their ranks, which lose more than they gain where it is lower."""
FEW, TAILS = 14, 10.0
"""The ranks of fewer points can hardly show a step: there it is so many times less probable instead."""
LEAST = 2
"""Hours on each side of a step: one may be slow by itself, with all the commits that it measured."""
MOST_STEPS = 20
MOST_POINTS = 2000
"""Points that steps are looked for in, the newest."""
SMALLEST_RUN_SD = 0.001
"""As in the gate: what runs differ by at least."""
SHARES = np.array([0.0, *(2.0**power for power in range(-2, 9))])
"""The grid: variance of hours over variance of runs."""
CONFIDENCE = 0.95
NEAR, TIE = 3, 0.01
"""A step is said to begin in the middle of the seven points that hold it most probably; of equals, where it is likelier."""
SMALLEST_PROBABILITY = 1e-300
NODES, NODE_WEIGHTS = np.polynomial.laguerre.laggauss(8)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A lasting change between two points of a series.

    Attributes:
        place: the point around which it most probably begins: no other has it as probably within three.
        first: the earliest point that it may begin with, at 95 %; `place` or before it.
        last: the latest; `place` or after it.
        change: seconds after over seconds before, minus one, with a 95 % interval, which holds the noise of hours too.
    """

    place: int
    first: int
    last: int
    change: float
    change_low: float
    change_high: float


class NoRuptures(Exception):
    """The package that proposes places is not installed: one sentence, with the remedy."""

    def __init__(self) -> None:
        super().__init__("change points need the package ruptures: pip install 'pytest-metalperf[history]'")


def find_steps(points: Sequence[Sequence[float]], hours: Sequence[Hashable]) -> list[Step]:
    """The steps that are believed, in their order.

    Args:
        points: seconds per batch of the runs of each point in time (one commit in one hour), at least one.
        hours: what each point was measured in; points of one hour are neighbours.

    Raises:
        ValueError: for no runs, seconds that are not positive and finite, and hours that are not as many or come again.
        NoRuptures: where that is not installed.
    """
    if len(points) != len(hours):
        raise ValueError(f"{len(points)} points cannot have {len(hours)} hours")
    left_out = max(0, len(points) - MOST_POINTS)
    series = _Series(points[left_out:], hours[left_out:])
    propose, scores = _proposer(series.levels), series.scores()
    places: list[int] = []
    for count in range(1, min(MOST_STEPS, len(set(hours[left_out:])) // LEAST - 1) + 1):
        found = series.moved(propose(count))
        more = count - len(places)
        if found and _probability(series, scores, found) * (len(series) - 1) ** (more - 1) <= ALARM:
            places = found
        elif more > 1:
            break
    return [series.step(places, number, left_out) for number in range(len(places))]


def _probability(series: _Series, scores: _Series, places: Sequence[int]) -> float:
    """Of the least believed of these steps."""
    by_levels = max(series.probabilities(places))
    if len(series) < FEW:
        return TAILS * by_levels
    return max(by_levels, *(one * ALARM / BY_RANKS for one in scores.probabilities(places)))


def _proposer(levels: Array) -> Any:
    """A function from a number of steps to their places."""
    try:
        from ruptures import KernelCPD  # an extra, and slow to load: only where steps are asked for
    except ImportError:
        raise NoRuptures from None
    fitted = KernelCPD(kernel="linear", min_size=2).fit(levels[:, None])
    return lambda count: fitted.predict(n_bkps=count)[:-1]


class _Series:
    """Points as the mixed model has them; arrays have the grid of shares on their first axis.

    Sums of squares are in units of the run variance: `W` is the inverse of the points' covariance in these.
    """

    def __init__(self, points: Sequence[Sequence[float]], hours: Sequence[Hashable]) -> None:
        logarithms = [np.log(_checked(runs)) for runs in points]
        levels = np.array([runs.mean() for runs in logarithms])
        self.levels: Array = levels - levels.mean() if levels.size else levels
        self.runs: Array = np.array([float(runs.size) for runs in logarithms])
        self.within = float(sum(np.square(runs - runs.mean()).sum() for runs in logarithms))
        lengths = [len(list(group)) for _, group in groupby(hours)]
        if len(lengths) != len(set(hours)):
            raise ValueError("points of one hour must be neighbours")
        self.hours = np.repeat(np.arange(len(lengths)), lengths)
        per_hour: Array = np.bincount(self.hours, self.runs).astype(float)
        self.shrink: Array = SHARES[:, None] / (1 + SHARES[:, None] * per_hour)
        self.log_determinant: Array = np.log1p(SHARES[:, None] * per_hour).sum(axis=1)
        self.own, self.alike = self._own(per_hour)
        self._sum()

    def _sum(self) -> None:
        self.weighted_levels = self._weighted(self.levels)
        self.total: Array = self.weighted_levels @ self.levels + self.within

    def __len__(self) -> int:
        return len(self.levels)

    def scores(self) -> _Series:
        """The same with normal scores in place of levels."""
        found = copy.copy(self)
        if len(self):
            ranks = rankdata(self.levels)
            found.levels = ndtri((ranks - 0.5) / len(self)) * self.levels.std()
            found._sum()
        return found

    def _weighted(self, values: Array) -> Array:
        """`W` times values of the points."""
        of_hours = np.bincount(self.hours, self.runs * values)
        return self.runs * (values - self.shrink[:, self.hours] * of_hours[self.hours])

    def _own(self, per_hour: Array) -> tuple[Array, Array]:
        """Of the column `s` that is one from a place on: `s'Ws`, and how alike the noise of neighbouring places is."""
        whole = self.shrink * per_hour**2
        after = np.cumsum(whole[:, ::-1], axis=1)[:, ::-1] - whole
        from_here = _suffix(self.runs)
        in_hour = from_here - np.concatenate([_suffix(per_hour)[1:], [0.0]])[self.hours]
        shrink = self.shrink[:, self.hours]
        own = from_here - after[:, self.hours] - shrink * in_hour**2
        level = _suffix(self._weighted(np.ones(len(self))))
        apart = level / level[:, :1]
        free = np.maximum(own - apart * level, 1e-12)
        both = own[:, 1:] - (shrink * self.runs * (in_hour - self.runs))[:, :-1] - apart[:, 1:] * level[:, :-1]
        alike = both / np.sqrt(free[:, 1:] * free[:, :-1])
        return own, alike[:, 1:]  # the first place is the level itself

    def _columns(self, places: Sequence[int]) -> Array:
        """The design: the first level, and for each step a one from its place on."""
        return (np.arange(len(self))[:, None] >= np.array([0, *places])).astype(float)

    def _fit(self, places: Sequence[int]) -> tuple[Array, Array, Array, Array, Array]:
        """Of each share: level and steps, their covariance, sum of squares left, restricted log likelihood; `WX`."""
        design = self._columns(places)
        weighted = np.stack([self._weighted(column) for column in design.T], axis=-1)
        inner = np.einsum("rnp,nq->rpq", weighted, design)
        covariance = np.linalg.inv(inner)
        moment = np.einsum("rnp,n->rp", weighted, self.levels)
        sizes = np.einsum("rpq,rq->rp", covariance, moment)
        left = self.total - np.einsum("rp,rp->r", sizes, moment)
        df = self._df(len(places))
        left = np.maximum(left, 0.0) + df * SMALLEST_RUN_SD**2
        likelihood = -(df * np.log(left) + self.log_determinant + np.linalg.slogdet(inner)[1]) / 2
        return sizes, covariance, left, likelihood, weighted

    def _df(self, steps: int) -> float:
        return max(1.0, float(self.runs.sum()) - steps - 1)

    def moved(self, places: Sequence[int]) -> list[int]:
        """Each place moved to the likeliest one between its neighbours, until none moves; empty where there is no room."""
        found = list(places)
        for _ in range(5):
            before = list(found)
            for number in range(len(found)):
                start, probable = self._where(found, number)
                if not probable.size:
                    return []
                found[number] = start + int(np.argmax(probable))
            if found == before:
                break
        return found

    def _room(self, places: Sequence[int], number: int) -> tuple[int, int]:
        """The first and the last place that leave enough hours on each side of a step, as far as its neighbours."""
        before = places[number - 1] if number else 0
        after = places[number + 1] if number + 1 < len(places) else len(self)
        start = int(np.searchsorted(self.hours, self.hours[before] + LEAST - 1)) + 1
        end = int(np.searchsorted(self.hours, self.hours[after - 1] - LEAST + 1, side="right")) - 1
        return start, end

    def _where(self, places: Sequence[int], number: int) -> tuple[int, Array]:
        """The first place that a step may have between its neighbours, and how probable each from there on is."""
        others = [*places[:number], *places[number + 1 :]]
        start, end = self._room(places, number)
        if start > end:
            return start, np.empty(0)
        sizes, covariance, left, likelihood, weighted = self._fit(others)
        with_others = _suffix(weighted)[:, start : end + 1]
        along = np.einsum("rtp,rpq->rtq", with_others, covariance)
        free = self.own[:, start : end + 1] - np.einsum("rtq,rtq->rt", along, with_others)
        free = np.maximum(free, 1e-9)
        moment = _suffix(self.weighted_levels)[:, start : end + 1] - np.einsum("rtp,rp->rt", with_others, sizes)
        df, now = self._df(len(others)), self._df(len(places))
        rest = np.maximum(left[:, None] - df * SMALLEST_RUN_SD**2 - moment**2 / free, 0.0) + now * SMALLEST_RUN_SD**2
        base = likelihood + df * np.log(left) / 2
        scores = logsumexp(base[:, None] - (now * np.log(rest) + np.log(free)) / 2, axis=0)
        return start, np.exp(scores - logsumexp(scores))

    def _sizes(self, places: Sequence[int]) -> tuple[Array, Array, Array, float]:
        """Of each share: the steps in logarithms, their standard errors, its weight; and the degrees of freedom."""
        sizes, covariance, left, likelihood, _ = self._fit(places)
        df = self._df(len(places))
        errors = np.sqrt(left[:, None] / df * np.diagonal(covariance, axis1=1, axis2=2))
        return sizes[:, 1:], errors[:, 1:], np.exp(likelihood - logsumexp(likelihood)), df

    def probabilities(self, places: Sequence[int]) -> list[float]:
        """How probable it is that noise alone makes as large a step at the best of all places, for each."""
        sizes, errors, weights, df = self._sizes(places)
        once = np.clip(2 * stdtr(df, -np.abs(sizes) / errors), SMALLEST_PROBABILITY, 0.5)
        at_one = weights @ once
        if at_one.max() > BY_RANKS:  # it is disbelieved, wherever else it might have been
            return [float(one) for one in at_one]
        return [float(weights @ np.minimum(1.0, self._anywhere(one))) for one in once.T]

    def _anywhere(self, once: Array) -> Array:
        """From the probability at one place, of each share, to a bound of that at any place."""
        beyond = -ndtri(once / 2)[:, None, None]
        among = np.clip(self.alike, 0.0, 1 - 1e-12)[:, :, None]
        reached = beyond + NODES / beyond
        spread = np.sqrt(1 - among**2)
        missed = ndtr((beyond - among * reached) / spread) - ndtr((-beyond - among * reached) / spread)
        density = np.exp(-(beyond**2) / 2 - (NODES / beyond) ** 2 / 2) / math.sqrt(2 * math.pi)
        return once + (2 / beyond * density * missed) @ NODE_WEIGHTS @ np.ones(among.shape[1])

    def step(self, places: Sequence[int], number: int, offset: int) -> Step:
        """One of the steps, its places counted from `offset`."""
        around = np.ones(2 * NEAR + 1) - TIE * np.abs(np.arange(-NEAR, NEAR + 1))
        sizes, errors, weights, df = self._sizes(places)
        ends = [_quantile(sizes[:, number], errors[:, number], weights, df, q) for q in _tails()]
        start, probable = self._where(places, number)
        order = np.argsort(-probable, kind="stable")
        enough = order[: 1 + int(np.searchsorted(np.cumsum(probable[order]), CONFIDENCE))]
        place = int(
            np.argmax(np.convolve(probable, around)[NEAR : NEAR + probable.size])
        )  # perhaps beside the likeliest
        return Step(
            place=offset + start + place,
            first=offset + start + min(place, int(enough.min())),
            last=offset + start + max(place, int(enough.max())),
            change=math.expm1(float(weights @ sizes[:, number])),
            change_low=math.expm1(ends[0]),
            change_high=math.expm1(ends[1]),
        )


def _checked(runs: Sequence[float]) -> Array:
    values = np.asarray(runs, dtype=float)
    if values.size == 0 or not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError("seconds of runs must be positive finite numbers, at least one at each point")
    return values


def _suffix(values: Array) -> Array:
    """Sums from each point on; the points are the only axis, or the second."""
    axis = 0 if values.ndim == 1 else 1
    return np.flip(np.cumsum(np.flip(values, axis), axis), axis)


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def _quantile(centres: Array, errors: Array, weights: Array, df: float, level: float) -> float:
    """Of a mixture of Student's t, by bisection."""
    reach = 1000 * errors.max()
    low, high = float(centres.min() - reach), float(centres.max() + reach)
    for _ in range(80):
        middle = (low + high) / 2
        if float(weights @ stdtr(df, (middle - centres) / errors)) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2
