"""Are probabilities what they say, and does a score tell two kinds apart? numpy and scipy only."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.maths.statistics import Estimate, Interval, proportion_interval, wilson

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram: B bins of equal width, low[b] <= probability < high[b], the last one closed.

    A bin without values has NaN and the interval (0, 1).
    """

    low: Numbers  # (B,)
    high: Numbers  # (B,)
    probability: Numbers  # (B,) the mean of what was said
    frequency: Numbers  # (B,) the mean of what happened
    interval: Numbers  # (B, 2) 95 % interval of the frequency
    count: NDArray[np.intp]  # (B,) values
    ece: float  # expected calibration error: the mean over values of |frequency - probability| of their bin
    ece_by_chance: float  # about the error that so many values would show if what was said were true

    def to_json(self) -> dict[str, object]:
        """What is unknown is null; bins without values are left out."""
        columns = zip(self.low, self.high, self.probability, self.frequency, self.interval, self.count, strict=True)
        bins = [
            {
                "low": float(low),
                "high": float(high),
                "probability": float(said),
                "frequency": float(happened),
                "interval": [float(end) for end in ends],
                "count": int(count),
            }
            for low, high, said, happened, ends, count in columns
            if count
        ]
        ece, by_chance = (one if math.isfinite(one) else None for one in (self.ece, self.ece_by_chance))
        return {"ece": ece, "ece_by_chance": by_chance, "bins": bins}


