"""How often outcomes came against how often they should: Pearson's chi-square, and the product's ways of drawing.

A drawn outcome is right if its frequencies are; what has fewer than 5 expected is taken together, rarest first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from accord.evaluate.theory.ends import Meant, measured
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import World
from accord.stages.online_judging import drawn

KIND = "frequencies"
LEAST = 1e-3  # a right sampler falls below it once in 1,000 seeds
EXPECTED = 5.0  # in a cell


class ChiSquare(NamedTuple):
    """Pearson's statistic, its degrees of freedom, and how often chance alone gives more."""

    value: float
    freedom: int
    p: float

    def __str__(self) -> str:
        return f"chi2 {self.value:.1f} of {self.freedom}, p {self.p:.2f}"


def chi_square(counts: Tensor, chance: Tensor) -> ChiSquare:
    """(M,) counts, (M,) chances that sum to 1. What has no chance and came all the same: p = 0."""
    if bool((counts[chance == 0] > 0).any()):
        return ChiSquare(math.inf, 0, 0.0)
    order = chance.argsort()
    expected, came = (chance * counts.sum())[order].double(), counts[order].double()
    few = int((expected < EXPECTED).sum())
    few = max(1, few + int(float(expected[:few].sum()) < EXPECTED))  # the rarest together, and one more if still rare
    expected = torch.cat([expected[:few].sum()[None], expected[few:]])
    came = torch.cat([came[:few].sum()[None], came[few:]])
    value = float(((came - expected).square() / expected).sum())
    return ChiSquare(value, len(expected) - 1, float(chi2.sf(value, len(expected) - 1)))


def tasks(worlds: Sequence[World]) -> list[Task]:
    return [Task(f"orders of {k}", partial(_orders, worlds[0], k)) for k in (2, 4)]


def _orders(world: World, samples: int, *, count: int = 20_000) -> list[Found]:
    """The simulated judges of `accord online-dpo`: orders of the same completions, again and again."""
    spread = world.reward[0].argsort()[:: len(world.reward[0]) // samples][:samples]
    reward = world.reward[0][spread]
    ranks = torch.tensor([one.ranks for one in drawn(reward.repeat(count), samples, seed=0)])
    every = list(itertools.permutations(range(1, samples + 1)))
    came = torch.tensor([int((ranks == torch.tensor(one)).all(-1).sum()) for one in every])
    strength = reward.exp()[torch.tensor(every).argsort(-1)]  # best first
    chance = (strength / strength.flip(-1).cumsum(-1).flip(-1)).prod(-1)
    found = chi_square(came, chance)
    law = "Bradley-Terry" if samples == 2 else "Plackett-Luce"
    note = f"{len(every)} orders, {count:,} drawn: {found}"
    return [
        measured(world, Meant(f"judgements drawn, K = {samples}", KIND, f"{law}'s chances", note=note), found.p > LEAST)
    ]
