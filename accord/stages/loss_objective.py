"""A loss of the tables as an objective of the one loop, whatever it learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.stages.course import Cut
from accord.stages.losses import ChosenLoss
from accord.training.labels import LabelObjective
from accord.training.objectives import Objective
from accord.training.preferences import PairObjective
from accord.training.rankings import RankingObjective
from accord.training.scores import Reference


def objective_of(
    loss: ChosenLoss,
    reference: Reference | None,
    groups: Sequence[TokenGroup],
    neutral: Sequence[TokenGroup],
    cut: Cut,
) -> Objective:
    """Of `groups`. neutral: for each of them completions that KTO's baseline is estimated from, where the loss has it;
    the reference knows them behind the groups."""
    if loss.kind == "pairs":
        return PairObjective(loss.terms, reference, loss.modifiers)
    if loss.kind == "rankings":
        return RankingObjective(loss.terms[0], reference)
    every = [*groups, *neutral]

    def others(places: Sequence[int]) -> Iterator[Batch]:
        return iter(cut(every, [len(groups) + place for place in places]))

    return LabelObjective(loss.terms[0], reference, others if neutral else None)


def has_neutral(loss: ChosenLoss) -> bool:
    """Whether the loss has a baseline that is estimated from completions which are not learnt from."""
    return loss.kind == "labels" and bool(loss.terms[0].row.mismatched)
