"""How sure a number is that has no formula for it: whole clusters drawn again and again. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.maths.cluster_bootstrap import percentile_interval
from accord.maths.statistics import Estimate, Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_UNDEFINED = 0.1  # of the resamples; with more of them the rest says little of how the number varies
HELD = 4_000_000  # numbers that are held at a time


class Statistic(NamedTuple):
    """A number of data that come in G clusters.

    of: (B, G) how often each cluster counts -> (B,), NaN where it is not defined. size: how many numbers `of` holds for
    each of the B.
    """

    of: Callable[[Floats], Floats]
    clusters: int
    size: int

    @property
    def value(self) -> float:
        """With every cluster once."""
        return float(self.of(np.ones((1, self.clusters)))[0])


def resampled(statistic: Statistic, *, rounds: int = 1000, seed: int = 0, level: float = 0.95) -> Estimate:
    """The statistic, its standard deviation over `rounds` resamples of G clusters out of G, and `percentile_interval`.

    Resamples in which it is not defined are left out; where they are more than a tenth, and where there is one cluster
    alone, nothing is said of how sure it is (NaN).
    """
    unknown = Estimate(statistic.value, math.nan, Interval(math.nan, math.nan))
    if statistic.clusters < 2 or math.isnan(unknown.mean):
        return unknown
    generator = np.random.default_rng(seed)
    at_once = max(1, HELD // max(statistic.clusters, statistic.size))
    sizes = [min(at_once, rounds - start) for start in range(0, rounds, at_once)]
    found = np.concatenate([statistic.of(_drawn(generator, size, statistic.clusters)) for size in sizes])
    kept = found[~np.isnan(found)]
    if len(kept) < (1 - MOST_UNDEFINED) * rounds:
        return unknown
    interval = percentile_interval(kept, statistic.clusters, level)
    return Estimate(unknown.mean, float(kept.std(ddof=1)), interval)


def mean_statistic(values: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None) -> Statistic:
    """(n,) values, (n,) cluster of each 0..G-1 -> their weighted mean."""
    value, group = np.asarray(values, dtype=np.float64), np.asarray(clusters, dtype=np.int64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    count = int(group.max()) + 1 if len(group) else 0
    total, size = np.bincount(group, weight * value, count), np.bincount(group, weight, count)

    def of(times: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray((times @ total) / (times @ size), dtype=np.float64)

    return Statistic(of, count, count)


def _drawn(generator: np.random.Generator, rounds: int, clusters: int) -> Floats:
    """(B, G) how often each of G clusters is among G that are drawn with replacement."""
    drawn = generator.integers(clusters, size=(rounds, clusters)) + clusters * np.arange(rounds)[:, None]
    return np.bincount(drawn.ravel(), minlength=rounds * clusters).reshape(rounds, clusters).astype(np.float64)
