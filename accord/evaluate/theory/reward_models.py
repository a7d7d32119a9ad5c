"""Reward models of unlimited judgements, each followed by the exact solution of the objective for its rewards.

A free score for every completion stands for the model. Judgements are counted: pairs and rankings of completions drawn
from mu, with the chances of Bradley-Terry, of Davidson where there are ties, of Plackett-Luce. Every row of
REWARD_LOSSES is fitted; one that has no end here is shown as not claimed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from accord.evaluate.theory.ends import Meant, measured, row_of
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import BETA, World
from accord.maths.optimum import optimum
from accord.maths.reward import REWARD_LOSSES

KIND = "reward model, then the exact solution"
NU = 1.0  # ties in Davidson's world, as the loss has it unless told otherwise
MOST = 15  # completions of which all sets are tried, and all rankings of three

Loss = Callable[[Tensor], Tensor]  # (..., S) scores -> (...) expected loss
End = Callable[[Tensor, Tensor], Tensor]  # (S,) rewards, (S,) log mu -> (S,) scores, but for a constant


class Claim(NamedTuple):
    """What a row of REWARD_LOSSES is claimed to end in."""

    end: End
    text: str
    nu: float = 0.0  # ties in the world that it supposes
    smooth: bool = True  # Newton's method finds it; otherwise its edges are at whole numbers


OPTIMUM = "pi* = pi_ref exp(r / beta) / Z"


def _itself(reward: Tensor, mu: Tensor) -> Tensor:
    return reward


def _half(reward: Tensor, mu: Tensor) -> Tensor:
    return reward / 2


def _hinge_end(reward: Tensor, mu: Tensor) -> Tensor:
    """The scores that make the expected hinge loss least, by linear programming: a slack for each side of each pair."""
    count = len(reward)
    first, second = np.triu_indices(count, 1)
    weight = (mu[first] + mu[second]).exp().numpy()
    better = torch.sigmoid(reward[first] - reward[second]).numpy()
    pairs = len(first)
    gap = np.zeros((pairs, count))
    gap[np.arange(pairs), first], gap[np.arange(pairs), second] = 1.0, -1.0
    # slack >= 1 - gap where the first one won, slack >= 1 + gap where the second did
    left = np.block([[-gap, -np.eye(pairs), np.zeros((pairs, pairs))], [gap, np.zeros((pairs, pairs)), -np.eye(pairs)]])
    cost = np.concatenate([np.zeros(count), weight * better, weight * (1 - better)])
    bounds = [(0.0, 0.0), *[(None, None)] * (count - 1), *[(0.0, None)] * (2 * pairs)]
    solved = linprog(cost, A_ub=left, b_ub=-np.ones(2 * pairs), bounds=bounds)
    return torch.from_numpy(solved.x[:count])


CLAIMS: Mapping[str, Claim] = {
    "bradley_terry": Claim(_itself, OPTIMUM),
    "hinge": Claim(_hinge_end, "the order of r alone: whole numbers apart, by a linear program", smooth=False),
    "exponential": Claim(_half, "pi* of r / 2"),
    "davidson": Claim(_itself, OPTIMUM, nu=NU),
    "plackett_luce": Claim(_itself, OPTIMUM),
}


def tasks(worlds: Sequence[World]) -> list[Task]:
    """Every row of REWARD_LOSSES that Newton's method is for, in every world; and every row without a claim."""
    chosen = [name for name in REWARD_LOSSES if name not in CLAIMS or CLAIMS[name].smooth]
    return [
        Task(f"reward model, {name}, {world.name}", partial(_found, world, name)) for world in worlds for name in chosen
    ]


def long_tasks(worlds: Sequence[World]) -> list[Task]:
    """Those with edges, where all sets of completions can be tried."""
    chosen = [name for name, claim in CLAIMS.items() if not claim.smooth]
    small = [world for world in worlds if len(world.completions) <= MOST]
    return [
        Task(f"reward model, {name}, {world.name}", partial(_found, world, name)) for world in small for name in chosen
    ]


def unclaimed() -> list[str]:
    return sorted(set(REWARD_LOSSES) - set(CLAIMS))


