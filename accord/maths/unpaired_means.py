"""Two means of different prompts: how far they are apart, and whether chance explains it. numpy and scipy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from accord.maths.paired import Difference
from accord.maths.statistics import Interval

TEST = "Welch"


def welch(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Difference:
    """(n,), (m,) values of two models, each of prompts of its own: Welch 1947, of unequal variances.

    NaN beyond the difference where either has fewer than two values, or neither varies.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    gap, count = float(one.mean() - other.mean()), len(one) + len(other)
    unknown = Difference(count, gap, math.nan, Interval(math.nan, math.nan), math.nan, TEST)
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
    return Difference(count, gap, error, Interval(gap - half, gap + half), p, TEST)
