"""How hard an instruction is to beat a baseline on, from verdicts on several models: one joint regression.

P(model m wins on instruction i) = sigma(theta_m + phi_m tanh(dl_mi / sd_m) + gamma_i), as AlpacaEval 2 finds gamma
(psi = 1 for all models), with a normal prior on gamma: what all models win or lose has a finite one.
numpy and scipy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPREAD = 1.0  # of the prior of gamma, in logits; AlpacaEval's difficulties have 1.2
RIDGE = 1e-3  # of theta and phi
MOST = 10_000_000  # models times instructions: the table of both is in memory
STEPS = 100
HALVINGS = 40


class TooMany(ValueError):
    """More models times instructions than fit into a table."""


@dataclass(frozen=True)
class Several:
    """N verdicts on M models and G instructions. lengths: each model's `length_term`."""

    model: Ints  # (N,) 0..M-1
    instruction: Ints  # (N,) 0..G-1
    lengths: Floats  # (N,)
    outcome: Floats  # (N,)
    weight: Floats  # (N,) mean 1

    @property
    def models(self) -> int:
        """M."""
        return int(self.model.max()) + 1

    @property
    def instructions(self) -> int:
        """G."""
        return int(self.instruction.max()) + 1


class Joint(NamedTuple):
    """What the joint regression found, in logits."""

    theta: Floats  # (M,)
    phi: Floats  # (M,)
    gamma: Floats  # (G,)


def estimate(data: Several, times: Ints | None = None, start: Joint | None = None, within: float = 1e-8) -> Joint:
    """The likeliest values, by Newton's method (Eq. 23); gamma is eliminated, as it has one number an instruction.

    times: (G,) how often each instruction counts, with its prior. TooMany: more than memory holds.
    """
    if data.models * data.instructions > MOST:
        raise TooMany(f"{data.models:,} models times {data.instructions:,} instructions")
    count = np.ones(data.instructions) if times is None else times.astype(np.float64)
    weight = data.weight * count[data.instruction]
    place = start or Joint(np.zeros(data.models), np.zeros(data.models), np.zeros(data.instructions))
    value = _loss(data, weight, count, place)
    for _ in range(STEPS):
        step = _step(data, weight, count, place)
        if max(float(np.abs(part).max()) for part in step) < within:
            return _moved(place, step, 1.0)  # what is left is of the order of this step's square
        for halving in range(HALVINGS):
            next_place = _moved(place, step, 0.5**halving)
            next_value = _loss(data, weight, count, next_place)
            if next_value <= value + 1e-12 * abs(value):
                break
        place, value = next_place, next_value
    return place  # strictly convex: what is left of the way is rounding


def _moved(place: Joint, step: Joint, share: float) -> Joint:
    return Joint(*(one + share * move for one, move in zip(place, step, strict=True)))


def _logits(data: Several, at: Joint) -> Floats:
    return at.theta[data.model] + at.phi[data.model] * data.lengths + at.gamma[data.instruction]


def _loss(data: Several, weight: Floats, count: Floats, at: Joint) -> float:
    logit = _logits(data, at)
    prior = count @ at.gamma**2 / SPREAD**2 + RIDGE * (at.theta @ at.theta + at.phi @ at.phi)
    return float(weight @ (np.logaddexp(0, logit) - data.outcome * logit) + prior / 2)


def _step(data: Several, weight: Floats, count: Floats, at: Joint) -> Joint:
    """Newton's: H = [[A, B], [B^T, D]] with D diagonal, so that only A - B D^-1 B^T, (2 M, 2 M), is solved."""
    models, model = data.models, data.model
    chance = expit(_logits(data, at))
    curve, slope = weight * chance * (1 - chance), weight * (chance - data.outcome)
    columns = (np.ones(len(slope)), data.lengths)
    down = np.concatenate([np.bincount(model, slope * one, models) for one in columns])
    down += RIDGE * np.r_[at.theta, at.phi]
    size = data.instructions
    # An instruction that does not count has no equation; with 1 on the diagonal its gamma stays.
    diagonal = np.bincount(data.instruction, curve, size) + np.where(count > 0, count, 1.0) / SPREAD**2
    down_gamma = np.bincount(data.instruction, slope, size) + count * at.gamma / SPREAD**2
    cell = model * size + data.instruction
    mixed = np.concatenate([np.bincount(cell, curve * one, models * size).reshape(models, size) for one in columns])
    whole = RIDGE * np.eye(2 * models)
    every = np.arange(models)
    for i, one in enumerate(columns):
        for j, other in enumerate(columns):
            whole[every + i * models, every + j * models] += np.bincount(model, curve * one * other, models)
    reduced = whole - (mixed / diagonal) @ mixed.T
    move = cho_solve(cho_factor(reduced), (mixed / diagonal) @ down_gamma - down)
    gamma = -(down_gamma + move @ mixed) / diagonal
    return Joint(move[:models], move[models:], gamma)
