"""What a micro-batch is trained on: log-probabilities of its completions -> a summed loss and the figures beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.choose import pairs
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.maths.likelihood import bits_per_token, fine_tuning_loss, sum_by_owner
from accord.maths.preference import PAIR_LOSSES, Pair, gradient_weight
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.reference import ReferenceLogprobs


class Measured(NamedTuple):
    """Of one micro-batch: the loss to differentiate, and n rows of figures (pairs, or completions)."""

    loss: Tensor  # () summed, not averaged: the loop divides by the weight of the whole step
    values: dict[str, Tensor]  # name -> (n,) without gradient
    weight: Tensor  # (n,) each row's share in means
    group: Tensor  # (n,) the group it belongs to, by its place in the data set


class Objective(Protocol):
    """What differs between stages. `weight` is known from counts, before any forward pass."""

    def weight(self, batch: Batch) -> float:
        """The micro-batch's part in the denominator of the step's loss."""

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        """Forward pass and loss."""


class Likelihood:
    """Equation 1 and L_FT of equation 2: minus the log-probability of tokens that carry loss, their mean."""

    def weight(self, batch: Batch) -> float:
        return float(len(batch.predict))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        result = logprobs(model, batch)
        values, tokens, group = _likelihood_figures(batch, result.token.token, result.token.top1, None)
        nll = values.pop("nll")
        return Measured(
            -result.sum.sum(), {"loss": nll, "bits_per_token": bits_per_token(nll), **values}, tokens, group
        )


class FineTuning:
    """Equation 2: alpha L_LM + L_FT, L_LM over all tokens of the rows, L_FT over the completions' tokens.

    Both are sums, divided by the number of completion tokens of the step. Micro-batches are made of `whole` groups.
    """

    def __init__(self, groups: Sequence[TokenGroup], *, alpha: float) -> None:
        self.groups, self.alpha = groups, alpha

    def weight(self, batch: Batch) -> float:
        return float(sum(self._completion(i).sum() for i in batch.indices))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        result = logprobs(model, batch)
        parts = [self._completion(i) for i in batch.indices]
        inside = torch.from_numpy(np.concatenate(parts)).to(result.sum.device)
        logp = result.token.token
        loss = fine_tuning_loss(-(logp * inside).sum(), -logp.sum(), alpha=self.alpha)
        values, weight, group = _likelihood_figures(batch, logp, result.token.top1, inside)
        everything = _likelihood_figures(batch, logp, result.token.top1, None)[0]["nll"]
        return Measured(loss, {**values, "nll/all_tokens": everything}, weight, group)

    def _completion(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(N,) 1 where a predicted token of the whole row carries the completion's loss."""
        group = self.groups[index]
        inside = np.zeros(len(group.prompt) + len(group.completions[0].ids), dtype=np.float32)
        for start, end in group.completions[0].loss:
            inside[len(group.prompt) + start : len(group.prompt) + end] = 1
        return inside[1:]  # the first token has nothing before it to predict it


def whole(group: TokenGroup) -> TokenGroup:
    """A demonstration as one text all of whose tokens carry loss."""
    (completion,) = group.completions
    ids = np.concatenate([group.prompt, completion.ids])
    return TokenGroup(group.group, group.prompt[:0], (TokenCompletion(ids, ((0, len(ids)),)),))


def _likelihood_figures(
    batch: Batch, logp: Tensor, top1: Tensor, inside: Tensor | None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    weight = torch.ones_like(logp) if inside is None else inside
    tokens = sum_by_owner(weight, batch.owner, batch.completions)
    mean = {
        "nll": sum_by_owner(-logp.detach() * weight, batch.owner, batch.completions),
        "mean_token_accuracy": sum_by_owner(top1.float() * weight, batch.owner, batch.completions),
    }
    return {name: value / tokens.clamp(min=1) for name, value in mean.items()}, tokens, _group_of_completion(batch)


def _group_of_completion(batch: Batch) -> Tensor:
    counts = torch.tensor([len(group.completions) for group in batch.members])
    return torch.tensor(batch.indices).repeat_interleave(counts).to(batch.last.device)


class _Pairs(NamedTuple):
    chosen: Tensor  # (P,) the completion's place in the micro-batch
    rejected: Tensor  # (P,)
    weight: Tensor  # (P,)
    group: Tensor  # (P,)


class Preference:
    """A pair loss of the table on all pairs of different rank of a group; a group's pairs weigh 1/C(K,2) each.

    The mean is over the pairs by weight: over groups, where there are no ties. reference: None where none is needed.
    """

    def __init__(self, loss_type: str, reference: ReferenceLogprobs | None, hyper: Mapping[str, float]) -> None:
        self.row, self.reference, self.hyper = PAIR_LOSSES[loss_type], reference, dict(hyper)

    def weight(self, batch: Batch) -> float:
        return float(sum(pair.weight for member in batch.members for pair in pairs(member.group)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        result = logprobs(model, batch)
        found = _pairs_of(batch)
        policy, length = _pair(result.sum, found), _pair(result.length, found)
        reference = self.reference.of(batch) if self.reference else torch.zeros_like(result.sum)
        ref = _pair(reference, found)
        per_pair = self.row.loss(policy, ref, length, **self.hyper)
        with torch.no_grad():
            values = self._figures(per_pair, policy, ref, length)
        return Measured((per_pair * found.weight).sum(), values, found.weight, found.group)

    def _figures(self, loss: Tensor, policy: Pair, reference: Pair, length: Pair) -> dict[str, Tensor]:
        reward = self.row.reward(policy, reference, length, **self.hyper)
        gap = reward.chosen - reward.rejected
        return {
            "loss": loss.detach(),
            "rewards/chosen": reward.chosen.detach(),
            "rewards/rejected": reward.rejected.detach(),
            "rewards/margins": gap.detach(),
            "rewards/accuracies": (gap > 0).float() + 0.5 * (gap == 0),  # a tie is half right
            "logps/chosen": policy.chosen.detach(),
            "logps/rejected": policy.rejected.detach(),
            "gradient_weight": gradient_weight(policy, reference, beta=self.hyper["beta"]).detach(),
            "length_gap": (length.chosen - length.rejected).float(),
            "bits_per_token/chosen": bits_per_token(-policy.chosen.detach() / length.chosen.clamp(min=1)),
        }


def _pairs_of(batch: Batch) -> _Pairs:
    chosen, rejected, weight, group, start = [], [], [], [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        for pair in pairs(member.group):
            chosen.append(start + pair.chosen)
            rejected.append(start + pair.rejected)
            weight.append(pair.weight)
            group.append(index)
        start += len(member.completions)
    device = batch.last.device
    places = (torch.tensor(column, dtype=torch.long, device=device) for column in (chosen, rejected, group))
    left, right, owner = places
    return _Pairs(left, right, torch.tensor(weight, dtype=torch.float32, device=device), owner)


def _pair(values: Tensor, found: _Pairs) -> Pair:
    return Pair(values[found.chosen], values[found.rejected])
