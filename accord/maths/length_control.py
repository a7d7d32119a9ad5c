"""Win rates at equal length: the logistic regression of AlpacaEval 2 (Dubois et al. 2024). numpy and scipy only.

P(the model wins on i) = sigma(theta + phi tanh(dl_i / sd(dl)) + psi gamma_i), dl the baseline's length less the
model's, gamma_i the instruction's difficulty. The length-controlled win rate is the mean of
sigma(theta + psi gamma_i): dl = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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

WITHIN = 1e-7  # logits: a step below it is the end
LAST = 1e-4  # the same of many fits together, where what is left after it is about its square
WHOLE_STEPS = 12  # of Newton's method for many fits together
HELD_ROWS = 500_000  # of all fits that are in memory together: about the processor's cache
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

    theta, phi, psi = minimise(loss, np.array(start), within=WITHIN).place.tolist()
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


def refitted(data: Lengths, times: Ints, start: Weights, difficulty: Floats | None = None) -> Floats:
    """(B, G) how often each cluster counts -> (B,) length-controlled win rates of B fits, NaN where none counts.

    difficulty: (B, N) that of each fit, in the place of the data's. All are fitted together, by whole Newton steps from
    `start`; those few that such steps do not bring to an end are fitted one by one.
    """
    count = len(data.outcome)
    gamma = np.broadcast_to(data.difficulty, (len(times), count)) if difficulty is None else difficulty
    own = data.weight * times[:, data.cluster]
    held = np.broadcast_to(data.held.weight, (len(times), len(data.held.weight)))
    weight = np.concatenate([own, held], axis=1)
    third = np.concatenate([gamma, np.broadcast_to(data.held.difficulty, held.shape)], axis=1)
    place = _newton_steps(data, weight, third, np.tile(start, (len(times), 1)))
    for row in np.flatnonzero(np.isnan(place[:, 0])):
        place[row] = fit(replace(data, difficulty=gamma[row]), weight[row], start)
    equal = expit(place[:, :1] + place[:, 2:] * gamma)
    with np.errstate(invalid="ignore"):
        return np.asarray((own * equal).sum(1) / own.sum(1), dtype=np.float64)


def _newton_steps(data: Lengths, weight: Floats, third: Floats, place: Floats) -> Floats:
    """(B, 3) from (B, 3); NaN in a row without an end."""
    first, second = data.design[:, 0], data.design[:, 1]
    for _ in range(WHOLE_STEPS):
        logit = place[:, :1] * first + place[:, 1:2] * second + place[:, 2:] * third
        chance = expit(logit)
        down, curve = weight * (chance - data.target), weight * chance * (1 - chance)
        slope = np.stack([down @ first, down @ second, (down * third).sum(1)], axis=1) + RIDGE * place
        bent = curve * third
        parts = [curve @ first, curve @ (first * second), bent @ first, curve @ second**2, bent @ second]
        parts.append((bent * third).sum(1))
        hessian = np.stack([parts[k] for k in (0, 1, 2, 1, 3, 4, 2, 4, 5)], axis=1).reshape(-1, 3, 3)
        step = np.linalg.solve(hessian + RIDGE * np.eye(3), slope[:, :, None])[:, :, 0]
        place = place - step
        if np.abs(step).max() < LAST:
            return place
    return np.where(np.abs(step).max(1, keepdims=True) < LAST, place, math.nan)


def bootstrapped(
    data: Lengths,
    best: Weights,
    rounds: int,
    seed: int,
    *,
    level: float = 0.95,
    advance: Callable[[int], None] = lambda done: None,
) -> Controlled:
    """Draws clusters (instructions) with replacement and fits anew each time. The sd of dl and the held rows stay.

    advance: told how many more are done.
    """
    found = []
    for times in resampled_clusters(data.clusters, rounds, seed, at_a_time(len(data.target))):
        found.append(refitted(data, times, best))
        advance(len(times))
    return from_samples(data, best, np.concatenate(found), level, f"bootstrap with refits, {rounds:,} resamples")


def at_a_time(rows: int) -> int:
    """How many fits to so many rows are in memory together."""
    return max(1, HELD_ROWS // rows)


def resampled_clusters(clusters: int, rounds: int, seed: int, together: int = 1) -> Iterator[Ints]:
    """How often each of G clusters is drawn, (B, G), in each of R rounds, at most `together` of them at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, rounds, together):
        size = min(together, rounds - start)
        drawn = generator.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters)


def from_samples(data: Lengths, best: Weights, samples: Floats, level: float, method: str) -> Controlled:
    """samples: (R,) length-controlled win rates of refits."""
    win_rate = controlled_win_rate(best, data.difficulty, data.weight)
    kept = samples[~np.isnan(samples)]  # a resample may hold none of the few prompts of a model
    clusters = len(np.unique(data.cluster))  # its own, which may be few of those that are drawn from
    return Controlled(win_rate, float(kept.std(ddof=1)), percentile_interval(kept, clusters, level), best, method)


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
