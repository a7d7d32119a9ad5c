"""How sure a measured number is: intervals for proportions and means. numpy and scipy only."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit


class Interval(NamedTuple):
    """The two ends of a confidence interval, in the unit of what was measured."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A mean, its standard error and its confidence interval; NaN where the data cannot say."""

    mean: float
    standard_error: float
    interval: Interval


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson 1927: the proportions p that the score test of `successes` out of `n` does not reject.

    n may be an effective sample size and need not be whole. Without any trial (n = 0) it is (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, not {successes} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    z = float(ndtri(0.5 + level / 2))
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    # At the edges the exact ends are 0 and 1; rounding must not leave them.
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def mean_interval(
    values: ArrayLike, clusters: ArrayLike | None = None, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """(n,) values, (n,) cluster of each, (n,) weights -> weighted mean with a cluster-robust standard error.

    Values of one cluster (the pairs of one prompt) may depend on each other: V = G/(G-1) sum_g (sum_{i in g}
    w_i (v_i - mean))^2 / (sum w)^2 over G clusters; the interval is Student's with G - 1 degrees of freedom.
    One cluster gives a mean without error (NaN), no values give NaN throughout.
    """
    value, group, weight = _columns(values, clusters, weights)
    if weight.sum() == 0:
        return Estimate(math.nan, math.nan, Interval(math.nan, math.nan))
    mean = float(value @ weight / weight.sum())
    groups = int(group.max()) + 1
    if groups == 1:
        return Estimate(mean, math.nan, Interval(math.nan, math.nan))
    score = np.bincount(group, weights=weight * (value - mean))
    error = float(np.sqrt(groups / (groups - 1) * (score @ score)) / weight.sum())
    half = float(stdtrit(groups - 1, 0.5 + level / 2)) * error
    return Estimate(mean, error, Interval(mean - half, mean + half))


def proportion_interval(
    values: ArrayLike, clusters: ArrayLike | None = None, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """As `mean_interval`, for values in 0..1 (right or wrong, ties one half): Wilson's interval, cut to the clusters.

    Wilson's n is the effective sample size: the number of independent answers whose variance p (1 - p) / n would be
    the clustered one, at most the number of values (Korn and Graubard 1998). Where all values are equal that is
    unknown, and n is the number of clusters. Unlike the mean's interval it stays within 0..1 and does not shrink
    to a point when every answer is right.
    """
    value, group, _ = _columns(values, clusters, weights)
    estimate = mean_interval(values, clusters, weights, level)
    p, error, n = estimate.mean, estimate.standard_error, len(value)
    if n == 0:
        return estimate._replace(interval=wilson(0, 0, level))
    groups = int(group.max()) + 1
    if groups == 1 or value.min() == value.max():
        effective: float = groups
    else:
        # G / (G - 1) as in the clustered variance: with one value a cluster this is n exactly.
        effective = min(n, groups / (groups - 1) * p * (1 - p) / error**2) if error > 0 else n
    return estimate._replace(interval=wilson(min(p, 1.0) * effective, effective, level))


def _columns(
    values: ArrayLike, clusters: ArrayLike | None, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Values, cluster numbers 0..G-1 and weights of the rows that have a weight."""
    value = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    label = np.arange(len(value)) if clusters is None else np.asarray(clusters)
    if not value.shape == weight.shape == label.shape or value.ndim != 1:
        raise ValueError(f"values, clusters and weights differ in shape: {value.shape} {label.shape} {weight.shape}")
    if (weight < 0).any():
        raise ValueError("a weight is negative")
    counted = weight > 0
    return value[counted], np.unique(label[counted], return_inverse=True)[1], weight[counted]
