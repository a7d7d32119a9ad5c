"""Online DPO against the exact optimum: pairs of the policy's own samples, judged as Bradley-Terry has it.

What is learnt from a judged group of K samples is decided by the product (`learnt`, `pairs`). The chances of groups and
orders are counted; groups come from the policy as it is, without gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.choose import pairs
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.evaluate.theory.ends import Meant, measured, row_of
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import BETA, World
from accord.maths.optimum import kl, optimum
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.records import Completion, Group, Judgement
from accord.stages.online_judging import by_score, judged, learnt

KIND = "online DPO"
RATE = 6.0


class Terms(NamedTuple):
    """The pairs that are learnt from, of one prompt: E of them, each with the group that it is of."""

    members: Tensor  # (E, K)
    chosen: Tensor  # (E,)
    rejected: Tensor  # (E,)
    weight: Tensor  # (E,) its weight in its group times the chance of the order


Judge = Callable[[Tensor, tuple[int, ...]], list[tuple[tuple[int, ...], float]]]  # rewards, members -> ranks, chance


def drawn(reward: Tensor, members: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Every order of the samples with its chance by Plackett-Luce, Eq. 7."""
    found = []
    for order in itertools.permutations(range(len(members))):
        left = [math.exp(float(reward[members[place]])) for place in order]
        chance = math.prod(one / sum(left[i:]) for i, one in enumerate(left))
        found.append((tuple(1 + order.index(place) for place in range(len(members))), chance))
    return found


def scored(reward: Tensor, members: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    """The ranks that scores give, for sure."""
    (judgement,) = by_score(reward[list(members)], len(members))
    assert judgement.ranks is not None
    return [(tuple(rank for rank in judgement.ranks if rank is not None), 1.0)]  # scores keep nothing out


def terms_of(world: World, prompt: int, judge: Judge, samples: int, *, extremes: bool) -> Terms:
    """All groups of K samples of a prompt with all their orders."""
    found: list[tuple[tuple[int, ...], int, int, float]] = []
    reward = world.reward[prompt]
    for members in itertools.product(range(len(world.completions)), repeat=samples):
        text = Group("g", "x", tuple(Completion(str(member)) for member in members))
        tokens = TokenGroup(text, _ids(9), tuple(TokenCompletion(_ids(member), ((0, 1),)) for member in members))
        for ranks, chance in judge(reward, members):
            for one in learnt([judged(tokens, text, [Judgement(ranks=ranks)])], "pairs", extremes=extremes):
                of = [members[place] for place in one.places]
                found += [(members, of[p.chosen], of[p.rejected], chance * p.weight) for p in pairs(one.group.group)]
    columns = [torch.tensor(column) for column in zip(*found, strict=True)]
    return Terms(columns[0], columns[1], columns[2], columns[3].double())


def _ids(token: int) -> np.ndarray:
    return np.array([token], dtype=np.int32)


def slope(terms: Terms, policy: Tensor, reference: Tensor) -> Tensor:
    """(S,), (S,) log-probabilities -> (S,) the expected gradient of the loss with respect to logits over completions.

    Completions have a logit each: how tokens share them is what the other parts show.
    """
    logits = policy.clone().requires_grad_()
    free = logits.log_softmax(-1)
    chance = policy.exp()[terms.members].prod(-1)
    sides = (Pair(side[terms.chosen], side[terms.rejected]) for side in (free, reference, torch.ones_like(reference)))
    loss = (chance * terms.weight * PAIR_LOSSES["sigmoid"].loss(*sides, beta=BETA, label_smoothing=0.0)).sum()
    return torch.autograd.grad(loss, logits)[0]


def ended(terms: Terms, reference: Tensor, *, most: int = 4000) -> Tensor:
    """(S,) log pi where its own steps lead from the reference, each over how likely a completion is."""
    policy = reference
    for _ in range(most):
        gradient = slope(terms, policy, reference)
        if float(gradient.abs().max()) < 1e-12:
            break
        policy = (policy - RATE * gradient / policy.exp()).log_softmax(-1)
    return policy


def tasks(worlds: Sequence[World]) -> list[Task]:
    made = []
    for world in worlds:
        made += [Task(f"online DPO, {world.name}", partial(_orders_drawn, world))]
        made += [Task(f"online DPO by scores, {world.name}", partial(_orders_by_score, world))]
    return made


def _orders_drawn(world: World) -> list[Found]:
    meant = Meant(
        "online dpo, judged by chance", KIND, "pi* = pi_ref exp(r / beta) / Z", note="K = 2 of its own samples"
    )
    every = [
        ended(terms_of(world, g, drawn, 2, extremes=False), reference) for g, reference in enumerate(world.reference)
    ]
    return [row_of(world, meant, torch.stack(every), optimum(world.reference, world.reward, beta=BETA))]


def _orders_by_score(world: World) -> list[Found]:
    """The better one of a pair always wins, so its chance only rises: there is no end but the best completion alone."""
    best = optimum(world.reference, world.reward, beta=BETA)
    policies, far = world.reference, list[Tensor]()
    every = [terms_of(world, g, scored, 2, extremes=False) for g in range(len(world.prompts))]
    for steps in (50, 200, 800):
        policies = torch.stack([ended(t, ref, most=steps) for t, ref in zip(every, world.reference, strict=True)])
        far.append(kl(best, policies).mean())
    top = policies.exp().gather(-1, world.reward.argmax(-1, keepdim=True))
    return [
        measured(
            world,
            Meant(
                "online dpo, judged by scores",
                KIND,
                "no end: the best completion alone",
                note=f"KL(pi* || pi) {', '.join(f'{float(one):.2f}' for one in far)} after 50, 200, 800 steps; "
                f"the best one's chance is then {float(top.mean()):.2f}",
            ),
            bool(far[0] < far[1] < far[2]) and float(top.min()) > 0.9,
        )
    ]
