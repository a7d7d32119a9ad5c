"""Rewards known: what the losses of reward models make of judgements from the worlds that they suppose.

A table of free scores stands for the model, fitted by Newton's method to all judgements at once.
"""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.maths.reward import REWARD_LOSSES

TRUTH = torch.tensor([1.2, 0.5, 0.0, -0.3, -1.4], dtype=torch.float64)  # its mean is 0
K = len(TRUTH)
PLACES = [(i, j) for i in range(K) for j in range(i + 1, K)]
FIRST, SECOND = (torch.tensor(side) for side in zip(*PLACES, strict=True))
NU = 0.8

Loss = Callable[[Tensor], Tensor]  # (K,) scores -> () mean loss


def fitted(loss: Loss) -> Tensor:
    """(K,) the scores of mean 0 that make the loss least: Newton's method, on all but the last, which is minus their
    sum."""
    free = torch.zeros(K - 1, dtype=torch.float64)

    def whole(some: Tensor) -> Tensor:
        return torch.cat([some, -some.sum()[None]])

    def of_free(some: Tensor) -> Tensor:
        return loss(whole(some))

    for _ in range(12):
        at = free.clone().requires_grad_()
        (slope,) = torch.autograd.grad(of_free(at), at)
        bend = torch.autograd.functional.hessian(of_free, free)
        free = free - torch.linalg.solve(bend, slope)
    assert slope.abs().max() < 1e-9
    return whole(free)


def pair_loss(name: str, counts: Tensor, **hyper: float) -> Loss:
    """counts (3, P): how often the first of each pair was better, tied, worse."""
    targets = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)[:, None].expand_as(counts)
    zeros = torch.zeros_like(counts)

    def loss(scores: Tensor) -> Tensor:
        gap = (scores[FIRST] - scores[SECOND]).expand_as(counts)
        found: Tensor = REWARD_LOSSES[name].loss(gap, targets, zeros, **hyper)
        return (found * counts).sum() / counts.sum()

    return loss


def ranking_loss(rank: Tensor) -> Loss:
    """rank (Q, K)."""
    unique, counts = torch.unique(rank, dim=0, return_counts=True)

    def loss(scores: Tensor) -> Tensor:
        found: Tensor = REWARD_LOSSES["plackett_luce"].loss(scores.expand(unique.shape), unique)
        return (found * counts).sum() / counts.sum()

    return loss


def chances(nu: float) -> Tensor:
    """(3, P) of a win, a tie, a loss of each pair's first: Davidson's; Bradley and Terry's for nu = 0."""
    gap = TRUTH[FIRST] - TRUTH[SECOND]
    ways = torch.stack([(gap / 2).exp(), torch.full_like(gap, nu), (-gap / 2).exp()])
    return ways / ways.sum(0)


def compared(nu: float) -> Callable[[np.random.Generator, int], Tensor]:
    """n groups of K, all pairs of each judged one by one -> (3, P) counts."""

    def draw(rng: np.random.Generator, n: int) -> Tensor:
        found = [rng.multinomial(n, one) for one in chances(nu).T.numpy()]
        return torch.from_numpy(np.array(found).T.astype(np.float64))

    return draw


def ranked(rng: np.random.Generator, n: int) -> Tensor:
    """(Q, K) ranks from a Plackett-Luce world: who is first when each adds its Gumbel noise to its reward."""
    noisy = TRUTH.numpy() + rng.gumbel(size=(n, K))
    return torch.from_numpy((-noisy).argsort(1).argsort(1) + 1)


WORLDS: dict[str, Callable[[np.random.Generator, int], Loss]] = {
    "bradley_terry": lambda rng, n: pair_loss("bradley_terry", compared(0.0)(rng, n)),
    "davidson": lambda rng, n: pair_loss("davidson", compared(NU)(rng, n), tie_strength=NU),
    "plackett_luce": lambda rng, n: ranking_loss(ranked(rng, n)),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_error_shrinks_with_the_root_of_the_number_of_groups(name: str) -> None:
    """16 times the groups, a quarter of the error: by the root of the mean square over 24 data sets of each size."""

    def error(n: int) -> float:
        squares = [
            (fitted(WORLDS[name](np.random.default_rng((n, seed)), n)) - TRUTH).square().mean() for seed in range(24)
        ]
        return math.sqrt(torch.stack(squares).mean().item())

    few, many = error(250), error(4000)
    assert many < 0.05
    assert 3.0 < few / many < 5.3


def test_unlimited_comparisons_give_the_rewards_themselves() -> None:
    """Each pair is judged as often as its chances say; the exponential loss halves the rewards."""
    torch.testing.assert_close(fitted(pair_loss("bradley_terry", chances(0.0))), TRUTH)
    torch.testing.assert_close(fitted(pair_loss("davidson", chances(NU), tie_strength=NU)), TRUTH)
    torch.testing.assert_close(fitted(pair_loss("exponential", chances(0.0))), TRUTH / 2)


def test_ties_as_halves_bring_the_rewards_nearer_together() -> None:
    halves = fitted(pair_loss("bradley_terry", chances(NU)))
    gaps = (halves[FIRST] - halves[SECOND]) / (TRUTH[FIRST] - TRUTH[SECOND])
    assert ((gaps > 0.5) & (gaps < 0.8)).all()


def test_unlimited_rankings_give_the_rewards_themselves() -> None:
    """Each of the 120 orders has the probability of drawing its completions one after the other."""
    orders = list(permutations(range(K)))
    strengths = TRUTH.exp().tolist()
    chance = [
        math.prod(strengths[k] / sum(strengths[j] for j in order[i:]) for i, k in enumerate(order)) for order in orders
    ]
    ranks = torch.tensor(orders).argsort(1) + 1

    def loss(scores: Tensor) -> Tensor:
        found: Tensor = REWARD_LOSSES["plackett_luce"].loss(scores.expand(ranks.shape), ranks)
        return (found * torch.tensor(chance, dtype=torch.float64)).sum()

    torch.testing.assert_close(fitted(loss), TRUTH)


def test_label_smoothing_ends_where_its_row_says() -> None:
    """g = log odds of eps + (1 - 2 eps) P, with two completions."""
    eps, chance = 0.1, 0.8
    target = eps + (1 - 2 * eps) * chance
    gap = torch.tensor(math.log(target / (1 - target)), dtype=torch.float64, requires_grad=True)
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    smooth = [eps + (1 - 2 * eps) * one, eps + (1 - 2 * eps) * zero]
    row = REWARD_LOSSES["bradley_terry"]
    loss = chance * row.loss(gap, smooth[0], zero) + (1 - chance) * row.loss(gap, smooth[1], zero)
    (slope,) = torch.autograd.grad(loss, gap)
    assert slope.item() == pytest.approx(0.0, abs=1e-12)
