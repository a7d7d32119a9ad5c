"""The bootstrap of a weighted mean over clusters, and the intervals that it gives. numpy and scipy only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from accord.maths.statistics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 2**14  # clusters, at most 2^16: what is drawn from at a time stays in the processor's cache
MOST = 2**20  # draws that are in memory at a time
UNKNOWN = Interval(math.nan, math.nan)
DEAR = 50  # a number drawn from a binomial distribution takes as long as so many draws of a cluster


class Sums(NamedTuple):
    """Of each of G clusters: sum of w v, and sum of w. All that the weighted mean of any resample depends on."""

    total: Floats  # (G,)
    weight: Floats  # (G,)

    @property
    def mean(self) -> float:
        """Sum of w v over sum of w; NaN without clusters."""
        return float(self.total.sum() / self.weight.sum()) if len(self.weight) else math.nan


def cluster_sums(values: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None) -> Sums:
    """(n,) values, (n,) cluster of each, (n,) weights -> the sums of the clusters that have any weight."""
    value, label = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.unique(label, return_inverse=True)[1]
    total, whole = np.bincount(group, weight * value), np.bincount(group, weight)
    counted = whole > 0
    return Sums(total[counted].astype(np.float64), whole[counted].astype(np.float64))


def resampled_means(sums: Sums, rounds: int, seed: int) -> Floats:
    """(R,) the mean of G clusters drawn with replacement out of the G, R times (Efron 1979). At least one cluster.

    Exact, however it is drawn: where few clusters differ, how often each kind comes is multinomial.
    """
    generator = np.random.default_rng(seed)
    kinds, times = np.unique(sums.total + 1j * sums.weight, return_counts=True)
    if DEAR * len(kinds) > len(sums.total):
        return _drawn(sums, rounds, generator)
    count = generator.multinomial(len(sums.total), times / times.sum(), size=rounds)
    return np.asarray((count @ kinds.real) / (count @ kinds.imag), dtype=np.float64)


def _drawn(sums: Sums, rounds: int, generator: np.random.Generator) -> Floats:
    """As `resampled_means`, cluster by cluster: how many of a resample come from a block of clusters is multinomial."""
    size = len(sums.total)
    edges = [*range(0, size, BLOCK), size]
    draws = generator.multinomial(size, np.diff(edges) / size, size=rounds)
    total, weight = np.zeros(rounds), np.zeros(rounds)
    alike = bool((sums.weight == sums.weight[0]).all())
    for block, (start, end) in enumerate(pairwise(edges)):
        for part in _parts(draws[:, block]):
            some = part[draws[part, block] > 0]  # rounds; a small block is not in every resample
            count = draws[some, block]
            place = _places(end - start, int(count.sum()), generator)
            first = np.cumsum(count) - count
            total[some] += np.add.reduceat(sums.total[start:end][place], first)
            weight[some] += count * sums.weight[0] if alike else np.add.reduceat(sums.weight[start:end][place], first)
    return np.asarray(total / weight, dtype=np.float64)


def _places(size: int, count: int, generator: np.random.Generator) -> Ints:
    """(count,) of 0..size-1, each as likely."""
    if size < BLOCK:
        return generator.integers(size, size=count)
    # A whole block is a power of two: of random bits as many as it takes, in half the time.
    bits = np.frombuffer(generator.bytes(2 * count), dtype=np.uint16)
    return (bits & (BLOCK - 1)).astype(np.int64)


def _parts(draws: Ints) -> Iterator[Ints]:
    """Rounds in their order, so many at a time that they have about MOST draws."""
    step = max(1, int(MOST / max(1.0, draws.mean())))
    return (np.arange(start, min(start + step, len(draws))) for start in range(0, len(draws), step))


def percentile_interval(samples: Floats, clusters: int, level: float = 0.95) -> Interval:
    """(R,) resampled values of G clusters -> the interval between two of their percentiles.

    Taken further out by the factor that Student's interval has over the normal one, and by sqrt(G / (G - 1)), as
    resamples vary too little by that (Hesterberg 2015, "expanded"): with many clusters that is no difference. NaN of
    one cluster alone, whose resamples are all the same.
    """
    if clusters < 2:
        return UNKNOWN
    reach = _reach(clusters, level)
    low, high = np.quantile(samples, [ndtr(-reach), ndtr(reach)])
    return Interval(float(low), float(high))


def bca_interval(samples: Floats, sums: Sums, level: float = 0.95) -> Interval:
    """As `percentile_interval`, corrected for bias and skewness: BCa, Efron 1987.

    z0: how far the mean is from the resamples' median; acceleration: the skewness of means that leave a cluster out.
    """
    if len(sums.total) < 2:
        return UNKNOWN
    reach = _reach(len(sums.total), level)
    mean = sums.mean
    below = float((samples < mean).mean() + (samples == mean).mean() / 2)
    z0 = float(ndtri(np.clip(below, 1 / (len(samples) + 1), 1 - 1 / (len(samples) + 1))))
    without = (sums.total.sum() - sums.total) / (sums.weight.sum() - sums.weight)
    off = without.mean() - without
    spread = float((off**2).sum())
    acceleration = float((off**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = [ndtr(z0 + (z0 + z) / (1 - acceleration * (z0 + z))) for z in (-reach, reach)]
    low, high = np.quantile(samples, ends)
    return Interval(float(low), float(high))


def _reach(clusters: int, level: float) -> float:
    return math.sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, 0.5 + level / 2))
