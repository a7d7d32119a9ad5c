"""Losses on pairs of completions as an objective: P pairs of different rank of the groups of a micro-batch.

A group's pairs weigh 1/C(K,2) each. The mean is over the pairs by weight: over groups, where there are no ties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.choose import pairs
from accord.maths.desensitise import desensitised
from accord.maths.gap_losses import dpo
from accord.maths.likelihood import bits_per_token
from accord.maths.pair import Pair, gradient_weight, log_ratio, log_ratio_gap
from accord.maths.weighting import alignment_weight, pair_weight
from accord.models.experts import Routing
from accord.models.logprobs import LanguageModel
from accord.training.objectives import Measured, Objective
from accord.training.scores import Reference, Scores, Term, rounding, scores_of


class Found(NamedTuple):
    """The pairs of a micro-batch."""

    chosen: Tensor  # (P,) the completion's place in the micro-batch
    rejected: Tensor  # (P,)
    weight: Tensor  # (P,)
    group: Tensor  # (P,)


class Modifiers(NamedTuple):
    """What changes every loss that has a reference."""

    divergence: Callable[[Tensor], Tensor] | None = None  # of a log-ratio, in its place
    ld_alpha: float = 1.0  # what the tokens count by which one completion is longer than the other
    use_weighting: bool = False  # a pair's loss times how likely the policy is to have written it (WPO)


class Compared(NamedTuple):
    """What the losses of P pairs are made of. `policy` and `plain` carry gradients."""

    policy: Pair  # (P,) each, nats: what losses with a reference see
    plain: Pair  # the sums over all tokens: what the others see, and figures report
    reference: Pair
    length: Pair  # tokens
    factor: Tensor  # (P,) what the losses are multiplied by
    weight: Tensor  # (P,)
    group: Tensor  # (P,)
    routing: Routing | None = None

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What the losses are differentiated with respect to."""
        return (*self.policy, *self.plain)


