"""Strengths of models from comparisons or rankings: Eq. 8, by Newton's method. numpy and scipy only.

P(i beats j) = sigma(b_i - b_j), strengths b in logits. `fit` finds them with mean 0; `strengths` says how sure they
are, relative to an anchor, as ranks and on the Elo scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.special import ndtri, stdtrit

from accord.maths.comparisons import Ints
from accord.maths.newton import Floats, NoMinimum, Point, minimise

ELO_PER_LOGIT = 400 / math.log(10)  # a tenfold chance is 400 points
ELO_OF_ZERO = 1000.0
NEAR = 1e-6  # logits: as near to its own best value as a resample comes, which is far nearer than resamples are
EQUAL = 1e-9  # logits; what differs by less has the same rank


class Likelihood(Protocol):
    """What strengths are fitted to: `PairLikelihood`, `RankingLikelihood`. P parameters, the first M the strengths."""

    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def clusters(self) -> int: ...
    @property
    def taking_part(self) -> Ints: ...
    @property
    def start(self) -> Floats: ...
    def check(self) -> None: ...
    def at(self, parameters: Floats) -> Point: ...
    def meat(self, parameters: Floats) -> Floats: ...
    def fisher(self, parameters: Floats) -> Floats: ...
    def reweighted(self, times: Floats) -> Self: ...


class Fit(NamedTuple):
    """The most likely parameters, (P,): strengths of mean 0, and what goes with them; and the penalised Hessian."""

    likelihood: Likelihood
    parameters: Floats
    hessian: Floats
    loss: float  # penalised -log P
    steps: int  # of Newton


def fit(likelihood: Likelihood, start: Floats | None = None) -> Fit:
    """NotConnected, NoTies: there is no finite best value. start: (P,) where the search begins."""
    likelihood.check()
    found = minimise(likelihood.at, likelihood.start if start is None else start)
    return Fit(likelihood, found.place, found.at.hessian, found.at.value, found.steps)


def clustered(fit: Fit) -> Floats:
    """(P, P) covariance H^-1 (G / (G - 1) sum_g s_g s_g^T) H^-1 over G clusters: the sandwich.

    Right also where the judgements of one cluster depend on each other, and where ties count as half wins, for which
    the likelihood itself is wrong. Huber 1967; Liang and Zeger 1986. NaN with one cluster.
    """
    groups = fit.likelihood.clusters
    bread = inv(fit.hessian)
    many = groups / (groups - 1) if groups > 1 else math.nan
    return np.asarray(many * (bread @ fit.likelihood.meat(fit.parameters) @ bread), dtype=np.float64)


def fisher(fit: Fit) -> Floats:
    """(P, P) covariance if every comparison is independent and the model is true: the inverse of the Hessian."""
    bread = inv(fit.hessian)
    return np.asarray(bread @ fit.likelihood.fisher(fit.parameters) @ bread, dtype=np.float64)


class Resampled(NamedTuple):
    """Parameters of refits on resampled clusters, (R, P), and how many more had no finite best value."""

    samples: Floats
    failed: int


def bootstrap(fit: Fit, rounds: int, seed: int, advance: Callable[[int], None] = lambda done: None) -> Resampled:
    """Draws G of G clusters with replacement and fits anew, `rounds` times. Efron 1979. advance: told each round."""
    generator = np.random.default_rng(seed)
    groups = fit.likelihood.clusters
    samples: list[Floats] = []
    for done in range(1, rounds + 1):
        times = np.bincount(generator.integers(groups, size=groups), minlength=groups).astype(np.float64)
        samples.extend(_refitted(fit, times))
        advance(done)
    return Resampled(np.array(samples).reshape(-1, len(fit.parameters)), rounds - len(samples))


def _refitted(whole: Fit, times: Floats) -> Iterator[Floats]:
    again = whole.likelihood.reweighted(times)
    try:
        again.check()
        yield minimise(again.at, whole.parameters, within=NEAR).place
    except (ValueError, NoMinimum):  # no finite best value
        return


class Strengths(NamedTuple):
    """M models, in the order of the likelihood, strengths in logits relative to the anchor (or to mean 0).

    rank: 1 is best, equal strengths share one. rank_interval: from 1 + how many are surely better to M - how many are
    surely worse: those whose difference to it has an interval that leaves out 0, each at `level` for itself.
    """

    models: tuple[str, ...]
    strength: Floats  # (M,)
    standard_error: Floats  # (M,)
    interval: Floats  # (M, 2)
    rank: Ints  # (M,)
    rank_interval: Ints  # (M, 2)
    n: Ints  # (M,) comparisons or rankings that it takes part in

    @property
    def elo(self) -> Floats:
        """(M,) 1000 + 400 / ln 10 times the strength."""
        return elo(self.strength)


def elo(strength: Floats) -> Floats:
    """1000 at strength 0; 400 points more are ten times the odds."""
    return ELO_OF_ZERO + ELO_PER_LOGIT * strength


def strengths(
    fit: Fit, spread: Floats | Resampled, *, anchor: int | None = None, level: float = 0.95, clusters: int | None = None
) -> Strengths:
    """spread: a covariance, or refits whose percentiles are the intervals. anchor: the model of strength 0.

    clusters: of a clustered covariance; the interval is then Student's with one degree of freedom fewer.
    """
    count = len(fit.likelihood.models)
    relative = _anchored(count, anchor)
    value = relative @ fit.parameters[:count]
    if isinstance(spread, Resampled):
        samples = spread.samples[:, :count] @ relative.T
        error, interval, surely = _from_samples(samples, level)
    else:
        covariance = relative @ spread[:count, :count] @ relative.T
        reach = float(ndtri(0.5 + level / 2) if clusters is None else stdtrit(clusters - 1, 0.5 + level / 2))
        error, interval, surely = _from_covariance(value, covariance, reach)
    better = (value[None, :] > value[:, None] + EQUAL).sum(1)
    places = np.stack([1 + surely.sum(1), count - surely.sum(0)], axis=1)
    taking_part = fit.likelihood.taking_part
    return Strengths(fit.likelihood.models, value, error, interval, 1 + better, places, taking_part)


def _anchored(count: int, anchor: int | None) -> Floats:
    """(M, M) what makes strengths of mean 0 relative to the anchor."""
    whole = np.eye(count)
    if anchor is not None:
        whole[:, anchor] -= 1
    return whole


def _from_covariance(value: Floats, covariance: Floats, reach: float) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(M,) errors, (M, 2) intervals, and (M, M) whether the model of the column is surely better than the row's."""
    variance = np.maximum(np.diag(covariance), 0.0)  # the anchor's may be a rounding below 0
    error = np.sqrt(variance)
    between = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0.0))
    surely = value[None, :] - value[:, None] > np.maximum(reach * between, EQUAL)
    return error, np.stack([value - reach * error, value + reach * error], axis=1), surely


def _from_samples(samples: Floats, level: float) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """As `_from_covariance`, from (R, M) refits: percentiles, and how often a model was ahead."""
    count = samples.shape[1]
    tail = (1 - level) / 2
    interval = np.quantile(samples, [tail, 1 - tail], axis=0).T
    surely = np.empty((count, count), dtype=bool)
    for i in range(count):
        surely[i] = (samples > samples[:, i : i + 1] + EQUAL).mean(0) > 1 - tail
    return samples.std(0, ddof=1), interval, surely
