"""Agreement beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa. numpy only.

Raters give values to units (a unit is what several of them judge), as far as they gave any: cells may be empty. Each
coefficient is a Statistic of clusters of units, so that its interval comes from drawing these again. It is NaN where
chance alone would agree always, as where all values are equal: then nothing can be said of agreement beyond chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from accord.maths.resampling import Floats, Ints, Statistic


@dataclass(frozen=True)
class Cells:
    """N values that were given: (N,) of which unit 0..U-1, by which rater, and the value; (U,) cluster of each unit.

    A rater gives a unit one value at most. Names are numbers here; for `nominal_alpha` and kappas any will do.
    """

    unit: Ints
    rater: Ints
    value: Floats
    cluster: Ints  # (U,) 0..G-1

    @property
    def clusters(self) -> int:
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0


@dataclass(frozen=True)
class Couples:
    """P couples of values of one unit, each unit's all: (P,) places of both among the cells, and how many values it
    has."""

    one: Ints
    other: Ints
    size: Ints


def couples(cells: Cells) -> Couples:
    """Of each unit with m values its m (m - 1) / 2 couples; the one comes before the other among the cells."""
    order = np.argsort(cells.unit, kind="stable")
    _, start, size = np.unique(cells.unit[order], return_index=True, return_counts=True)
    parts = [np.empty((0, 3), dtype=np.int64)]
    for m in np.unique(size[size > 1]):
        rows = order[start[size == m][:, None] + np.arange(m)]  # (units, m)
        for i, j in combinations(range(m), 2):
            parts.append(np.stack([rows[:, i], rows[:, j], np.full(len(rows), m)], axis=1))
    found = np.concatenate(parts).astype(np.int64)
    return Couples(found[:, 0], found[:, 1], found[:, 2])


@dataclass(frozen=True)
class Pairable:
    """The values of units that have two or more: N values, V distinct ones, P couples, G clusters.

    Krippendorff's coincidence matrix o_ck holds each couple both ways, times 1 / (m - 1) of its unit; here it is the
    list of its entries, as resampling counts them by cluster. Its margins n_c are how often each value was given.
    """

    distinct: Floats  # (V,) ascending
    start: Ints  # (V,) where each begins among the sorted values
    cluster: Ints  # (N,) of the values, sorted by value
    one: Ints  # (P,) which value
    other: Ints
    size: Ints  # (P,) m, how many values the couple's unit has
    couple: Ints  # (P,) cluster
    units: Floats  # (G,) how many units each cluster has
    clusters: int

    @classmethod
    def of(cls, cells: Cells) -> Pairable:
        found = couples(cells)
        paired = np.zeros(len(cells.value), dtype=bool)
        paired[found.one] = paired[found.other] = True
        distinct, place = np.unique(cells.value[paired], return_inverse=True)
        code = np.full(len(cells.value), -1, dtype=np.int64)
        code[paired] = place
        order = np.argsort(place, kind="stable")
        units = np.unique(cells.unit[paired])
        return cls(
            distinct.astype(np.float64),
            np.searchsorted(place[order], np.arange(len(distinct))),
            cells.cluster[cells.unit[paired]][order],
            code[found.one],
            code[found.other],
            found.size,
            cells.cluster[cells.unit[found.one]],
            np.bincount(cells.cluster[units], minlength=cells.clusters).astype(np.float64),
            cells.clusters,
        )

    def margins(self, times: Floats) -> Floats:
        """(B, G) -> (B, V) how often each value was given."""
        if not len(self.distinct):
            return np.zeros((len(times), 0))
        return np.asarray(np.add.reduceat(times[:, self.cluster], self.start, axis=1), dtype=np.float64)

    @property
    def held(self) -> int:
        return max(len(self.cluster), len(self.one))


# What two values differ by: (B, V) margins -> (B, V) or (1, V) positions, whose squared difference counts.
Positions = Callable[[Pairable, Floats], Floats]


def nominal_alpha(cells: Cells) -> Statistic:
    """Krippendorff 2011, delta^2 = 0 of equal values, 1 of others: alpha = 1 - (n - 1) sum o_ck / sum n_c n_k."""
    data = Pairable.of(cells)
    differ = np.flatnonzero(data.one != data.other)
    weight, cluster = 2 / (data.size[differ] - 1), data.couple[differ]

    def of(times: Floats) -> Floats:
        margin = data.margins(times)
        n = margin.sum(1)
        observed = times[:, cluster] @ weight
        return _alpha(n, observed, n**2 - (margin**2).sum(1), margin)

    return Statistic(of, data.clusters, data.held)


def interval_alpha(cells: Cells) -> Statistic:
    """delta^2 = (c - k)^2: values are numbers whose differences mean the same everywhere."""
    return _alpha_by(cells, lambda data, margin: data.distinct[None, :])


def ordinal_alpha(cells: Cells) -> Statistic:
    """delta^2 = (n_c / 2 + the numbers of all values between + n_k / 2)^2: only the order of values counts.

    It is the squared difference of their mean ranks among all values given: ordinal alpha is interval alpha of these.
    """
    return _alpha_by(cells, lambda data, margin: margin.cumsum(1) - margin / 2)


ALPHAS: dict[str, Callable[[Cells], Statistic]] = {
    "nominal": nominal_alpha,
    "ordinal": ordinal_alpha,
    "interval": interval_alpha,
}


def _alpha_by(cells: Cells, positions: Positions) -> Statistic:
    data = Pairable.of(cells)
    weight = 2 / (data.size - 1)

    def of(times: Floats) -> Floats:
        margin = data.margins(times)
        n = margin.sum(1)
        place = positions(data, margin)
        # sum_ck n_c n_k (p_c - p_k)^2 = 2 n sum_c n_c (p_c - mean)^2
        with np.errstate(invalid="ignore"):
            mean = (margin * place).sum(1) / n
        expected = 2 * n * (margin * (place - mean[:, None]) ** 2).sum(1)
        apart = (place[:, data.one] - place[:, data.other]) ** 2
        observed = (times[:, data.couple] * apart) @ weight
        return _alpha(n, observed, expected, margin)

    return Statistic(of, data.clusters, data.held)


def _alpha(n: Floats, observed: Floats, expected: Floats, margin: Floats) -> Floats:
    """1 - D_o / D_e, D_o = observed / n, D_e = expected / (n (n - 1)); NaN where fewer than two values are given."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1 - (n - 1) * observed / expected
    return np.where((margin > 0).sum(1) < 2, np.nan, found)


