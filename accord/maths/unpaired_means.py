"""Two means of different prompts: how far they are apart, and whether chance explains it. numpy and scipy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit
from scipy.stats import fisher_exact

from accord.maths import shares
from accord.maths.paired import Difference
from accord.maths.statistics import Interval


def unpaired_difference(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Difference:
    """(n,), (m,) values of two models, each of prompts of its own: `fisher` where all are 0 or 1, else `welch`."""
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    test = fisher if shares.are_shares(one, other) else welch
    return test(one, other, level=level)


def fisher(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Difference:
    """(n,), (m,) of 0 and 1: Fisher's exact test, two-sided, and the interval of `shares.apart`.

    Of rare answers a test of means is too bold: 4 of 30 against none of 30 has p = 0.04 by Welch's, 0.11 by this one.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    table = [[int(values.sum()), len(values) - int(values.sum())] for values in (one, other)]
    error = math.sqrt(sum(float(values.var()) / len(values) for values in (one, other)))
    p = float(fisher_exact(table).pvalue)
    gap = float(one.mean() - other.mean())
    return Difference(len(one) + len(other), gap, error, shares.apart(one, other, level), p, "Fisher")


def welch(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Difference:
    """(n,), (m,) values of two models, each of prompts of its own: Welch 1947, of unequal variances.

    NaN beyond the difference where either has fewer than two values, or neither varies.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    gap, count = float(one.mean() - other.mean()), len(one) + len(other)
    unknown = Difference(count, gap, math.nan, Interval(math.nan, math.nan), math.nan, "Welch")
    if min(len(one), len(other)) < 2:
        return unknown
    parts = [float(values.var(ddof=1)) / len(values) for values in (one, other)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return unknown
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True)
    )
    half = float(stdtrit(freedom, 0.5 + level / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(gap) / error))
    return Difference(count, gap, error, Interval(gap - half, gap + half), p, "Welch")
