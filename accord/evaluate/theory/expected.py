"""Expected losses in a world: no judgement is drawn, each counts by its exact chance.

A loss that couples the judgements of a step (by a mean, or by sorting) knows no weights: it gets whole numbers of each
judgement, and the claim is held to these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from accord.evaluate.theory.descent import Loss
from accord.evaluate.theory.world import World
from accord.maths.ends import Setting, setting
from accord.maths.pair import Pair
from accord.maths.preference import PairLoss
from accord.maths.ranking import RankingLoss
from accord.maths.unpaired import UnpairedLoss

Hyper = Mapping[str, float]
JUDGED = 24  # how often each two completions are compared, where judgements are counted
LABELLED = 100  # how often each completion is labelled
FEW = 20  # completions, up to which all rankings of three are gone through


def exact(world: World) -> Setting:
    """Judgements by their chances."""
    return setting(world.reference, world.reward, world.mu.exp(), world.length)


def counted(world: World) -> Setting:
    """Judgements in whole numbers, of every completion and every two of them equally often."""
    of = exact(world)
    evenly = torch.full_like(of.mu, 1 / of.mu.shape[-1])
    ahead = torch.triu(torch.round(JUDGED * of.win), diagonal=1)
    behind = torch.tril(JUDGED - ahead.mT, diagonal=-1)
    win = (ahead + behind + torch.eye(of.mu.shape[-1], dtype=of.mu.dtype) * JUDGED / 2) / JUDGED
    return of._replace(mu=evenly, win=win, desirable=torch.round(LABELLED * of.desirable) / LABELLED)


def of_pairs(row: PairLoss, of: Setting, hyper: Hyper) -> Loss:
    """sum mu(y) mu(y') P(y > y') l(y, y'), the mean over prompts."""
    weight = of.mu.unsqueeze(-1) * of.mu.unsqueeze(-2) * of.win
    fixed = both(of.reference), both(of.length)

    def loss(logits: Tensor) -> Tensor:
        found: Tensor = row.loss(both(logits.log_softmax(-1)), *fixed, **hyper)
        return (weight.flatten() * found).sum() / weight.sum()

    return loss


def of_counted_pairs(row: PairLoss, of: Setting, hyper: Hyper) -> Loss:
    """The mean over whole numbers of comparisons, all in one step."""
    times = torch.round(JUDGED * of.win).long().flatten()

    def repeated(values: Tensor) -> Pair:
        return Pair(*(side.repeat_interleave(times) for side in both(values)))

    fixed = repeated(of.reference), repeated(of.length)

    def loss(logits: Tensor) -> Tensor:
        found: Tensor = row.loss(repeated(logits.log_softmax(-1)), *fixed, **hyper)
        return found.mean()

    return loss


def both(values: Tensor) -> Pair:
    """(G, S) -> the two sides of all G S S ordered pairs."""
    first, second = torch.broadcast_tensors(values.unsqueeze(-1), values.unsqueeze(-2))
    return Pair(first.flatten(), second.flatten())


def of_labels(row: UnpairedLoss, of: Setting, hyper: Hyper) -> Loss:
    """sum mu(y) (q(y) l(y, desirable) + (1 - q(y)) l(y, undesirable)), of a loss without a baseline."""
    nothing = torch.zeros((), dtype=of.mu.dtype)
    sides = [(torch.full(of.mu.shape, up), of.mu * (of.desirable if up else 1 - of.desirable)) for up in (True, False)]

    def loss(logits: Tensor) -> Tensor:
        at = logits.log_softmax(-1), of.reference, of.length
        total: Tensor = torch.stack([(w * row.loss(*at, label, nothing, **hyper)).sum() for label, w in sides]).sum()
        return total / len(of.mu)

    return loss


def of_counted_labels(row: UnpairedLoss, of: Setting, hyper: Hyper) -> Loss:
    """The mean over whole numbers of labels, all in one step, with the baseline of that step."""
    assert row.baseline is not None
    baseline = row.baseline
    ups = torch.round(LABELLED * of.desirable).long().flatten()
    times = torch.stack([ups, LABELLED - ups], -1).flatten()
    label = torch.tensor([True, False]).repeat(len(ups)).repeat_interleave(times)

    def repeated(values: Tensor) -> Tensor:
        return values.flatten().repeat_interleave(2).repeat_interleave(times)

    reference, length = repeated(of.reference), repeated(of.length)

    def loss(logits: Tensor) -> Tensor:
        logp = logits.log_softmax(-1)
        # Completions of the other prompts are the same ones, each as often: all of them, under this prompt.
        mismatched = (logp - of.reference).flatten()
        one = repeated(logp)
        shift = baseline(one - reference, label, mismatched).detach()
        found: Tensor = row.loss(one, reference, length, label, shift, **hyper)
        return found.mean()

    return loss


def of_rankings(row: RankingLoss, of: Setting, hyper: Hyper) -> Loss:
    """Every ranking of three from mu, of many completions of two, by its Plackett-Luce chance. Eq. 7."""
    count = of.mu.shape[-1]
    order = torch.cartesian_prod(*[torch.arange(count)] * (3 if count <= FEW else 2))  # (Q, K), the best first
    strength = of.reward.exp()[:, order]
    chance = (strength / strength.flip(-1).cumsum(-1).flip(-1)).prod(-1) * of.mu[:, order].prod(-1)
    rank = torch.arange(1, order.shape[-1] + 1).expand(len(of.mu), *order.shape)

    def flat(values: Tensor) -> Tensor:
        return values.flatten(0, 1)

    fixed = flat(of.reference[:, order]), flat(of.length[:, order]), flat(rank)

    def loss(logits: Tensor) -> Tensor:
        found: Tensor = row.loss(flat(logits.log_softmax(-1)[:, order]), *fixed, **hyper)
        return (chance.flatten() * found).sum() / chance.sum()

    return loss


def under(score: Any, row: PairLoss, of: Setting, hyper: Hyper) -> Loss:
    """of_pairs with an f-divergence's score in the place of the log-ratio."""
    weight = of.mu.unsqueeze(-1) * of.mu.unsqueeze(-2) * of.win
    zero = both(torch.zeros_like(of.mu))

    def loss(logits: Tensor) -> Tensor:
        scores = both(score(logits.log_softmax(-1) - of.reference))
        found: Tensor = row.loss(scores, zero, both(of.length), **hyper)
        return (weight.flatten() * found).sum() / weight.sum()

    return loss
