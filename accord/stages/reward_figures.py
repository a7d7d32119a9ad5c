"""The figures of a report on a reward model: pure functions of the scores and of what people said."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from accord.maths import agreement
from accord.maths.agreement import Votes
from accord.maths.calibration import Calibration, auc_interval, brier, calibration
from accord.maths.correlation import correlation, tau_b, within
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.stages.reward_pairs import SCALES, Columns, Completions, Flags, Numbers, Pairs, Places

PARTS = 5  # of equal size, by a number that has many values
FEW = 7  # values that get a row each
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Accuracy(NamedTuple):
    """How often the better one has the higher score; beside it what length alone says. Equal ones count one half."""

    pairs: int
    model: Estimate
    longer_wins: Estimate
    shorter_wins: Estimate
    above_longer_wins: Estimate  # the mean difference, pair by pair
    above_shorter_wins: Estimate
    equal: int  # pairs of equal scores
    equal_is_wrong: Estimate  # accuracy if those count as wrong


def accuracy_of(decided: Pairs) -> Accuracy:
    """Of pairs without ties. Intervals by group."""
    right, longer = decided.right, decided.longer_right
    rules = (longer, 1 - longer)
    long, short = (_share(decided, rule) for rule in rules)
    above_long, above_short = (mean_interval(right - rule, decided.group, decided.weight) for rule in rules)
    equal = decided.gap == 0
    strict = _share(decided, np.where(equal, 0.0, right))
    model, ties = _share(decided, right), int(equal.sum())
    return Accuracy(len(right), model, long, short, above_long, above_short, ties, strict)


def _share(pairs: Pairs, values: Numbers) -> Estimate:
    return proportion_interval(values, pairs.group, pairs.weight)


class Part(NamedTuple):
    """Some of the pairs: those of a category, or of which a number lies between low and high, both counted in."""

    name: str
    low: float | None
    high: float | None
    pairs: int
    model: Estimate
    longer_wins: float


def by_number(decided: Pairs, values: Numbers) -> tuple[Part, ...]:
    """(P,) a number of each pair -> a row for each value, or where they are many, PARTS rows of about equal size."""
    if not len(values):
        return ()
    different = np.unique(values)
    if len(different) <= FEW:
        edges = different[1:]
    else:
        edges = np.unique(np.quantile(values, np.arange(1, PARTS) / PARTS))
    place = np.searchsorted(edges, values, side="right")
    found = []
    for one in np.unique(place):
        inside = values[place == one]
        low, high = float(inside.min()), float(inside.max())
        name = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        found.append(_part(decided.where(place == one), name, low, high))
    return tuple(found)


def by_lead(decided: Pairs) -> dict[str, tuple[Part, ...]]:
    """What the data say of how much better the first is -> accuracy along it. Empty where they say nothing."""
    scales = ((place, name) for place, name in enumerate(SCALES) if (decided.scale == place).any())
    return {name: by_number(part := decided.where(decided.scale == place), part.lead) for place, name in scales}


def by_category(decided: Pairs, columns: Columns) -> tuple[Part, ...]:
    """Those with most pairs first."""
    place = columns.category[decided.group]
    parts = [
        _part(decided.where(place == one), name) for one, name in enumerate(columns.categories) if (place == one).any()
    ]
    return tuple(sorted(parts, key=lambda part: -part.pairs))


def _part(pairs: Pairs, name: str, low: float | None = None, high: float | None = None) -> Part:
    return Part(name, low, high, len(pairs.gap), _share(pairs, pairs.right), _mean(pairs.longer_right, pairs.weight))


class Ties(NamedTuple):
    """Pairs that people call equal."""

    pairs: int
    share: Estimate  # of all pairs
    distance: float  # mean absolute difference of their scores
    distance_of_others: float
    told_apart: Estimate  # how often a pair that is decided has the larger difference than one that is not


def ties_of(pairs: Pairs) -> Ties | None:
    """None without a tie."""
    tied, apart = pairs.tied, np.abs(pairs.gap)
    if not tied.any():
        return None
    told = auc_interval(apart, ~tied, pairs.group, pairs.weight)
    near, far = (_mean(apart[side], pairs.weight[side]) for side in (tied, ~tied))
    return Ties(int(tied.sum()), _share(pairs, tied.astype(float)), near, far, told)


class Probabilities(NamedTuple):
    """sigma(|gap|) taken as the probability that the higher-scored one is the better one."""

    calibration: Calibration  # of 1/2 to 1
    brier: float
    confidence: float  # the mean of what is said


def probabilities_of(decided: Pairs) -> Probabilities:
    """Of pairs without ties; equal scores say one half, and are half right."""
    said = 1 / (1 + np.exp(-np.abs(decided.gap)))
    bins = calibration(said, decided.right, decided.weight, between=(0.5, 1.0), clusters=decided.group)
    return Probabilities(bins, brier(said, decided.right, decided.weight), _mean(said, decided.weight))


class Spread(NamedTuple):
    """How scores are distributed."""

    mean: float
    std: float
    quantiles: tuple[float, ...]  # at QUANTILES


def spread_of(values: Numbers, weights: ArrayLike | None = None) -> Spread:
    """(n,) values, (n,) weights. NaN without values."""
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not weight.sum():
        return Spread(np.nan, np.nan, (np.nan,) * len(QUANTILES))
    order = np.argsort(values)
    place = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    mean = _mean(values, weight)
    quantiles = np.interp(QUANTILES, place, values[order])
    return Spread(mean, float(np.sqrt(_mean((values - mean) ** 2, weight))), tuple(map(float, quantiles)))


class Lengths(NamedTuple):
    """What the scores have to do with the number of tokens."""

    within: Estimate  # correlation of score and length, both less their mean over the group
    over_all: Estimate  # correlation over all completions
    longer_scored_higher: Estimate  # of pairs of different length, ties of the data counted in; equal scores one half


def lengths_of(completions: Completions, pairs: Pairs) -> Lengths:
    """Of all completions, judged or not. NaN where lengths or scores do not vary."""
    group, score, length = completions
    several = np.bincount(group)[group] > 1 if len(group) else np.zeros(0, bool)
    own = group[several]
    different = pairs.where(pairs.longer != 0)
    higher = (np.sign(different.gap * different.longer) + 1) / 2
    inside = correlation(within(score[several], own), within(length[several], own), own)
    return Lengths(inside, correlation(score, length, group), _share(different, higher))


class Orders(NamedTuple):
    """Judgements that order more than two completions."""

    judgements: int
    top: Estimate  # how often the highest-scored one is a best one; equal scores share
    longest: Estimate  # how often the longest one is
    chance: float  # how often one picked blindly is
    tau: Estimate  # Kendall's tau-b of ranks and scores, the mean of the judgements


def orders_of(columns: Columns) -> Orders | None:
    """None where no judgement orders more than two."""
    rankings, pairs = columns.rankings, columns.pairs
    if not len(rankings.group):
        return None
    inside = pairs.where(np.isin(pairs.judgement, rankings.judgement))
    place = np.searchsorted(rankings.judgement, inside.judgement)
    agree = np.where(inside.tied, 0.0, np.sign(inside.gap))
    tau = tau_b(agree, ~inside.tied, inside.gap != 0, place)
    tau = np.append(tau, np.full(len(rankings.group) - len(tau), np.nan))
    known = np.isfinite(tau)
    top, longest = (
        proportion_interval(values, rankings.group, rankings.weight) for values in (rankings.top, rankings.longest)
    )
    mean = mean_interval(tau[known], rankings.group[known], rankings.weight[known])
    return Orders(len(rankings.group), top, longest, _mean(rankings.chance, rankings.weight), mean)


class Ceiling(NamedTuple):
    """Pairs of completions that several people judged: how far they agree, and the model with them on those."""

    pairs: int
    three_way: Estimate  # two people say the same: the one, the other, or neither
    person: Estimate  # two people who both decide agree
    model: Estimate  # the model agrees with one of them
    person_with_majority: Estimate  # where three or more decide: one of them agrees with the majority of the others
    model_with_majority: Estimate  # there, the model with the majority of them
    most: float  # the share of their decisions that any scores could agree with: those of each pair's majority


def ceiling_of(pairs: Pairs) -> Ceiling | None:
    """Of each person the last judgement. None where no two people judged the same pair."""
    counted = pairs.where(pairs.counted)
    first, unit = np.unique(counted.unit, return_index=True, return_inverse=True)[1:]
    tied, swapped = counted.tied, counted.swapped
    sides = (~tied & ~swapped, ~tied & swapped, tied)
    before, after, neither = (np.bincount(unit, side, len(first)).astype(np.float64) for side in sides)
    several = before + after + neither > 1
    if not several.any():
        return None
    ahead = np.sign(np.where(swapped, -counted.gap, counted.gap))[first]
    group = counted.group[first][several]
    votes = Votes(before[several], after[several], neither[several])
    return _ceiling(votes, (ahead[several] + 1) / 2, group)


def _ceiling(votes: Votes, ahead: Numbers, group: Places) -> Ceiling:
    """ahead: (U,) 1 where the model prefers the first of a pair, 1/2 for equal scores."""
    people = votes.first + votes.second
    decisions = np.maximum(people, 1)
    alike = (votes.first * ahead + votes.second * (1 - ahead)) / decisions
    led: Flags = (people > 2) & (votes.first != votes.second)
    majority = np.where(votes.first > votes.second, ahead, 1 - ahead)
    both = people > 1
    most = _mean((np.maximum(votes.first, votes.second) / decisions)[both], people[both])
    return Ceiling(
        len(group),
        agreement.three_way(votes, group),
        agreement.with_another(votes, group),
        proportion_interval(alike, group, people * (people - 1) / 2),
        agreement.with_majority(votes, group),
        proportion_interval(majority, group, led.astype(float)),
        most,
    )


def _mean(values: Numbers, weight: Numbers) -> float:
    return float(values @ weight / weight.sum()) if weight.sum() > 0 else np.nan
