"""What the annotators and the reward model are worth, by the commands that anybody would ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from accord.demo.axes import Weights, worth
from accord.evaluate.judges.transcript import said
from accord.records import Group, Judgement

Json = dict[str, Any]


class Judged(NamedTuple):
    """agreement: what accord agreement says of all rankings. by_people, by_truth: what accord score says of the reward
    model on the held-out answers, as the annotators rank them and as the truth does.

    ceiling: the share of the annotators' held-out verdicts that one who knows the truth would guess. answers: how many
    were made to be ranked, and how many of them were shown to nobody.
    """

    agreement: Json
    by_people: Json
    by_truth: Json
    ceiling: float
    answers: tuple[int, int]


def truly(group: Group, weights: Weights) -> Group:
    """The same answers in their true order, equal ones tied."""
    values = [worth(said(one.content), weights) for one in group.completions]
    ranks = tuple(1 + sum(other > own for other in values) for own in values)
    return replace(group, judgements=(Judgement(ranks=ranks, annotator="truth"),))
