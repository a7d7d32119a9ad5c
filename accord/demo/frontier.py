"""What a nat of KL buys in the world: the exact frontier, as far as samples show it, and the best of n.

No policy gets more worth for its KL from the SFT model pi than pi* = pi exp(worth / beta) / Z does, for some beta. The
answers are too many to be counted, but samples of pi with their exact worths stand for them: of M samples each has the
chance 1/M, and the optimum among them is that of self-normalised importance weights. It can be believed while many
samples carry the weight: the effective sample size 1 / sum w^2 (Kong 1992).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from accord.demo.answers import Scored
from accord.maths.best_of_n import expected_best_of_n, expected_of_best_of_n, kl_best_of_n
from accord.maths.optimum import expected_reward, kl, optimum
from accord.maths.statistics import Estimate, mean_interval

BETAS = tuple(2.0 * 0.8**step for step in range(30))  # from 2 to 0.003, in the unit of worth
TRUSTED = 100.0  # effective samples of a point that is shown


class Edge(NamedTuple):
    """A point of the frontier. beta: what a nat is worth there. effective: samples that carry it."""

    beta: float
    kl: float
    worth: float
    effective: float


class BestOf(NamedTuple):
    """The best of n by the reward model: its exact worth, its score; and the worth of the best of n by the truth."""

    n: int
    kl: float
    worth: Estimate
    proxy: Estimate
    ideal: Estimate


class Bought(NamedTuple):
    """samples: how many the frontier is taken from. frontier: with one beta for all questions together, which no policy
    can beat. apart: with the answers of each question by themselves, as a check where both can be believed."""

    samples: int
    frontier: tuple[Edge, ...]
    apart: tuple[Edge, ...]
    best_of: tuple[BestOf, ...]


def bought(found: Scored) -> Bought:
    """Of P questions with N answers each."""
    questions, each = found.worth.shape
    together = found.worth.reshape(1, -1)
    trusted = tuple(edge for edge in _edges(together) if edge.effective >= TRUSTED)
    apart = tuple(edge for edge in _edges(found.worth) if edge.effective >= each / 2)
    powers = [2**i for i in range(each.bit_length()) if 2**i < each]
    return Bought(questions * each, trusted, apart, tuple(_best_of(found, n) for n in (*powers, each)))


def _edges(worth: Tensor) -> Iterator[Edge]:
    """(P, N) worths of samples -> the optimum among the N of each, the mean over P."""
    reference = torch.full_like(worth, -math.log(worth.shape[-1]))
    for beta in BETAS:
        best = optimum(reference, worth, beta=beta)
        effective = 1 / (2 * best).exp().sum(-1)
        figures = (kl(best, reference), expected_reward(best, worth), effective)
        yield Edge(beta, *(float(figure.mean()) for figure in figures))


def _best_of(found: Scored, n: int) -> BestOf:
    return BestOf(
        n,
        kl_best_of_n(n),
        mean_interval(expected_of_best_of_n(found.proxy, found.worth, n).numpy()),
        mean_interval(expected_best_of_n(found.proxy, n).numpy()),
        mean_interval(expected_best_of_n(found.worth, n).numpy()),
    )
