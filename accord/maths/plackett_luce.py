"""Whole rankings of models as a likelihood of their strengths: Plackett-Luce (Eq. 7). numpy and scipy only.

Parameters (M,): the strengths. Tied models count as in `accord.maths.ranking`: each is chosen from itself and those
ranked below it, not from those tied with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import logsumexp, softmax

from accord.maths.comparisons import Ints
from accord.maths.connected import beaten, check_connected
from accord.maths.newton import Floats, Point

AT_ONCE = 2_000_000  # entries (rankings x K x K) that are in memory together


@dataclass(frozen=True)
class Rankings:
    """Q rankings of at most K of M models each, by number.

    rank: 1 is best, equal ranks are ties, 0 marks a place without a model. cluster: as in `Comparisons`.
    """

    models: tuple[str, ...]
    model: Ints  # (Q, K)
    rank: Ints  # (Q, K)
    weight: Floats  # (Q,)
    cluster: Ints  # (Q,)


@dataclass(frozen=True)
class RankingLikelihood:
    """-log P of rankings, and ridge / 2 times the sum of squared strengths; their mean is held at 0."""

    data: Rankings
    ridge: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        return self.data.models

    @property
    def clusters(self) -> int:
        return int(self.data.cluster.max(initial=-1)) + 1

    @property
    def taking_part(self) -> Ints:
        count, there = len(self.models), self.data.rank > 0
        ranking = np.nonzero(there)[0]
        once = np.unique(ranking * count + self.data.model[there])  # a ranking may have two outputs of one model
        return np.bincount(once % count, minlength=count)

    @property
    def start(self) -> Floats:
        return np.zeros(len(self.models))

    @property
    def pin(self) -> float:
        """Of the term that holds the mean at 0."""
        return float(self.data.weight.sum()) / len(self.models) ** 2

    def reweighted(self, times: Floats) -> RankingLikelihood:
        """With every cluster counted so often; times: (G,)."""
        return replace(self, data=replace(self.data, weight=self.data.weight * times[self.data.cluster]))

    def check(self) -> None:
        """NotConnected: there is no finite best value."""
        if self.ridge > 0:
            return
        pairs = set[int]()
        count = len(self.models)
        for model, rank, weight in self._chunks():
            over = (rank[:, :, None] < rank[:, None, :]) & (rank > 0)[:, :, None] & (weight > 0)[:, None, None]
            pairs.update(np.unique((model[:, :, None] * count + model[:, None, :])[over]).tolist())
        edges = np.array(sorted(pairs), dtype=np.int64)
        check_connected(beaten(edges // count, edges % count, count))

    def at(self, strength: Floats) -> Point:
        """The value with its gradient and Hessian."""
        value, gradient, hessian = 0.0, np.zeros_like(strength), np.zeros((len(strength), len(strength)))
        for model, rank, weight in self._chunks():
            loss, slope, bend = _of_rankings(strength, model, rank)
            value += float(weight @ loss)
            gradient += np.bincount(model.ravel(), (weight[:, None] * slope).ravel(), len(strength))
            hessian += self._summed(model, weight[:, None, None] * bend)
        total = strength.sum()
        value += self.pin / 2 * total**2 + self.ridge / 2 * float(strength @ strength)
        gradient += self.pin * total + self.ridge * strength
        return Point(value, gradient, hessian + self.pin + self.ridge * np.eye(len(strength)))

    def meat(self, strength: Floats) -> Floats:
        """(M, M) sum over clusters of s s^T, s (M,) = the gradient of a cluster's rankings."""
        slopes = [weight[:, None] * _of_rankings(strength, model, rank)[1] for model, rank, weight in self._chunks()]
        cluster = np.repeat(self.data.cluster, self.data.model.shape[1])
        entries = (np.concatenate(slopes).ravel(), (cluster, self.data.model.ravel()))
        scores = csr_matrix(entries, shape=(self.clusters, len(strength)))
        return np.asarray((scores.T @ scores).toarray(), dtype=np.float64)

    def fisher(self, strength: Floats) -> Floats:
        """(M, M) the Hessian without the ridge and what holds the mean."""
        return self.at(strength).hessian - self.pin - self.ridge * np.eye(len(strength))

    def _chunks(self) -> Iterator[tuple[Ints, Ints, Floats]]:
        data = self.data
        size = max(1, AT_ONCE // data.model.shape[1] ** 2)
        for begin in range(0, len(data.weight), size):
            part = slice(begin, begin + size)
            yield data.model[part], data.rank[part], data.weight[part]

    def _summed(self, model: Ints, bend: Floats) -> Floats:
        count = len(self.models)
        places = model[:, :, None] * count + model[:, None, :]
        summed = np.bincount(places.ravel(), bend.ravel(), count**2)
        return summed.astype(np.float64, copy=False).reshape(count, count)


def _of_rankings(strength: Floats, model: Ints, rank: Ints) -> tuple[Floats, Floats, Floats]:
    """(Q, K) models and ranks -> (Q,) -log P, (Q, K) and (Q, K, K) its derivatives by the K strengths."""
    present = rank > 0
    own = strength[model]
    # (Q, K, K): for the model in the second place, which ones in the third it is chosen from.
    rivals = (rank[:, None, :] > rank[:, :, None]) | np.eye(rank.shape[1], dtype=bool)
    chosen_from = np.where(rivals, own[:, None, :], -np.inf)
    chosen_from[~present] = 0.0  # a place without a model: any finite numbers, as they count nothing
    loss = ((logsumexp(chosen_from, axis=-1) - own) * present).sum(-1)
    chance = softmax(chosen_from, axis=-1) * present[:, :, None]
    expected = chance.sum(1)
    bend = np.einsum("qk,kl->qkl", expected, np.eye(rank.shape[1])) - np.einsum("qki,qkj->qij", chance, chance)
    return loss, expected - present, bend
