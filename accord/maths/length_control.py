"""Win rates at equal length: the logistic regression of AlpacaEval 2 (Dubois et al. 2024). numpy and scipy only.

P(the model wins on i) = sigma(theta + phi tanh(dl_i / sd(dl)) + psi gamma_i), dl the baseline's length less the
model's, gamma_i the instruction's difficulty. The length-controlled win rate is the mean of
sigma(theta + psi gamma_i): dl = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.special import expit, ndtri

from accord.maths.cluster_bootstrap import percentile_interval
from accord.maths.newton import Point, minimise
from accord.maths.statistics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RIDGE = 1e-3  # of all weights, beside the sum over rows: finite ones also where a model wins everything


class Weights(NamedTuple):
    """Of the regression, in logits: the model's strength, the effect of length, that of difficulty."""

    theta: float
    phi: float
    psi: float


NOTHING = Weights(0.0, 0.0, 0.0)


class Held(NamedTuple):
    """K rows that hold phi and psi where the verdicts say little: the baseline against its own verbose and concise
    answers. As these are one model, theta is switched off for them. All (K,), weights in units of a verdict's."""

    lengths: Floats  # tanh(dl / sd(dl))
    difficulty: Floats
    outcome: Floats
    weight: Floats


NONE_HELD = Held(*(np.zeros(0),) * 4)


@dataclass(frozen=True)
class Lengths:
    """N verdicts on one model: outcome in 0..1, `length_term`, difficulty (0 where none is known), weight, cluster."""

    outcome: Floats
    lengths: Floats
    difficulty: Floats
    weight: Floats  # mean 1
    cluster: Ints  # 0..G-1
    held: Held = NONE_HELD

    @cached_property
    def design(self) -> Floats:
        """(N + K, 3) what theta, phi and psi are multiplied with, the held rows last."""
        own = np.stack([np.ones(len(self.outcome)), self.lengths, self.difficulty], axis=1)
        held = np.stack([np.zeros(len(self.held.outcome)), self.held.lengths, self.held.difficulty], axis=1)
        return np.concatenate([own, held])

    @cached_property
    def target(self) -> Floats:
        """(N + K,) outcomes."""
        return np.concatenate([self.outcome, self.held.outcome])

    def weights_of(self, times: Ints) -> Floats:
        """(N + K,) weights where clusters count `times` (G,)."""
        return np.concatenate([self.weight * times[self.cluster], self.held.weight])

    @property
    def clusters(self) -> int:
        """G."""
        return int(self.cluster.max()) + 1


class Controlled(NamedTuple):
    """A length-controlled win rate in 0..1, how sure it is, and by which method that was found."""

    win_rate: float
    standard_error: float
    interval: Interval
    weights: Weights
    method: str


def length_term(length: Floats, baseline_length: Floats) -> Floats:
    """(N,), (N,) characters -> tanh(dl / sd(dl)); 0 where all differ alike. AlpacaEval's sd has N - 1 below it."""
    difference = baseline_length - length
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return np.tanh(difference / spread) if spread > 0 else np.zeros(len(difference))


def fit(data: Lengths, weight: Floats | None = None, start: Weights = NOTHING) -> Weights:
    """The most likely weights, by Newton's method (Eq. 23). weight: (N + K,) instead of the rows' own."""
    each = data.weights_of(np.ones(data.clusters, dtype=np.int64)) if weight is None else weight
    design, target = data.design, data.target

    def loss(place: Floats) -> Point:
        logit = design @ place
        chance = expit(logit)
        value = each @ (np.logaddexp(0, logit) - target * logit) + RIDGE / 2 * (place @ place)
        slope = design.T @ (each * (chance - target)) + RIDGE * place
        return Point(float(value), slope, _curve(design, each, chance))

    theta, phi, psi = minimise(loss, np.array(start), within=1e-7).place.tolist()
    return Weights(theta, phi, psi)


def _curve(design: Floats, weight: Floats, chance: Floats) -> Floats:
    """(3, 3) second derivatives of the loss."""
    curve: Floats = design.T @ (design * (weight * chance * (1 - chance))[:, None])
    return curve + RIDGE * np.eye(3)


def controlled_win_rate(weights: Weights, difficulty: Floats, weight: Floats | None = None) -> float:
    """The mean of sigma(theta + psi gamma) over the instructions; also of weights that others have published.

    NaN where no instruction has any weight.
    """
    if weight is not None and not weight.any():
        return math.nan
    return float(np.average(expit(weights.theta + weights.psi * difficulty), weights=weight))


def bootstrapped(
    data: Lengths,
    best: Weights,
    rounds: int,
    seed: int,
    *,
    level: float = 0.95,
    advance: Callable[[int], None] = lambda done: None,
) -> Controlled:
    """Draws clusters (instructions) with replacement and fits anew each time. The sd of dl and the held rows stay."""
    samples = np.empty(rounds)
    for done, times in enumerate(resampled_clusters(data.clusters, rounds, seed)):
        weight = data.weights_of(times)
        again = fit(data, weight, best)
        samples[done] = controlled_win_rate(again, data.difficulty, weight[: len(data.outcome)])
        advance(done + 1)
    return from_samples(data, best, samples, level, f"bootstrap with refits, {rounds:,} resamples")


def resampled_clusters(clusters: int, rounds: int, seed: int) -> Iterator[Ints]:
    """How often each of G clusters is drawn, (G,), in each round."""
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        yield np.bincount(generator.integers(clusters, size=clusters), minlength=clusters)


def from_samples(data: Lengths, best: Weights, samples: Floats, level: float, method: str) -> Controlled:
    """samples: (R,) length-controlled win rates of refits."""
    win_rate = controlled_win_rate(best, data.difficulty, data.weight)
    kept = samples[~np.isnan(samples)]  # a resample may hold none of the few prompts of a model
    return Controlled(win_rate, float(kept.std(ddof=1)), percentile_interval(kept, data.clusters, level), best, method)


def sandwiched(data: Lengths, best: Weights, level: float = 0.95) -> Controlled:
    """Without resampling, for very many verdicts: what each cluster adds to the win rate, by the delta method.

    That is its own part of the mean, and how far its scores s_g move the weights: J^T H^-1 s_g.
    """
    count, whole = len(data.outcome), data.weight.sum()
    win_rate = controlled_win_rate(best, data.difficulty, data.weight)
    chance = expit(data.design @ np.array(best))
    every = data.weights_of(np.ones(data.clusters, dtype=np.int64))
    equal = expit(best.theta + best.psi * data.difficulty)
    slope = data.weight * equal * (1 - equal) / whole
    jacobian = np.array([slope.sum(), 0.0, slope @ data.difficulty])
    moved = data.design[:count] @ solve(_curve(data.design, every, chance), jacobian, assume_a="pos")
    each = data.weight * ((equal - win_rate) / whole + moved * (data.outcome - chance[:count]))
    parts = np.bincount(data.cluster, each)
    error = math.sqrt(len(parts) / max(1, len(parts) - 1) * float(parts @ parts))
    half = float(ndtri(0.5 + level / 2)) * error
    interval = Interval(max(0.0, win_rate - half), min(1.0, win_rate + half))
    return Controlled(win_rate, error, interval, best, "sandwich")
