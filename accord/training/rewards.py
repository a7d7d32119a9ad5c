"""Losses of reward models as objectives: P pairs, or Q rankings, of the groups of a micro-batch.

One forward pass through the head. The mean is over the pairs (or rankings) by weight; a group's pairs weigh
1/C(K,2) each, so over groups, where there are no ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.choose import rankings
from accord.data.outcomes import EVERY_WIN, Rule, outcomes
from accord.maths.reward import RewardLoss, centring, smoothed
from accord.models.heads import scores
from accord.models.logprobs import LanguageModel
from accord.training.objectives import Measured
from accord.training.rankings import rankings_of


class RewardTerm(NamedTuple):
    """A row of REWARD_LOSSES with its hyper-parameters, and what is done to any of them."""

    row: RewardLoss
    hyper: Mapping[str, float]
    rule: Rule = EVERY_WIN
    label_smoothing: float = 0.0
    use_margin: bool = False
    center_coefficient: float = 0.0  # of (r_1 + r_2)^2


class Found(NamedTuple):
    """The outcomes of a micro-batch."""

    first: Tensor  # (P,) the completion's place in the micro-batch
    second: Tensor  # (P,)
    target: Tensor  # (P,) how likely the first is said to be better
    margin: Tensor  # (P,) 0 where none was said
    tied: Tensor  # (P,) bool
    weight: Tensor  # (P,)
    group: Tensor  # (P,)


def reward_objective(term: RewardTerm) -> RewardObjective | RewardRankingObjective:
    """The objective that a loss of the table belongs to."""
    return RewardObjective(term) if term.row.of == "pairs" else RewardRankingObjective(term)


class RewardObjective:
    """A loss of pairs, equation 6. Accuracies, margins and both sides' rewards are figures of pairs that do not tie."""

    def __init__(self, term: RewardTerm) -> None:
        self.term = term

    def weight(self, batch: Batch) -> float:
        rule = self.term.rule
        return float(sum(one.weight for member in batch.members for one in outcomes(member.group, rule)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        term, found, made = self.term, outcomes_of(batch, self.term.rule), scores(model, batch)
        reward = made.score.squeeze(-1)
        first, second = reward[found.first], reward[found.second]
        margin = found.margin if term.use_margin else torch.zeros_like(found.margin)
        loss = term.row.loss(first - second, smoothed(found.target, term.label_smoothing), margin, **term.hyper)
        if term.center_coefficient:
            loss = loss + term.center_coefficient * centring(first, second)
        values = {"loss": loss.detach(), **_figures(first.detach(), second.detach())}
        apart = (~found.tied).float()
        only = {name: apart for name in values if name not in ("loss", "rewards/mean")}
        return Measured((loss * found.weight).sum(), values, found.weight, found.group, only, routing=made.routing)


def _figures(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """(P,) each. Equal rewards are half right."""
    gap = chosen - rejected
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": gap,
        "rewards/accuracies": torch.where(gap == 0, 0.5, (gap > 0).float()),
        "rewards/mean": (chosen + rejected) / 2,
    }


class RewardRankingObjective:
    """A loss of whole rankings, equation 7."""

    def __init__(self, term: RewardTerm) -> None:
        self.term = term

    def weight(self, batch: Batch) -> float:
        return float(sum(one.weight for member in batch.members for one in rankings(member.group)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        term, found, made = self.term, rankings_of(batch), scores(model, batch)
        reward = made.score.squeeze(-1)[found.completion]
        loss = term.row.loss(reward, found.rank, **term.hyper)
        if term.center_coefficient:
            pairs = _of_pairs(centring(reward.unsqueeze(-1), reward.unsqueeze(-2)), _pairs(found.rank))
            loss = loss + term.center_coefficient * pairs
        values = {"loss": loss.detach(), **_ranking_figures(reward.detach(), found.rank)}
        return Measured((loss * found.weight).sum(), values, found.weight, found.group, routing=made.routing)


def _ranking_figures(reward: Tensor, rank: Tensor) -> dict[str, Tensor]:
    """(Q, K) each -> (Q,) each, means over the pairs of different rank: what pair losses report of the same group."""
    better = (rank.unsqueeze(-1) < rank.unsqueeze(-2)) & (rank.unsqueeze(-1) > 0)
    above, below = reward.unsqueeze(-1).expand_as(better), reward.unsqueeze(-2).expand_as(better)
    found = {name: _of_pairs(value, better) for name, value in _figures(above, below).items()}
    present = rank > 0
    return {**found, "rewards/mean": (reward * present).sum(-1) / present.sum(-1)}


def _pairs(rank: Tensor) -> Tensor:
    """(Q, K) -> (Q, K, K) bool: each pair of completions that are there, once."""
    present = rank > 0
    return (present.unsqueeze(-1) & present.unsqueeze(-2)).triu(1)


def _of_pairs(value: Tensor, pairs: Tensor) -> Tensor:
    """(Q, K, K) -> (Q,) the mean over these pairs."""
    return (value * pairs).sum((-2, -1)) / pairs.sum((-2, -1))


def outcomes_of(batch: Batch, rule: Rule) -> Found:
    """The outcomes of the groups of a micro-batch."""
    rows, start = [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        rows += [(start, index, one) for one in outcomes(member.group, rule)]
        start += len(member.completions)
    device = batch.last.device

    def numbers(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def places(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Found(
        places([begin + one.first for begin, _, one in rows]),
        places([begin + one.second for begin, _, one in rows]),
        numbers([one.target for _, _, one in rows]),
        numbers([one.margin or 0.0 for _, _, one in rows]),
        torch.tensor([one.tied for _, _, one in rows], dtype=torch.bool, device=device),
        numbers([one.weight for _, _, one in rows]),
        places([index for _, index, _ in rows]),
    )
