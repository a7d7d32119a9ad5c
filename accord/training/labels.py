"""Losses on single labelled completions as an objective: C of them, each called good or bad.

A group's labelled completions share its weight. The mean is over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.data.choose import labelled
from accord.maths.likelihood import bits_per_token
from accord.maths.unpaired import zero_one
from accord.models.logprobs import LanguageModel
from accord.training.objectives import Measured, Objective
from accord.training.scores import Reference, Term, rounding, scores_of

# places of groups in the data set -> micro-batches of the same prompts with completions of others
Mismatched = Callable[[Sequence[int]], Iterable[Batch]]


class Found(NamedTuple):
    """The labelled completions of a micro-batch; one that two people labelled is there twice."""

    completion: Tensor  # (C,) its place in the micro-batch
    label: Tensor  # (C,) bool
    weight: Tensor  # (C,)
    group: Tensor  # (C,)


class LabelObjective:
    """One loss of the table. mismatched: where its baseline is made from completions of other prompts."""

    def __init__(self, term: Term, reference: Reference | None, mismatched: Mismatched | None = None) -> None:
        self.term, self.reference, self.mismatched = term, reference, mismatched

    def weight(self, batch: Batch) -> float:
        return float(sum(one.weight for member in batch.members for one in labelled(member.group)))

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        return self.with_baseline(model, batch, torch.zeros((), device=batch.last.device))

    def of_step(self, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]) -> Objective:
        """The same with the baseline of this step; itself, where the loss has none."""
        row = self.term.row
        if row.baseline is None:
            return self
        ratio, label = torch.zeros(0, device=model.device), torch.zeros(0, dtype=torch.bool, device=model.device)
        other = ratio
        if row.mismatched:
            assert self.mismatched is not None
            places = [place for batch in batches for place in batch.indices]
            other = torch.cat([self._ratio(model, batch) for batch in _drawing(self.mismatched(places), begin)])
        else:
            drawing = _drawing(batches, begin)
            found = [(self._ratio(model, batch), labels_of(batch.to(model.device))) for batch in drawing]
            ratio = torch.cat([of_batch[one.completion] for of_batch, one in found])
            label = torch.cat([one.label for _, one in found])
        return WithBaseline(self, row.baseline(ratio, label, other).detach())

    def _ratio(self, model: LanguageModel, batch: Batch) -> Tensor:
        """(C,) log-ratios of a micro-batch's completions."""
        scores = scores_of(model, batch.to(model.device), self.reference)
        return scores.policy - scores.reference

    def with_baseline(self, model: LanguageModel, batch: Batch, baseline: Tensor) -> Measured:
        """The loss and its figures while the neutral log-ratio is `baseline`."""
        scores, found = scores_of(model, batch, self.reference), labels_of(batch)
        policy, reference, length = (x[found.completion] for x in (scores.policy, scores.reference, scores.length))
        row, hyper = self.term.row, self.term.hyper
        loss = row.loss(policy, reference, length, found.label, baseline, **hyper)
        with torch.no_grad():
            reward = row.reward(policy, reference, length, found.label, **hyper)
            wrong = zero_one(policy, reference + baseline, found.label)
            neutral = (policy - reference - baseline).abs() <= rounding(length)
            values = {
                "loss": loss.detach(),
                "rewards/chosen": reward,
                "rewards/rejected": reward,
                "rewards/accuracies": torch.where(neutral, 0.5, 1 - wrong),
                "logps/chosen": policy.detach(),
                "logps/rejected": policy.detach(),
                "bits_per_token/chosen": bits_per_token(-policy.detach() / length.clamp(min=1)),
            }
            if row.baseline is not None:
                values["kl" if row.mismatched else "baseline"] = baseline.expand(len(policy))
        only = {name: found.label.float() for name in values if name.endswith("/chosen")}
        only |= {name: (~found.label).float() for name in values if name.endswith("/rejected")}
        return Measured((loss * found.weight).sum(), values, found.weight, found.group, only, routing=scores.routing)


class WithBaseline:
    """A label objective whose step has been looked at."""

    def __init__(self, objective: LabelObjective, baseline: Tensor) -> None:
        self.objective, self.baseline = objective, baseline

    def weight(self, batch: Batch) -> float:
        return self.objective.weight(batch)

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        return self.objective.with_baseline(model, batch, self.baseline)


def _drawing(batches: Iterable[Batch], begin: Callable[[int], None]) -> Iterator[Batch]:
    """Each micro-batch, where what its forward pass draws at random depends on the step and its place alone."""
    for index, batch in enumerate(batches):
        begin(index)
        yield batch


def labels_of(batch: Batch) -> Found:
    """The labelled completions of the groups of a micro-batch."""
    rows, start = [], 0
    for index, member in zip(batch.indices, batch.members, strict=True):
        rows += [(start + one.completion, one.label, one.weight, index) for one in labelled(member.group)]
        start += len(member.completions)
    device = batch.last.device
    completion, label, weight, group = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Found(
        torch.tensor(completion, dtype=torch.long, device=device),
        torch.tensor(label, dtype=torch.bool, device=device),
        torch.tensor(weight, dtype=torch.float32, device=device),
        torch.tensor(group, dtype=torch.long, device=device),
    )
