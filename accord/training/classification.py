"""Labels of texts as an objective: a linear head at the last token, equation 2; beside it the language-model term.

N labelled completions, L labels, D decisions: one where one label of several holds, L where each holds by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.classified import Vocabulary, classified
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.maths.classification import balanced, cross_entropy, lead, own_margin, two_label_margin, zero_one
from accord.maths.likelihood import bits_per_token, fine_tuning_loss, length_by_owner, sum_by_owner
from accord.maths.surrogates import SURROGATES
from accord.models.experts import Recorder, Routing, coefficient
from accord.models.heads import read, scores
from accord.models.logprobs import LanguageModel, body_of, hidden_states
from accord.models.output import OutputLayer, token_logprobs
from accord.records import Judged
from accord.training.objectives import Measured

LossType = Literal["cross_entropy", "logistic", "hinge", "exponential"]


class ClassTerm(NamedTuple):
    """Which labels there are, and how they become a loss.

    class_weight: (L,) of the label that holds; where each holds by itself (2, L): where it does not, and where it does.
    """

    labels: Vocabulary
    loss: LossType = "cross_entropy"
    class_weight: Tensor | None = None

    def decided(self, z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L), (N, L) -> the loss (N, D), and the margin (N, D) by which the truth is ahead."""
        if self.labels.several:
            margin = own_margin(z, target)
            return SURROGATES["logistic" if self.loss == "cross_entropy" else self.loss](margin), margin
        if self.loss == "cross_entropy":
            return cross_entropy(z, target)[:, None], lead(z, target)[:, None]
        margin = two_label_margin(z, target)[:, None]
        return SURROGATES[self.loss](margin), margin

    def shares(self, target: Tensor, said: Tensor) -> Tensor:
        """(N, L), (N, L) -> (N, D) what each decision of a text counts by; 1 in sum, without class weights."""
        if not self.labels.several:
            ones = torch.ones_like(target[:, :1])
            return ones if self.class_weight is None else (target * self.class_weight.to(target)).sum(-1, keepdim=True)
        weight = said / said.shape[-1]
        if self.class_weight is None:
            return weight
        absent, present = self.class_weight.to(target)
        return weight * torch.where(target > 0, present, absent)


class LanguageTerm(NamedTuple):
    """Equation 2's alpha L_LM on the same rows, which are `whole_rows`. layer: the output layer as it is now."""

    alpha: float
    layer: Callable[[], OutputLayer]


class Found(NamedTuple):
    """The labelled completions of a micro-batch; one that two people labelled is there twice."""

    completion: Tensor  # (N,) its place in the micro-batch
    target: Tensor  # (N, L) 1 where a label holds
    said: Tensor  # (N, L) 1 where it was said whether it does
    weight: Tensor  # (N,)
    group: Tensor  # (N,)


class ClassObjective:
    """L_FT + alpha L_LM: the mean over labelled texts of -log P(y | x) (or a surrogate), and of each the mean negative
    log-likelihood of its tokens. Both count a text by its weight, and by that of its class."""

    def __init__(self, term: ClassTerm, language: LanguageTerm | None = None) -> None:
        self.term, self.language = term, language

    def weight(self, batch: Batch) -> float:
        found = found_of(batch, self.term.labels)
        return float((self.term.shares(found.target, found.said).sum(-1) * found.weight).sum())

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        found = found_of(batch, self.term.labels)
        score, nll, routing = self._forward(model, batch)
        loss, margin = self.term.decided(score[found.completion], found.target)
        share = self.term.shares(found.target, found.said)
        counts = share.sum(-1)
        rows = (loss * share).sum(-1)
        values = self._figures(rows.detach() / counts.clamp(min=1e-30), margin.detach(), found)
        total = (rows * found.weight).sum()
        if self.language is not None and nll is not None:
            own = nll[found.completion]
            total = fine_tuning_loss(total, (own * counts * found.weight).sum(), alpha=self.language.alpha)
            values |= {"nll": own.detach(), "bits_per_token": bits_per_token(own.detach())}
        return Measured(total, values, found.weight, found.group, {"loss": counts}, routing=routing)

    def _forward(self, model: LanguageModel, batch: Batch) -> tuple[Tensor, Tensor | None, Routing | None]:
        """The head's numbers (C, L), and where it counts each completion's nats per token (C,)."""
        if self.language is None:
            made = scores(model, batch)
            return made.score, None, made.routing
        recorder = Recorder(body_of(model.network)) if coefficient(model.network) else None
        hidden = hidden_states(model, batch, recorder)
        gathered = hidden.reshape(-1, hidden.shape[-1])[batch.predict]
        token = token_logprobs(gathered, batch.target, self.language.layer()).token
        length = length_by_owner(batch.owner, batch.completions).clamp(min=1)
        nll = -sum_by_owner(token, batch.owner, batch.completions) / length
        return read(model, hidden, batch), nll, recorder.routing(model.network, batch) if recorder else None

    def _figures(self, loss: Tensor, margin: Tensor, found: Found) -> dict[str, Tensor]:
        """(N,) each. Numbers that are equal are half right."""
        right = torch.where(margin == 0, 0.5, (margin > 0).float())
        said = found.said if self.term.labels.several else torch.ones_like(margin)

        def mean(value: Tensor) -> Tensor:
            return (value * said).sum(-1) / said.sum(-1).clamp(min=1)

        figures = {"loss": loss, "accuracy": mean(right), "zero_one_loss": mean(zero_one(margin))}
        if self.term.labels.several:
            figures["all_right"] = ((margin > 0) | (said == 0)).all(-1).float()
        return figures


def found_of(batch: Batch, labels: Vocabulary) -> Found:
    """The labelled completions of the groups of a micro-batch."""
    rows, start = [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        for one in classified(member.group):
            rows.append((start + one.completion, *labels.target(one.kind), one.weight, index))
        start += len(member.completions)
    completion, target, said, weight, group = zip(*rows, strict=True)
    device = batch.last.device
    places = [torch.tensor(column, dtype=torch.long, device=device) for column in (completion, group)]
    numbers = [torch.tensor(column, dtype=torch.float32, device=device) for column in (target, said, weight)]
    return Found(places[0], numbers[0], numbers[1], numbers[2], places[1])


def label_counts(groups: Sequence[Judged], labels: Vocabulary) -> Tensor:
    """(2, L) by weight: of how many texts each label was said not to hold, and to hold."""
    count = torch.zeros(2, len(labels.names), dtype=torch.float64)
    for group in groups:
        for one in classified(group):
            target, said = (torch.tensor(column, dtype=torch.float64) for column in labels.target(one.kind))
            count += one.weight * torch.stack([said - target * said, target * said])
    return count


def class_weights(count: Tensor, labels: Vocabulary) -> Tensor:
    """(2, L) counts -> `ClassTerm.class_weight` that balances them."""
    found = balanced(count.T).T if labels.several else balanced(count[1])
    return found.float()


def whole_rows(group: TokenGroup) -> TokenGroup:
    """Each completion with its prompt as one text all of whose tokens carry loss; the last token stays the same."""
    texts = [np.concatenate([group.prompt, completion.ids]) for completion in group.completions]
    completions = tuple(TokenCompletion(ids, ((0, len(ids)),)) for ids in texts)
    return TokenGroup(group.group, group.prompt[:0], completions)