def fleiss_kappa(cells: Cells) -> Statistic:
    """Fleiss 1971: (P - P_e) / (1 - P_e). P is the mean over units of the share of their couples that agree, P_e the
    sum of squared shares of the values. Units may have different numbers of raters, each two or more."""
    data = Pairable.of(cells)
    alike = data.one == data.other
    share = 2 / (data.size[alike] * (data.size[alike] - 1))
    cluster = data.couple[alike]

    def of(times: Floats) -> Floats:
        margin = data.margins(times)
        with np.errstate(invalid="ignore", divide="ignore"):
            observed = (times[:, cluster] @ share) / (times @ data.units)
            expected = ((margin / margin.sum(1, keepdims=True)) ** 2).sum(1)
            found = (observed - expected) / (1 - expected)
        return np.where((margin > 0).sum(1) < 2, np.nan, found)

    return Statistic(of, data.clusters, data.held)


def cohen_kappa(one: Floats, other: Floats, cluster: Ints) -> Statistic:
    """Cohen 1960, of two raters, each with habits of its own: (n,) what the one and the other say of the same units.

    (P - P_e) / (1 - P_e), P_e the chance that two values agree which are drawn from what each of them says.
    """
    distinct, code = np.unique(np.concatenate([one, other]), return_inverse=True)
    first, second = code[: len(one)], code[len(one) :]
    clusters = int(cluster.max()) + 1 if len(cluster) else 0
    alike = (first == second).astype(np.float64)

    def of(times: Floats) -> Floats:
        weight = times[:, cluster]
        with np.errstate(invalid="ignore", divide="ignore"):
            total = weight.sum(1)
            observed = weight @ alike / total
            shares = [_by_value(weight, place, len(distinct)) / total[:, None] for place in (first, second)]
            expected = (shares[0] * shares[1]).sum(1)
            found = (observed - expected) / (1 - expected)
        # Both always say one and the same thing: 1 - P_e is a rounding then.
        only = ((shares[0] + shares[1]) > 0).sum(1) < 2
        return np.where(only, np.nan, found)

    return Statistic(of, clusters, len(one))


def _by_value(weight: Floats, code: Ints, count: int) -> Floats:
    """(B, n) weights, (n,) which value -> (B, count) their sums."""
    sums = np.zeros((len(weight), count))
    order = np.argsort(code, kind="stable")
    if len(order):
        present, start = np.unique(code[order], return_index=True)
        sums[:, present] = np.add.reduceat(weight[:, order], start, axis=1)
    return sums
