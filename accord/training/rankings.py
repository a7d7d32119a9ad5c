"""Losses on whole rankings as an objective: Q orders of at most K completions. Judgements share a group's weight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.choose import rankings
from accord.models.logprobs import LanguageModel
from accord.training.objectives import Measured
from accord.training.scores import Reference, Term, rounding, scores_of


class Found(NamedTuple):
    """The rankings of a micro-batch."""

    completion: Tensor  # (Q, K) places in the micro-batch; any where there is none
    rank: Tensor  # (Q, K) 1 is best, 0 where there is no completion
    weight: Tensor  # (Q,)
    group: Tensor  # (Q,)


class RankingObjective:
    """One loss of the table."""

    def __init__(self, term: Term, reference: Reference | None) -> None:
        self.term, self.reference = term, reference

    def weight(self, batch: Batch) -> float:
        return float(sum(one.weight for member in batch.members for one in rankings(member.group)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        scores, found = scores_of(model, batch, self.reference), rankings_of(batch)
        policy, reference, length = (x[found.completion] for x in (scores.policy, scores.reference, scores.length))
        row, hyper = self.term.row, self.term.hyper
        loss = row.loss(policy, reference, length, found.rank, **hyper)
        with torch.no_grad():
            reward = row.reward(policy, reference, length, found.rank, **hyper)
            values = {"loss": loss.detach(), **_figures(reward, policy, reference, length, found.rank)}
        return Measured((loss * found.weight).sum(), values, found.weight, found.group, routing=scores.routing)


def _figures(reward: Tensor, policy: Tensor, reference: Tensor, length: Tensor, rank: Tensor) -> dict[str, Tensor]:
    """(Q, K) each -> (Q,) each. chosen: the best-ranked ones, rejected: the worst. A tie is half right."""
    best = rank == 1
    worst = rank == rank.max(-1, keepdim=True).values
    chosen, rejected = _mean(reward, best), _mean(reward, worst)
    better = (rank.unsqueeze(-1) < rank.unsqueeze(-2)) & (rank.unsqueeze(-1) > 0)
    gap = reward.unsqueeze(-1) - reward.unsqueeze(-2)
    ratio = policy - reference
    tied = (ratio.unsqueeze(-1) - ratio.unsqueeze(-2)).abs() <= rounding(length.unsqueeze(-1) + length.unsqueeze(-2))
    right = torch.where(tied, 0.5, (gap > 0).float())
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (right * better).sum((-2, -1)) / better.sum((-2, -1)),
        "logps/chosen": _mean(policy, best),
        "logps/rejected": _mean(policy, worst),
    }


def _mean(reward: Tensor, of: Tensor) -> Tensor:
    return (reward * of).sum(-1) / of.sum(-1)


def rankings_of(batch: Batch) -> Found:
    """The rankings of the groups of a micro-batch."""
    rows, start = [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        rows += [(start, one.ranks, one.weight, index) for one in rankings(member.group)]
        start += len(member.completions)
    widest = max((len(ranks) for _, ranks, _, _ in rows), default=1)
    completion = torch.zeros(len(rows), widest, dtype=torch.long)
    rank = torch.zeros(len(rows), widest, dtype=torch.long)
    for row, (first, ranks, _, _) in enumerate(rows):
        completion[row, : len(ranks)] = torch.arange(first, first + len(ranks))
        rank[row, : len(ranks)] = torch.tensor(ranks)
    weight, group = torch.tensor([row[2] for row in rows]), torch.tensor([row[3] for row in rows])
    device = batch.last.device
    return Found(completion.to(device), rank.to(device), weight.float().to(device), group.to(device))