class PairObjective:
    """The weighted sum of pair losses; the first one's implicit reward is what `rewards/...` report."""

    def __init__(self, terms: Sequence[Term], reference: Reference | None, modifiers: Modifiers | None = None) -> None:
        self.terms, self.reference, self.modifiers = tuple(terms), reference, modifiers or Modifiers()
        self.coupled = any(term.row.coupled for term in self.terms)
        first = self.terms[0]  # whose gradient equation 13 is, where it is DPO as the paper has it
        self.is_dpo = (
            first.row.loss is dpo and not first.hyper.get("label_smoothing") and modifiers in (None, Modifiers())
        )

    def weight(self, batch: Batch) -> float:
        return float(sum(pair.weight for member in batch.members for pair in pairs(member.group)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        compared = self.compared(model, batch)
        return self.measured(compared, self.losses(compared))

    def of_step(self, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]) -> Objective:
        """Itself, unless a loss couples the pairs of a step that has several micro-batches."""
        return CoupledPairs.of_step(self, model, batches, begin) if self.coupled and len(batches) > 1 else self

    def compared(self, model: LanguageModel, batch: Batch) -> Compared:
        """The forward pass."""
        modifiers, found = self.modifiers, pairs_of(batch)
        scores = scores_of(model, batch, self.reference, ("collision",) if modifiers.use_weighting else ())
        plain, reference = _sides(scores.policy, found), _sides(scores.reference, found)
        policy, factor = plain, torch.ones_like(found.weight)
        if modifiers.ld_alpha != 1.0 and self.reference is not None:
            policy = self._desensitised(scores.token.token, batch, found)
            reference = self._desensitised(self.reference.tokens_of(batch), batch, found)
        if modifiers.use_weighting:
            factor = _factor(scores, batch, found)
        length = _sides(scores.length, found)
        return Compared(policy, plain, reference, length, factor, found.weight, found.group, scores.routing)

    def _desensitised(self, token: Tensor, batch: Batch, found: Found) -> Pair:
        sides = Pair(found.chosen, found.rejected)
        return desensitised(token, batch.owner, batch.completions, sides, ld_alpha=self.modifiers.ld_alpha)

    def losses(self, compared: Compared) -> Tensor:
        """(P,) the weighted sum of the terms."""
        total = torch.zeros_like(compared.weight)
        for term in self.terms:
            policy, reference = self._seen(term, compared)
            total = total + term.weight * term.row.loss(policy, reference, compared.length, **term.hyper)
        return total * compared.factor

    def _seen(self, term: Term, compared: Compared) -> tuple[Pair, Pair]:
        """What a loss sees: log-probabilities, or with a divergence its scores and zeros, as it takes differences."""
        if not term.row.needs_reference:
            return compared.plain, compared.reference
        if self.modifiers.divergence is None:
            return compared.policy, compared.reference
        scores = Pair(*map(self.modifiers.divergence, log_ratio(compared.policy, compared.reference)))
        return scores, Pair(*map(torch.zeros_like, scores))

    def measured(self, compared: Compared, loss: Tensor) -> Measured:
        """The summed loss, and the figures of every pair."""
        with torch.no_grad():
            values = self._figures(compared, loss.detach())
        total = (loss * compared.weight).sum()
        return Measured(total, values, compared.weight, compared.group, routing=compared.routing)

    def _tied(self, compared: Compared, gap: Tensor) -> Tensor:
        """(P,) bool: neither completion has the larger reward, beyond rounding."""
        if not self.terms[0].row.needs_reference:
            return gap == 0
        between = log_ratio_gap(compared.policy, compared.reference).abs()
        return between <= rounding(compared.length.chosen + compared.length.rejected)

    def _figures(self, compared: Compared, loss: Tensor) -> dict[str, Tensor]:
        plain, length, first = compared.plain, compared.length, self.terms[0]
        reward = first.row.reward(*self._seen(first, compared), length, **first.hyper)
        gap = reward.chosen - reward.rejected
        figures = {}
        if self.is_dpo:
            weight = gradient_weight(compared.policy, compared.reference, beta=first.hyper["beta"])
            figures = {"gradient_weight": weight.detach()}
        return {
            "loss": loss,
            "rewards/chosen": reward.chosen,
            "rewards/rejected": reward.rejected,
            "rewards/margins": gap,
            "rewards/accuracies": torch.where(self._tied(compared, gap), 0.5, (gap > 0).float()),
            "logps/chosen": plain.chosen.detach(),
            "logps/rejected": plain.rejected.detach(),
            **figures,
            "length_gap": (length.chosen - length.rejected).float(),
            "bits_per_token/chosen": bits_per_token(-plain.chosen.detach() / length.chosen.clamp(min=1)),
        }


class CoupledPairs:
    """The second pass over a step whose loss couples its pairs.

    The first pass gave all log-probabilities without gradient, the loss of the whole step, and its derivative with
    respect to them. A micro-batch's part of the loss has that value and that derivative.
    """

    def __init__(self, objective: PairObjective, known: Mapping[tuple[int, ...], Known]) -> None:
        self.objective, self.known = objective, known

    @classmethod
    def of_step(
        cls,
        objective: PairObjective,
        model: LanguageModel,
        batches: Sequence[Batch],
        begin: Callable[[int], None],
    ) -> CoupledPairs:
        """The first pass."""
        found = []
        for index, batch in enumerate(batches):
            begin(index)
            found.append(objective.compared(model, batch.to(model.device)))
        with torch.enable_grad():
            everything = _joined(found)
            loss = objective.losses(everything)
            total = (loss * everything.weight).sum()
            slopes = torch.autograd.grad(total, everything.leaves, allow_unused=True, materialize_grads=True)
        counts = [len(one.weight) for one in found]
        parts = zip(*(column.split(counts) for column in (loss.detach(), *slopes)), strict=True)
        rows = zip(batches, found, parts, strict=True)
        return cls(objective, {batch.indices: Known(one, loss, slope) for batch, one, (loss, *slope) in rows})

    def weight(self, batch: Batch) -> float:
        return self.objective.weight(batch)

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        known = self.known[batch.indices]
        measured = self.objective.measured(known.compared, known.loss)
        if not torch.is_grad_enabled():
            return measured
        now = self.objective.compared(model, batch)
        change = [(slope * (leaf - leaf.detach())).sum() for slope, leaf in zip(known.slope, now.leaves, strict=True)]
        return measured._replace(loss=measured.loss + torch.stack(change).sum(), routing=now.routing)


class Known(NamedTuple):
    """What the first pass found of a micro-batch."""

    compared: Compared
    loss: Tensor  # (P,)
    slope: Sequence[Tensor]  # (P,) each, of `Compared.leaves`


def _joined(found: Sequence[Compared]) -> Compared:
    """All pairs of the step, with leaves to differentiate with respect to."""

    def column(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in found])

    def sides(name: str) -> Pair:
        return Pair(*(torch.cat([getattr(one, name)[side] for one in found]) for side in range(2)))

    policy, plain = (Pair(*(x.detach().requires_grad_() for x in sides(name))) for name in ("policy", "plain"))
    factor, weight, group = map(column, ("factor", "weight", "group"))
    return Compared(policy, plain, sides("reference"), sides("length"), factor, weight, group)


def _sides(values: Tensor, found: Found) -> Pair:
    return Pair(values[found.chosen], values[found.rejected])


@torch.no_grad()
def _factor(scores: Scores, batch: Batch, found: Found) -> Tensor:
    assert scores.token.collision is not None
    weight = alignment_weight(scores.token.token, scores.token.collision, batch.owner, batch.completions)
    return pair_weight(_sides(weight, found))


def pairs_of(batch: Batch) -> Found:
    """All pairs of different rank of the groups of a micro-batch."""
    chosen, rejected, weight, group, start = [], [], [], [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        for pair in pairs(member.group):
            chosen.append(start + pair.chosen)
            rejected.append(start + pair.rejected)
            weight.append(pair.weight)
            group.append(index)
        start += len(member.completions)
    device = batch.last.device
    left, right, owner = (torch.tensor(column, dtype=torch.long, device=device) for column in (chosen, rejected, group))
    return Found(left, right, torch.tensor(weight, dtype=torch.float32, device=device), owner)
