"""Comparisons of models by pairs as a likelihood of their strengths: Bradley-Terry with ties and covariates.

numpy and scipy only. Parameters (P,): M strengths, then theta where ties have a number, then S coefficients of style.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from accord.maths.connected import beaten, check_connected, ties_are_bounded
from accord.maths.newton import Floats, Point
from accord.maths.ties import TIES, Terms

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Comparisons:
    """N comparisons of two of M models each, by number. Which of the two stands first changes nothing.

    outcome: how far the first is better, in 0..1 (1/2 a tie). cluster: 0..G-1, what may depend on each other, as the
    judgements of one prompt. style: by how much the first has more of S things, in units of the caller's choice.
    """

    models: tuple[str, ...]
    first: Ints  # (N,)
    second: Ints  # (N,)
    outcome: Floats  # (N,)
    weight: Floats  # (N,)
    cluster: Ints  # (N,)
    style: Floats  # (N, S)

    @property
    def ties(self) -> int:
        """How many are ties."""
        return int((self.outcome == 0.5).sum())

    @property
    def taking_part(self) -> Ints:
        """(M,) in how many comparisons each model takes part."""
        return np.bincount(np.r_[self.first, self.second], minlength=len(self.models))


class NoTies(ValueError):
    """The number that rules ties has no finite best value: there are no ties, or they leave it free."""


@dataclass(frozen=True)
class PairLikelihood:
    """-log P of comparisons, and a ridge: ridge / 2 sum of squared strengths, style_ridge / 2 of squared coefficients.

    The strengths have mean 0: a term that is 0 there, and no likelihood minds, holds them. Equal comparisons without
    style are computed as one; `place` (N,) says as which.
    """

    data: Comparisons
    ties: str
    ridge: float
    style_ridge: float
    cells: Comparisons  # cluster: without meaning
    place: Ints

    @property
    def models(self) -> tuple[str, ...]:
        return self.data.models

    @property
    def clusters(self) -> int:
        return int(self.data.cluster.max(initial=-1)) + 1

    @property
    def taking_part(self) -> Ints:
        return self.data.taking_part

    @property
    def has_theta(self) -> bool:
        return TIES[self.ties].start is not None

    @property
    def start(self) -> Floats:
        """(P,) where the search begins."""
        theta = TIES[self.ties].start
        size = len(self.models) + self.cells.style.shape[1] + self.has_theta
        start = np.zeros(size)
        if theta is not None:
            start[len(self.models)] = theta
        return start

    @cached_property
    def pin(self) -> float:
        """Of the term that holds the mean at 0: as strong as the comparisons of a model on average."""
        return float(self.cells.weight.sum()) / len(self.models) ** 2

    def reweighted(self, times: Floats) -> PairLikelihood:
        """With every cluster counted so often; times: (G,)."""
        weight = _summed(self.place, self.data.weight * times[self.data.cluster], len(self.cells.weight))
        return replace(self, cells=replace(self.cells, weight=weight))

    def check(self) -> None:
        """NotConnected, NoTies: there is no finite best value."""
        cells, count = self.cells, len(self.models)
        there = cells.weight > 0
        won, lost, tied = (there & kind for kind in (cells.outcome > 0, cells.outcome < 1, cells.outcome == 0.5))
        winner = np.r_[cells.first[won], cells.second[lost]]
        loser = np.r_[cells.second[won], cells.first[lost]]
        if self.ridge == 0:
            check_connected(beaten(winner, loser, count))
        if not self.has_theta:
            return
        if not tied.any() or not (there & ~tied).any():
            raise NoTies("there are no ties" if not tied.any() else "there are only ties")
        if self.ridge == 0:
            clear = np.r_[~tied[won], ~tied[lost]]
            drawn = np.flatnonzero(tied)
            first, second = np.r_[winner[clear], cells.first[drawn]], np.r_[loser[clear], cells.second[drawn]]
            is_tie = np.r_[np.zeros(clear.sum(), bool), np.ones(len(drawn), bool)]
            if not ties_are_bounded(first, second, is_tie, count):
                raise NoTies("the ties can be explained by ever larger strengths")

    def at(self, parameters: Floats) -> Point:
        """The value with its gradient and Hessian; infinite where theta is out of bounds."""
        cells, count = self.cells, len(self.models)
        strength = parameters[:count]
        terms = self._terms(parameters)
        weight, total = cells.weight, strength.sum()
        coefficients = parameters[len(parameters) - cells.style.shape[1] :]
        value = float(weight @ terms.loss) + self.pin / 2 * total**2
        value += self.ridge / 2 * float(strength @ strength) + self.style_ridge / 2 * float(coefficients @ coefficients)
        gradient = self._gradient(weight * terms.by_gap, weight * terms.by_theta)
        gradient[:count] += self.pin * total + self.ridge * strength
        gradient[len(parameters) - len(coefficients) :] += self.style_ridge * coefficients
        return Point(value, gradient, self.information(terms) + self._penalty())

    def information(self, terms: Terms) -> Floats:
        """(P, P) the Hessian of the comparisons alone."""
        cells, count = self.cells, len(self.models)
        bend = cells.weight * terms.gap_gap
        between = _summed(cells.first * count + cells.second, bend, count**2).reshape(count, count)
        between += between.T
        beside = [np.diag(between.sum(0)) - between]
        columns = ([cells.weight * terms.gap_theta] if self.has_theta else []) + [
            bend * column for column in cells.style.T
        ]
        beside += [self._over_models(column)[:, None] for column in columns]
        upper = np.hstack(beside)
        corner = np.zeros((len(columns), len(columns)))
        style = cells.style.shape[1]
        if style:
            corner[-style:, -style:] = cells.style.T @ (bend[:, None] * cells.style)
        if self.has_theta:
            corner[0, 0] = float(cells.weight @ terms.theta_theta)
            corner[0, 1:] = corner[1:, 0] = (cells.weight * terms.gap_theta) @ cells.style
        return np.vstack([upper, np.hstack([upper[:, count:].T, corner])])

    def meat(self, parameters: Floats) -> Floats:
        """(P, P) sum over clusters of s s^T, s (P,) = the gradient of a cluster's comparisons."""
        terms, data = self._terms(parameters), self.data
        slope = data.weight * terms.by_gap[self.place]
        shape = (self.clusters, len(self.models))
        entries = (np.r_[slope, -slope], (np.r_[data.cluster, data.cluster], np.r_[data.first, data.second]))
        columns = [data.weight * terms.by_theta[self.place]] if self.has_theta else []
        columns += [slope * column for column in data.style.T]
        summed = [_summed(data.cluster, column, self.clusters)[:, None] for column in columns]
        scores = hstack([csr_matrix(entries, shape=shape), *map(csr_matrix, summed)], format="csr")
        return np.asarray((scores.T @ scores).toarray(), dtype=np.float64)

    def fisher(self, parameters: Floats) -> Floats:
        """(P, P) the Hessian without the ridge and what holds the mean."""
        return self.information(self._terms(parameters))

    def _terms(self, parameters: Floats) -> Terms:
        cells, count = self.cells, len(self.models)
        gap = parameters[cells.first] - parameters[cells.second]
        theta = float(parameters[count]) if self.has_theta else 0.0
        if style := cells.style.shape[1]:
            gap = gap + cells.style @ parameters[-style:]
        return TIES[self.ties].terms(gap, cells.outcome, theta)

    def _gradient(self, by_gap: Floats, by_theta: Floats) -> Floats:
        theta = [by_theta.sum()] if self.has_theta else []
        return np.concatenate([self._over_models(by_gap), theta, by_gap @ self.cells.style])

    def _over_models(self, by_gap: Floats) -> Floats:
        """(N,) derivatives by the gap -> (M,) by the strengths."""
        count = len(self.models)
        return _summed(self.cells.first, by_gap, count) - _summed(self.cells.second, by_gap, count)

    def _penalty(self) -> Floats:
        count, style = len(self.models), self.cells.style.shape[1]
        theta = [0.0] if self.has_theta else []
        whole = np.diag(np.r_[np.full(count, self.ridge), theta, np.full(style, self.style_ridge)])
        whole[:count, :count] += self.pin
        return whole


