"""Correlations of two columns whose rows come in clusters. numpy and scipy only."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from accord.maths.statistics import Estimate, Interval

ROUNDING = 1e-12  # of a column's size: a spread below it is none


def correlation(
    one: ArrayLike, other: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """(n,), (n,), (n,) cluster of each -> Pearson's r with a cluster-robust standard error.

    V = G/(G-1) sum_g (sum_{i in g} w_i (x_i y_i - r (x_i^2 + y_i^2) / 2))^2 / (sum w)^2 of standardised x and y (the
    delta method); the interval is symmetric in artanh r (Fisher). A column that does not vary gives NaN throughout.
    """
    x, y = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    weight = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    unknown = Interval(math.nan, math.nan)
    standard = [_standardised(column, weight) for column in (x, y)]
    if standard[0] is None or standard[1] is None:
        return Estimate(math.nan, math.nan, unknown)
    x, y = standard[0], standard[1]
    r = float(np.clip(weight @ (x * y) / weight.sum(), -1, 1))
    group = np.unique(np.asarray(clusters), return_inverse=True)[1]
    score = np.bincount(group, weight * (x * y - r * (x**2 + y**2) / 2))
    if len(score) == 1:
        return Estimate(r, math.nan, unknown)
    error = float(np.sqrt(len(score) / (len(score) - 1) * (score @ score)) / weight.sum())
    if 1 - abs(r) < ROUNDING:
        return Estimate(r, error, unknown)
    half = float(ndtri(0.5 + level / 2)) * error / (1 - r**2)
    return Estimate(r, error, Interval(math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)))


def within(values: ArrayLike, clusters: ArrayLike) -> NDArray[np.float64]:
    """(n,) values less the mean of their cluster."""
    value = np.asarray(values, dtype=np.float64)
    group = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return value - (np.bincount(group, value) / np.bincount(group))[group] if len(value) else value


def tau_b(
    agree: NDArray[np.float64], judged: NDArray[np.bool_], scored: NDArray[np.bool_], ranking: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Of each ranking 0..Q-1 Kendall's tau-b (1945) between it and the scores, from its pairs.

    agree: (P,) 1 the scores order the pair as the ranking does, -1 the other way, 0 where one of them has a tie;
    judged, scored: (P,) whether the ranking, the scores order the pair. NaN where either orders no pair.
    """
    size = int(ranking.max()) + 1 if len(ranking) else 0
    sums = [np.bincount(ranking, column, size) for column in (agree, judged, scored)]
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[0] / np.sqrt(sums[1] * sums[2]), dtype=np.float64)


def _standardised(column: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Mean 0 and spread 1; None where it has no spread."""
    if not len(column) or not weight.sum():
        return None
    centred = column - weight @ column / weight.sum()
    spread = math.sqrt(weight @ centred**2 / weight.sum())
    return centred / spread if spread > ROUNDING * max(1e-300, float(np.abs(column).max())) else None
