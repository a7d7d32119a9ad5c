"""What a micro-batch is trained on: log-probabilities of its completions -> a summed loss and the figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.maths.likelihood import bits_per_token, fine_tuning_loss, length_by_owner, sum_by_owner
from accord.models.experts import Routing
from accord.models.logprobs import LanguageModel, logprobs


class Measured(NamedTuple):
    """Of one micro-batch: the loss to differentiate, and n rows of figures (pairs, or completions)."""

    loss: Tensor  # () summed, not averaged: the loop divides by the weight of the whole step
    values: dict[str, Tensor]  # name -> (n,) without gradient
    weight: Tensor  # (n,) each row's share in means
    group: Tensor  # (n,) the group it belongs to, by its place in the data set
    only: Mapping[str, Tensor] = MappingProxyType(
        {}
    )  # name -> (n,) 1 where a row has this figure, 0 where not; all have the others
    routing: Routing | None = None  # of a mixture of experts, whose balance loss the loop adds


class Objective(Protocol):
    """What differs between stages. `weight` is known from counts, before any forward pass."""

    def weight(self, batch: Batch) -> float:
        """The micro-batch's part in the denominator of the step's loss."""

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        """Forward pass and loss."""


@runtime_checkable
class Coupled(Protocol):
    """An objective whose loss of one row depends on other rows of the step, so that the step is looked at first."""

    def of_step(self, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]) -> Objective:
        """The objective of the micro-batches of this step. Called without gradients.

        begin: to be called with a micro-batch's place before its forward pass, so that both passes draw the same.
        """


class Likelihood:
    """Equation 1 and L_FT of equation 2: minus the log-probability of tokens that carry loss, their mean.

    Each token counts as its group's weight says.
    """

    def weight(self, batch: Batch) -> float:
        tokens = length_by_owner(batch.owner, batch.completions)
        return float((tokens * _weights(batch)).sum())

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        result = logprobs(model, batch, want=("top1",))
        values, tokens, group = _likelihood_figures(batch, result.token.token, result.token.top1, None)
        nll, weight = values.pop("nll"), _weights(batch)
        figures = {"loss": nll, "bits_per_token": bits_per_token(nll), **values}
        return Measured(-(result.sum * weight).sum(), figures, tokens * weight, group, routing=result.routing)


class FineTuning:
    """Equation 2: alpha L_LM + L_FT, L_LM over all tokens of the rows, L_FT over the completions' tokens.

    Both are sums, divided by the number of completion tokens of the step; tokens count as their group's weight says.
    Micro-batches are made of `whole` groups.
    """

    def __init__(self, groups: Sequence[TokenGroup], *, alpha: float) -> None:
        self.groups, self.alpha = groups, alpha

    def weight(self, batch: Batch) -> float:
        return float(sum(self.groups[i].group.weight * self._completion(i).sum() for i in batch.indices))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        result = logprobs(model, batch, want=("top1",))
        parts = [self._completion(i) for i in batch.indices]
        inside = torch.from_numpy(np.concatenate(parts)).to(result.sum.device)
        logp, own = result.token.token, _weights(batch)
        counted = logp * own[batch.owner]
        loss = fine_tuning_loss(-(counted * inside).sum(), -counted.sum(), alpha=self.alpha)
        values, weight, group = _likelihood_figures(batch, logp, result.token.top1, inside)
        everything = _likelihood_figures(batch, logp, result.token.top1, None)[0]["nll"]
        figures = {**values, "nll/all_tokens": everything}
        return Measured(loss, figures, weight * own, group, routing=result.routing)

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
    batch: Batch, logp: Tensor, top1: Tensor | None, inside: Tensor | None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    assert top1 is not None
    weight = torch.ones_like(logp) if inside is None else inside
    tokens = sum_by_owner(weight, batch.owner, batch.completions)
    mean = {
        "nll": sum_by_owner(-logp.detach() * weight, batch.owner, batch.completions),
        "mean_token_accuracy": sum_by_owner(top1.float() * weight, batch.owner, batch.completions),
    }
    return {name: value / tokens.clamp(min=1) for name, value in mean.items()}, tokens, group_of_completion(batch)


def _weights(batch: Batch) -> Tensor:
    """(C,) each completion's group's weight."""
    weights = [member.group.weight for member in batch.members for _ in member.completions]
    return torch.tensor(weights, dtype=torch.float32, device=batch.last.device)


def group_of_completion(batch: Batch) -> Tensor:
    """(C,) the place in the data set of each completion's group."""
    counts = torch.tensor([len(group.completions) for group in batch.members])
    return torch.tensor(batch.indices).repeat_interleave(counts).to(batch.last.device)