def pair_likelihood(
    data: Comparisons, *, ties: str = "half", ridge: float = 0.0, style_ridge: float = 0.5
) -> PairLikelihood:
    """The likelihood of these comparisons. ties: a row of TIES. style_ridge: 0.5 is Chatbot Arena's."""
    data = _turned(data)
    cells, place = _gathered(data)
    return PairLikelihood(data, ties, ridge, style_ridge, cells, place)


def _turned(data: Comparisons) -> Comparisons:
    """The same, the model of the smaller number first: half as many differ."""
    turn = data.first > data.second
    first, second = np.where(turn, data.second, data.first), np.where(turn, data.first, data.second)
    style = np.where(turn[:, None], -data.style, data.style)
    return replace(
        data, first=first, second=second, outcome=np.where(turn, 1 - data.outcome, data.outcome), style=style
    )


def _gathered(data: Comparisons) -> tuple[Comparisons, Ints]:
    """(the different comparisons, each with the weight of all that are equal to it; which one each of them is)"""
    if data.style.shape[1]:
        return data, np.arange(len(data.first))
    values, kind = np.unique(data.outcome, return_inverse=True)
    count = len(data.models)
    key = (data.first * count + data.second) * len(values) + kind
    found, place = np.unique(key, return_inverse=True)
    pair = found // len(values)
    weight = _summed(place, data.weight, len(found))
    outcome = values[found % len(values)]
    cluster = np.zeros(len(found), dtype=np.int64)
    cells = Comparisons(data.models, pair // count, pair % count, outcome, weight, cluster, np.zeros((len(found), 0)))
    return cells, place.astype(np.int64)


def _summed(place: Ints, values: Floats, count: int) -> Floats:
    """(N,) places 0..count-1 and values -> (count,) the sum of the values at each place."""
    return np.bincount(place, values, count).astype(np.float64, copy=False)
