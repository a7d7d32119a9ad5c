"""The best of n samples against the exact frontier: its policy counted, its reward, and how far it goes.

No policy has more reward at its KL than pi* of some beta: the best of n is held against that one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from accord.evaluate.theory.ends import EXACT, Meant, measured, row_of
from accord.evaluate.theory.found import Found, verdict
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import World
from accord.maths.best_of_n import expected_best_of_n, kl_best_of_n
from accord.maths.optimum import best_of_n, expected_reward, kl, optimum

KIND = "best of n"
SIZES = (2, 4, 16, 64)
WHOLE = 3  # samples of which all tuples are counted


def tasks(worlds: Sequence[World]) -> list[Task]:
    made = [Task(f"best of {n}, {world.name}", partial(_best, world, n)) for world in worlds for n in SIZES]
    return [*made, *(Task(f"reward of the best, {world.name}", partial(_estimate, world)) for world in worlds)]


def _best(world: World, n: int) -> list[Found]:
    """Its chances against sorted sums, its KL under the bound, its reward under the frontier."""
    policy = best_of_n(world.reference, world.reward, n)
    spent = float(kl(policy, world.reference).mean())
    beta = beta_of(world, spent)
    most = float(expected_reward(optimum(world.reference, world.reward, beta=beta), world.reward).mean())
    bound = kl_best_of_n(n)
    claim = f"pi_ref(y) (F^n - G^n) / (F - G); KL <= ln n - (n-1)/n = {bound:.3f}"
    meant = Meant(f"best of {n}", KIND, claim, beta, f"the most at this KL: {most:.4f}, at beta {beta:.3f}")
    found = row_of(world, meant, policy, by_sorting(world, n))
    assert found.reward is not None
    right = found.verdict == "as claimed" and spent <= bound and found.reward <= most + EXACT
    return [found._replace(verdict=verdict(right))]


def by_sorting(world: World, n: int) -> Tensor:
    """(G, S) log pi_n from sums over the different rewards in order: another way than the one that is tested."""
    rows = []
    for chance, reward in zip(world.reference.exp(), world.reward, strict=True):
        level = torch.unique(reward, return_inverse=True)[1]
        at = torch.zeros(int(level.max()) + 1, dtype=torch.float64).index_add_(0, level, chance)
        upto = at.cumsum(0)
        best = upto**n - torch.cat([upto.new_zeros(1), upto[:-1]]) ** n
        rows.append(chance * (best / at)[level])
    return torch.stack(rows).log()


def beta_of(world: World, spent: float) -> float:
    """The beta whose pi* is so far from the reference, in the mean over prompts."""
    low, high = 1e-3, 1e3
    for _ in range(100):
        beta = math.sqrt(low * high)
        far = float(kl(optimum(world.reference, world.reward, beta=beta), world.reference).mean())
        low, high = (beta, high) if far > spent else (low, beta)
    return math.sqrt(low * high)


def _estimate(world: World) -> list[Found]:
    """`expected_best_of_n` of three samples, in the mean over all triples, is the reward of the exact policy."""
    count = len(world.completions)
    triples = torch.cartesian_prod(*[torch.arange(count)] * WHOLE)
    found = []
    for n in range(1, WHOLE + 1):
        chance = world.reference[:, triples].sum(-1).exp()
        mean = (chance * expected_best_of_n(world.reward[:, triples], n)).sum(-1)
        exact = expected_reward(best_of_n(world.reference, world.reward, n), world.reward)
        found.append(float((mean - exact).abs().max()))
    note = f"off by {max(found):.0e} at most, over all {count**WHOLE:,} triples"
    meant = Meant("best of n, from 3 samples", "estimators", "mean = E[r] of the best of 1, 2, 3", note=note)
    return [measured(world, meant, max(found) < EXACT)]
