"""What a judged round of samples teaches: the groups that a loss finds something in, and the loss as an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.models.reference import ReferenceLogprobs
from accord.records import Judgement, Said
from accord.stages.course import Cut
from accord.stages.loss_objective import has_neutral, objective_of
from accord.stages.losses import ChosenLoss
from accord.stages.online_judging import learnt
from accord.training.objectives import Objective


class Round(NamedTuple):
    """Samples of one round, C of them with N tokens, and what survives a kill of what is known of them."""

    groups: tuple[TokenGroup, ...]  # with judgements, once they are judged
    anchor: Tensor  # (N,) nats, under what the loss holds the policy to
    counts: Tensor  # (C,) bool: False for samples that are left out
    judged: bool

    @property
    def each(self) -> int:
        """Samples of a prompt."""
        return len(self.groups[0].completions)


class Lesson(NamedTuple):
    """The groups that a loss learns from, with those samples alone that it takes."""

    groups: tuple[TokenGroup, ...]
    objective: Objective


@dataclass(frozen=True)
class Teacher:
    """What becomes of judged rounds. extremes: only the best and the worst sample of a prompt are learnt from."""

    loss: ChosenLoss
    extremes: bool
    cut: Cut

    def lesson(self, given: Round) -> Lesson:
        """Of judged samples. Its reference is looked up."""
        counts = given.counts.reshape(-1, given.each).tolist()
        found = learnt(given.groups, self.loss.kind, extremes=self.extremes, counts=counts)
        groups = tuple(one.group for one in found)
        # KTO's neutral point is the KL of policy and reference, of which all samples of these prompts tell.
        neutral = [given.groups[one.place] for one in found] if has_neutral(self.loss) else []
        reference = None
        if self.loss.needs_reference:
            ranges = Ranges.of_groups(given.groups)
            column, firsts = given.anchor.split(ranges.length.tolist()), ranges.first.tolist()
            taken = [tuple(column[firsts[one.place] + place] for place in one.places) for one in found]
            every = range(given.each if neutral else 0)
            taken += [tuple(column[firsts[one.place] + place] for place in every) for one in found if neutral]
            reference = ReferenceLogprobs.of_groups(taken)
        return Lesson(groups, objective_of(self.loss, reference, groups, neutral, self.cut))


def blank_round(groups: Sequence[TokenGroup]) -> Round:
    """Of blanks in the place of samples: each is ranked, so that there is all to learn that there can be."""
    ranked = tuple(_ranked(group) for group in groups)
    ranges = Ranges.of_groups(ranked)
    tokens, samples = int(ranges.end[-1]), len(ranges.end)
    return Round(ranked, torch.zeros(tokens), torch.ones(samples, dtype=torch.bool), True)


def _ranked(group: TokenGroup) -> TokenGroup:
    own, count = group.group, len(group.completions)
    judgement = Judgement(ranks=tuple(range(1, count + 1)))
    said = Said(own.id, (judgement,), own.weight, own.category, own.source, tuple(range(count)))
    return replace(group, group=said)
