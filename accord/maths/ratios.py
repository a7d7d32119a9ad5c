"""Ratios of two sums, as bits per byte, and how sure they are. numpy and scipy only.

G clusters (documents, or blocks of a long text), which do not depend on each other; within one anything may depend on
anything. A ratio of sums is not the mean of the clusters' own ratios: a long document counts by its length.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from accord.maths.statistics import Estimate, Interval

Floats = NDArray[np.float64]
Sums = tuple[ArrayLike, ArrayLike]


def ratio(above: ArrayLike, below: ArrayLike, level: float = 0.95) -> Estimate:
    """(G,), (G,) sums of each cluster -> sum(above) / sum(below), by linearisation (Cochran 1977, section 6.8).

    V = G/(G-1) sum_g (above_g - q below_g)^2 / (sum below)^2; the interval is Student's with G - 1 degrees of freedom.
    Every cluster has something below. Of one cluster the error is NaN.
    """
    value, influence = _linear(above, below)
    return _estimate(value, influence, level)


def ratio_difference(first: Sums, second: Sums, level: float = 0.95) -> Estimate:
    """((G,) above, (G,) below) of two things on the same clusters -> first ratio less second, paired by cluster.

    What makes a cluster hard for both leaves the difference.
    """
    (one, of_one), (other, of_other) = _linear(*first), _linear(*second)
    if of_one.shape != of_other.shape:
        raise ValueError(f"{len(of_one)} clusters and {len(of_other)}: these are not the same ones")
    return _estimate(one - other, of_one - of_other, level)


def _linear(above: ArrayLike, below: ArrayLike) -> tuple[float, Floats]:
    """The ratio, and (G,) what each cluster adds to its error."""
    a, b = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"what is above and below differ in shape: {a.shape} {b.shape}")
    if not len(b) or not (b > 0).all():
        raise ValueError("a cluster has nothing below, or there is none")
    value = float(a.sum() / b.sum())
    return value, (a - value * b) / b.sum()


def _estimate(value: float, influence: Floats, level: float) -> Estimate:
    clusters = len(influence)
    if clusters == 1:
        return Estimate(value, math.nan, Interval(math.nan, math.nan))
    error = math.sqrt(clusters / (clusters - 1) * float(influence @ influence))
    half = float(stdtrit(clusters - 1, 0.5 + level / 2)) * error
    return Estimate(value, error, Interval(value - half, value + half))