def calibration(
    probability: ArrayLike,
    outcome: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = 10,
    *,
    between: tuple[float, float] = (0.0, 1.0),
    clusters: ArrayLike | None = None,
) -> Calibration:
    """(n,) probabilities within `between`, (n,) outcomes in 0..1 -> how often what was said happened, and the ECE.

    Naeini et al. 2015, Guo et al. 2017, but for bins that are closed on the left. Values of one cluster may depend on
    each other. By chance a bin's error is that of a mean of independent draws, sqrt(2 / pi) standard deviations.
    No values: the ECE is NaN. ValueError: a probability outside `between`, an outcome outside 0..1, NaN.
    """
    said, happened, weight, group = _columns(probability, outcome, weights, clusters)
    first, last = between
    if not ((said >= first) & (said <= last) & (happened >= 0) & (happened <= 1)).all():
        raise ValueError(f"probabilities must lie in {first:g}..{last:g} and outcomes in 0..1")
    edges = np.linspace(first, last, bins + 1)
    place = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, bins - 1)
    total, count = np.bincount(place, weight, bins), np.bincount(place, minlength=bins)
    spread = np.bincount(place, weight**2 * said * (1 - said), bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, frequency = (np.bincount(place, weight * one, bins) / total for one in (said, happened))
        share = total / total.sum()
        error = float(np.nansum(share * np.abs(frequency - mean)))
        by_chance = float(np.nansum(share * np.sqrt(2 / math.pi * spread) / total))
    ends = np.array([_ends(place == b, happened, group, weight) for b in range(bins)])
    ece, noise = (error, by_chance) if len(said) else (math.nan, math.nan)
    return Calibration(edges[:-1], edges[1:], mean, frequency, ends, count, ece, noise)


def _ends(inside: NDArray[np.bool_], happened: Numbers, group: NDArray[np.intp], weight: Numbers) -> Interval:
    return proportion_interval(happened[inside], group[inside], weight[inside]).interval


def brier(probability: ArrayLike, outcome: ArrayLike, weights: ArrayLike | None = None) -> float:
    """(n,), (n,) -> mean squared difference (Brier 1950): 0 is best, 0.25 what 0.5 throughout gets. NaN of nothing."""
    said, happened, weight, _ = _columns(probability, outcome, weights)
    return float(weight @ (said - happened) ** 2 / weight.sum()) if len(said) else math.nan


def auc(score: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> float:
    """(n,) scores, (n,) bool -> how often a positive has the higher score than a negative; equal ones count one half.

    The area under the ROC curve. NaN where one of the two kinds is missing.
    """
    value, kind, weight, _ = _columns(score, positive, weights)
    return _placed(value, kind > 0, weight)[0]


def auc_interval(
    score: ArrayLike,
    positive: ArrayLike,
    clusters: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """As `auc`, with its standard error: DeLong et al. 1988; with clusters, Obuchowski 1997.

    The interval is Wilson's, whose n makes A (1 - A) / n that error squared. Where the error is 0, as where the two
    kinds are wholly apart, that is unknown, and n is the number of clusters of the rarer kind.
    One cluster of a kind gives no error and no interval (NaN).
    """
    value, kind, weight, group = _columns(score, positive, weights, clusters)
    sides = (kind > 0, kind == 0)
    area, placement = _placed(value, sides[0], weight)
    among = [len(np.unique(group[side])) for side in sides]
    if min(among) < 2:
        return Estimate(area, math.nan, Interval(math.nan, math.nan))
    influence = np.zeros(int(group.max()) + 1)
    for side, n in zip(sides, among, strict=True):
        part = np.where(side, weight * (placement - area), 0.0) / weight[side].sum()
        influence += math.sqrt(n / (n - 1)) * np.bincount(group, part)
    error = float(np.linalg.norm(influence))
    effective = area * (1 - area) / error**2 if error > 1e-12 else min(among)
    return Estimate(area, error, wilson(area * effective, effective, level))


def _placed(value: Numbers, positives: NDArray[np.bool_], weight: Numbers) -> tuple[float, Numbers]:
    """The area, and of each value the share of the other kind that it is on the right side of (equal: one half)."""
    rank = np.unique(value, return_inverse=True)[1]
    mass = [np.bincount(rank, np.where(side, weight, 0.0)) for side in (~positives, positives)]
    if not (len(value) and mass[0].sum() > 0 and mass[1].sum() > 0):
        return math.nan, np.full(len(value), math.nan)
    below = [(np.cumsum(one) - one / 2) / one.sum() for one in mass]
    placement = np.where(positives, below[0][rank], 1 - below[1][rank])
    area = float(weight[positives] @ placement[positives] / weight[positives].sum())
    return min(max(area, 0.0), 1.0), placement


class Confusion(NamedTuple):
    """Sums of weights (or counts) of one label: how often it was said and how often it was true."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @property
    def precision(self) -> float:
        """Of those said to have the label, the share that has it; NaN where none was."""
        return _share(self.true_positive, self.false_positive)

    @property
    def recall(self) -> float:
        """Of those that have the label, the share that was said to; NaN where none has."""
        return _share(self.true_positive, self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); NaN where the label occurs on no side."""
        return _share(2 * self.true_positive, self.false_positive + self.false_negative)


def confusion(said: ArrayLike, true: ArrayLike, weights: ArrayLike | None = None) -> Confusion:
    """(n,) bool what was said of one label, (n,) bool what is true."""
    guess, truth, weight, _ = _columns(said, true, weights)
    cells = np.bincount(2 * (guess > 0) + (truth > 0), weight, minlength=4)
    neither, missed, wrong, right = map(float, cells)
    return Confusion(right, wrong, missed, neither)


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else math.nan


def _columns(
    first: ArrayLike, second: ArrayLike, weights: ArrayLike | None, clusters: ArrayLike | None = None
) -> tuple[Numbers, Numbers, Numbers, NDArray[np.intp]]:
    """Two columns, weights and cluster numbers 0..G-1 of the rows that have a weight."""
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    weight = np.ones_like(one) if weights is None else np.asarray(weights, dtype=np.float64)
    label = np.arange(len(one)) if clusters is None else np.asarray(clusters)
    if not one.shape == other.shape == weight.shape == label.shape or one.ndim != 1:
        raise ValueError(f"columns differ in shape: {one.shape} {other.shape} {weight.shape} {label.shape}")
    if not (weight >= 0).all() or np.isnan(one).any() or np.isnan(other).any():
        raise ValueError("a value is NaN, or a weight is negative")
    counted = weight > 0
    return one[counted], other[counted], weight[counted], np.unique(label[counted], return_inverse=True)[1]
