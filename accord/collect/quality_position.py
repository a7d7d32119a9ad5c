"""Does it matter where an output was shown? Orders are drawn anew for each annotator, so that it must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from accord.collect.quality_read import Given, goodness
from accord.maths.position import Shown, first_shown
from accord.maths.statistics import Estimate, mean_interval, proportion_interval


class Order(NamedTuple):
    """One judgement: (K,) how good the outputs are called, in the order in which they were shown."""

    item: int
    account: int
    good: tuple[float, ...]


@dataclass(frozen=True)
class Places:
    """k: how many outputs; of `judgements` with so many. best: how often each place is the best (equal ones share),
    which is 1/k where places do not matter. p: Friedman's test of that, over all k."""

    k: int
    judgements: int
    best: tuple[Estimate, ...]
    ranks: tuple[float, ...]
    p: float


def orders_of(given: Sequence[Given]) -> list[Order]:
    """Those that order two outputs or more, and keep none out. Imported orders are left out: nobody drew them."""
    found = []
    for one in given:
        good = goodness(one.answer)
        if one.kind == "imported" or good is None or len(good) < 2 or None in good:
            continue
        found.append(Order(one.item, one.account, tuple(float(good[place] or 0.0) for place in one.shown)))
    return found


def first_wins(orders: Sequence[Order], level: float) -> Shown | None:
    """Of each two outputs, how often the one that was shown earlier is the better one. None: nothing was ordered."""
    outcome, clusters = [], []
    for one in orders:
        for j, later in enumerate(one.good):
            for earlier in one.good[:j]:
                outcome.append(0.5 + ((earlier > later) - (earlier < later)) / 2)
                clusters.append(one.item)
    if not outcome:
        return None
    return first_shown(np.array(outcome), np.ones(len(outcome), dtype=np.int64), np.array(clusters), level)


def places(orders: Sequence[Order], level: float) -> Places | None:
    """Shown for the K that most judgements have; the test is of all."""
    if not orders:
        return None
    count = Counter(len(one.good) for one in orders)
    k = max(count, key=lambda k: (count[k], k))
    shown = [one for one in orders if len(one.good) == k]
    good = np.array([one.good for one in shown])
    top = good == good.max(axis=1, keepdims=True)
    credit = top / top.sum(axis=1, keepdims=True)
    group = np.array([one.item for one in shown])
    best = tuple(proportion_interval(credit[:, place], group, level=level) for place in range(k))
    tests = [friedman(np.array([one.good for one in orders if len(one.good) == size])) for size in count]
    statistic, freedom = sum(one for one, _ in tests), sum(size for _, size in tests)
    p = float(chdtrc(freedom, statistic)) if freedom else float("nan")
    ranks = tuple(mean_interval(column, group, level=level).mean for column in mid_ranks(good).T)
    return Places(k, len(shown), best, ranks, p)


def mid_ranks(good: np.ndarray) -> np.ndarray:
    """(N, K) -> (N, K) ranks, 1 the best, equal ones share the mean of theirs."""
    above = (good[:, None, :] > good[:, :, None]).sum(2)
    equal = (good[:, None, :] == good[:, :, None]).sum(2)
    return np.asarray(above + (equal + 1) / 2, dtype=np.float64)


def friedman(good: np.ndarray) -> tuple[float, int]:
    """(N, K) of N independent orders -> chi-square and its degrees of freedom. Friedman 1937; ties as Conover 1999,
    section 5.8: (K - 1) sum_p (R_p - N (K + 1) / 2)^2 / (sum r^2 - N K (K + 1)^2 / 4)."""
    n, k = good.shape
    rank = mid_ranks(good)
    spread = float((rank**2).sum() - n * k * (k + 1) ** 2 / 4)
    if spread <= 0:  # everything is tied
        return 0.0, 0
    return float((k - 1) * ((rank.sum(0) - n * (k + 1) / 2) ** 2).sum() / spread), k - 1
