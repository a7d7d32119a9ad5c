"""What a reward model learns from in a group: two completions, and how likely the first is said to be better.

A loss of whole rankings takes `accord.data.choose.rankings` instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

from accord.data.choose import orders
from accord.data.findings import DROP, FINDINGS
from accord.data.take import compared
from accord.records import Group, Judged, Judgement, RecordError


class Outcome(NamedTuple):
    """Two completions of a group, by place, as one judgement has them. The first is the better one, or they tie."""

    first: int
    second: int
    target: float  # how likely the first is said to be better: 1/2 to 1
    weight: float
    margin: float | None  # by how much, where that was said
    tied: bool


class Rule(NamedTuple):
    """Which outcomes count. ties: whether tied completions are one, with target 1/2.

    rating_scale: targets are sigma(rating_scale (rating_1 - rating_2)), of ratings alone; None: 1 for the better one.
    """

    ties: bool = False
    rating_scale: float | None = None


EVERY_WIN = Rule()


def outcomes(group: Judged, rule: Rule = EVERY_WIN) -> tuple[Outcome, ...]:
    """All pairs of a group, judgement by judgement.

    The judgements that order anything share group.weight equally; each of a judgement's C(K,2) pairs has an equal part
    (InstructGPT, Eq. 1), K without those kept out. Ties keep their part, also where they give no outcome; two
    completions of the same text never give one. RecordError: ratings are wanted, and a judgement orders the
    completions without.
    """
    heard = orders(group) if rule.rating_scale is None else _rated(group)
    same, found = group.same, []
    for judgement, goodness in heard:
        every = list(combinations(goodness, 2))
        for i, j in every:
            tied = goodness[i] == goodness[j]
            if same[i] == same[j] or (tied and not rule.ties):
                continue
            first, second = (i, j) if goodness[i] >= goodness[j] else (j, i)
            target = _target(goodness[first] - goodness[second], rule)
            weight = group.weight / len(heard) / len(every)
            found.append(Outcome(first, second, target, weight, None if tied else judgement.margin, tied))
    return tuple(found)


def _rated(group: Judged) -> list[tuple[Judgement, dict[int, float]]]:
    """As `orders`, by ratings; what was kept out of the ranks stays out."""
    found = []
    for judgement, goodness in orders(group):
        if judgement.ratings is None:
            what, fix = "a judgement without ratings, and soft_labels are made from ratings", "leave out --soft_labels"
            raise RecordError(what, origin=group.source, field="ratings", fix=fix, finding="not_judged")
        found.append((judgement, {place: judgement.ratings[place] for place in goodness}))
    return found


def _target(lead: float, rule: Rule) -> float:
    """sigma(scale x lead), 1 without a scale, and 1/2 of equals; lead >= 0."""
    if rule.rating_scale is None:
        return 1.0 if lead > 0 else 0.5
    return 1 / (1 + math.exp(-rule.rating_scale * lead))


def outcomes_of(rule: Rule, group: Group, *, margins: bool = False) -> Group:
    """The group itself, if it has outcomes. RecordError where it has none.

    margins: whether they are learnt, so that a negative one is an error.
    """
    if margins:
        _check_margins(group)
    if outcomes(group, rule):
        return group
    fix = FINDINGS["not_judged"].fix
    if not rule.ties and outcomes(group, rule._replace(ties=True)):
        what, fix = "all its completions are tied", f"{fix}, or learn from ties: --ties half"
        raise RecordError(what, origin=group.source, fix=fix, finding="not_judged")
    return compared("pairs", group)


def _check_margins(group: Group) -> None:
    negative = [margin for judgement in group.judgements if (margin := judgement.margin) is not None and margin < 0]
    if negative:
        what = f"{negative[0]:g} is negative: what is better would be so by less than nothing"
        fix = f"{DROP}, or --use_margin false"
        raise RecordError(what, origin=group.source, field="margin", fix=fix, finding="malformed")


class Count(NamedTuple):
    """How many pairs of different texts groups have, judgement by judgement."""

    pairs: int
    tied: int
    margins: int  # of those that are not tied

    @classmethod
    def of(cls, groups: Iterable[Judged], rule: Rule = EVERY_WIN) -> Count:
        """Ties are counted, whether the rule takes them or not."""
        wide = rule._replace(ties=True)
        every = [outcome for group in groups for outcome in outcomes(group, wide)]
        margins = sum(outcome.margin is not None for outcome in every)
        return cls(len(every), sum(outcome.tied for outcome in every), margins)