def _found(world: World, name: str) -> list[Found]:
    if name not in CLAIMS:
        what = "no row of accord.evaluate.theory.reward_models.CLAIMS says where this loss ends: add one"
        return [measured(world, Meant(name, KIND, "none", note=what), right=False)]
    claim, mu = CLAIMS[name], world.mu
    scores, claimed = [], []
    for g in range(len(world.prompts)):
        loss = expected(name, world.reward[g], mu[g], claim.nu)
        fit = fitted if claim.smooth else stepped
        scores.append(fit(loss, len(world.completions)))
        claimed.append(claim.end(world.reward[g], mu[g]))
    meant = Meant(f"{name} and solved", KIND, claim.text)
    ends = (optimum(world.reference, torch.stack(found), beta=BETA) for found in (scores, claimed))
    return [row_of(world, meant, *ends)]


def expected(name: str, reward: Tensor, mu: Tensor, nu: float) -> Loss:
    """The mean of a row of REWARD_LOSSES over all judgements of one prompt."""
    if REWARD_LOSSES[name].of == "rankings":
        return _of_rankings(name, reward, mu)
    first, second = torch.triu_indices(len(reward), len(reward), 1)
    weight = (mu[first] + mu[second]).exp()
    gap = reward[first] - reward[second]
    ways = torch.stack([(gap / 2).exp(), torch.full_like(gap, nu), (-gap / 2).exp()])
    chance = weight * ways / ways.sum(0)
    target = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)[:, None].expand_as(chance)
    hyper = {"tie_strength": nu} if nu else {}

    def loss(scores: Tensor) -> Tensor:
        apart = (scores[..., None, first] - scores[..., None, second]).expand(*scores.shape[:-1], *chance.shape)
        found: Tensor = REWARD_LOSSES[name].loss(apart, target, torch.zeros_like(chance), **hyper)
        return (chance * found).sum((-2, -1)) / chance.sum()

    return loss


def _of_rankings(name: str, reward: Tensor, mu: Tensor) -> Loss:
    """Every ranking of every three different completions (of many: of two), by Eq. 7's chances."""
    each = 3 if len(reward) <= MOST else 2
    groups = torch.tensor(list(itertools.permutations(range(len(reward)), each)))  # best first
    group, strength = mu[groups].sum(-1).exp(), reward.exp()[groups]
    left = strength.flip(-1).cumsum(-1).flip(-1)
    chance = group * (strength / left).prod(-1)
    rank = torch.arange(1, each + 1).expand(len(groups), -1)

    def loss(scores: Tensor) -> Tensor:
        found: Tensor = REWARD_LOSSES[name].loss(scores[groups], rank)
        return (chance * found).sum() / chance.sum()

    return loss


def fitted(loss: Loss, count: int) -> Tensor:
    """(S,) the scores that make a smooth loss least, the first of them 0: Newton's method, steps halved uphill."""

    def of_free(free: Tensor) -> Tensor:
        return loss(torch.cat([free.new_zeros(1), free]))

    free = torch.zeros(count - 1, dtype=torch.float64)
    for _ in range(50):
        at = free.clone().requires_grad_()
        value = of_free(at)
        (slope,) = torch.autograd.grad(value, at)
        if float(slope.abs().max()) < 1e-13:
            break
        step = torch.linalg.solve(torch.autograd.functional.hessian(of_free, free), slope)
        share = 1.0
        while float(of_free(free - share * step)) > value.item() and share > 1e-6:
            share /= 2
        free = free - share * step
    return torch.cat([free.new_zeros(1), free])


def stepped(loss: Loss, count: int) -> Tensor:
    """(S,) the scores that make a loss with edges at whole numbers least, the first of them 0.

    From 0, all scores of some set of completions go up or down by 1, of all sets the one that lowers the loss most. A
    sum of convex functions of differences is least where no set lowers it (Murota 2003, L-natural-convex functions).
    """
    bits = torch.arange(2 ** (count - 1))[:, None] >> torch.arange(count - 1) & 1
    sets = torch.cat([torch.zeros_like(bits[:, :1]), bits], -1).double()
    moves = torch.cat([sets, -sets])
    scores = torch.zeros(count, dtype=torch.float64)
    while True:
        after = torch.cat([loss(scores + some) for some in moves.split(1 << 12)])
        best = int(after.argmin())
        if float(after[best]) >= float(loss(scores)) - 1e-12:
            return scores
        scores = scores + moves[best]
