"""Does it matter who is shown first? numpy and scipy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from accord.maths.paired import sign_test
from accord.maths.statistics import Interval, mean_interval, proportion_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Shown(NamedTuple):
    """How verdicts fall by place. wins, losses, ties: of what was shown first. share: of those decided.

    p: the sign test's, of neither place being better. Who is shown first must not depend on who is better, or this
    says nothing.
    """

    wins: int
    losses: int
    ties: int
    share: float
    interval: Interval
    p: float


class Places(NamedTuple):
    """The win rate of one model when it is shown first, and when it is second; the difference with its error."""

    first: float
    second: float
    difference: float
    standard_error: float
    interval: Interval


class Orders(NamedTuple):
    """A judge that saw both orders, of n pairs. consistent: the same winner, or a tie, in both.

    first, second: the one that was shown first (second) won both times, whichever it was. unsure: a tie in one order.
    """

    n: int
    consistent: float
    first: float
    second: float
    unsure: float


def first_shown(outcome: Floats, shown_first: Ints, clusters: Ints | None = None, level: float = 0.95) -> Shown:
    """(N,) outcomes in 0..1 of a model and (N,) where it stood: 1 first, -1 second, 0 not known, which is left out.

    clusters: (N,) the prompt, where several verdicts are on one, or several models had the same order on it. The
    interval is then `proportion_interval`'s, and the test is of prompts on which more was won by what stood first.
    """
    side = np.sign(outcome - 0.5) * shown_first
    decided = side != 0
    place = np.arange(len(side)) if clusters is None else clusters
    group = np.unique(place[decided], return_inverse=True)[1]
    each = np.sign(np.bincount(group, side[decided]))
    wins, losses = int((side > 0).sum()), int((side < 0).sum())
    estimate = proportion_interval(side[decided] > 0, group, level=level)
    p = sign_test(int((each > 0).sum()), int((each < 0).sum()))
    known = int((shown_first != 0).sum())
    return Shown(wins, losses, known - wins - losses, estimate.mean, estimate.interval, p)


def by_place(outcome: Floats, shown_first: Ints, clusters: Ints, weight: Floats, level: float = 0.95) -> Places | None:
    """As `first_shown`, with (N,) clusters and weights; None where the model always stood in one place."""
    first, second = (
        mean_interval(outcome[where], clusters[where], weight[where], level)
        for where in (shown_first == 1, shown_first == -1)
    )
    if math.isnan(first.standard_error) or math.isnan(second.standard_error):
        return None
    error = math.hypot(first.standard_error, second.standard_error)
    gap = first.mean - second.mean
    half = float(ndtri(0.5 + level / 2)) * error
    return Places(first.mean, second.mean, gap, error, Interval(gap - half, gap + half))


def both_orders(orders: Floats) -> Orders | None:
    """(N, 2) outcomes of a model when it was shown first, and when second; None where none has both."""
    both = np.sign(orders[~np.isnan(orders).any(axis=1)] - 0.5)
    if not len(both):
        return None
    when_first, when_second = both.T
    first = float(((when_first > 0) & (when_second < 0)).mean())
    second = float(((when_first < 0) & (when_second > 0)).mean())
    consistent = float((when_first == when_second).mean())
    return Orders(len(both), consistent, first, second, 1 - consistent - first - second)
