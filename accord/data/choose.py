"""What a stage takes from a group: one demonstration, one document, pairs, labelled completions, or rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from accord.data.findings import FINDINGS
from accord.records import Completion, Group, Judged, Judgement, RecordError


class Pair(NamedTuple):
    """Two completions of a group, by place, of which one was preferred. margin: by how much, where that was said."""

    chosen: int
    rejected: int
    weight: float
    margin: float | None


def pairs(group: Judged) -> tuple[Pair, ...]:
    """All pairs of different rank (else rating, else label), judgement by judgement.

    The judgements that order anything share group.weight equally; each of a judgement's C(K,2) pairs has an equal
    part (InstructGPT, Eq. 1). Ties keep their part and give no pair, and neither do two completions of the same text.
    """
    orders = [(judgement, goodness) for judgement in group.judgements if (goodness := standing(judgement))]
    same, found = group.same, []
    for judgement, goodness in orders:
        every = list(combinations(range(len(goodness)), 2))
        for i, j in every:
            if goodness[i] == goodness[j] or same[i] == same[j]:
                continue
            best, worst = (i, j) if goodness[i] > goodness[j] else (j, i)
            found.append(Pair(best, worst, group.weight / len(orders) / len(every), judgement.margin))
    return tuple(found)


class Labelled(NamedTuple):
    """A completion of a group, by place, and whether it is good."""

    completion: int
    label: bool
    weight: float


def labelled(group: Judged) -> tuple[Labelled, ...]:
    """Every completion that was called good or bad, judgement by judgement; the judgements share group.weight.

    Where a judgement has no labels, what is better than its mean rank (or rating) is good, what is worse is bad, and
    what equals it is neither. Of a comparison the chosen one is good and the rejected one is bad.
    """
    sides = [side for judgement in group.judgements if (side := _sides(judgement))]
    return tuple(
        Labelled(place, good, group.weight / len(sides) / len(side)) for side in sides for place, good in side.items()
    )


class Ranking(NamedTuple):
    """One judgement's order of a group's completions."""

    ranks: tuple[int, ...]  # 1 is best, equal ranks are ties
    weight: float


def rankings(group: Judged) -> tuple[Ranking, ...]:
    """The order that each judgement gives, where it orders anything; these judgements share group.weight."""
    orders = [goodness for judgement in group.judgements if (goodness := standing(judgement))]
    orders = [goodness for goodness in orders if len(set(goodness)) > 1]
    ranks = [tuple(1 + sum(other > own for other in goodness) for own in goodness) for goodness in orders]
    return tuple(Ranking(one, group.weight / len(ranks)) for one in ranks)


def demonstration(group: Group) -> Group:
    """The same group with its best completion alone: most wins less losses over all judgements, of equals the first.

    RecordError: no completions, several of which no judgement says the best, or a single one that was judged bad.
    """
    if not group.completions:
        raise _unfit(group, "a prompt without a completion is no demonstration")
    orders = [goodness for judgement in group.judgements if (goodness := standing(judgement))]
    if len(group.completions) == 1:
        if any(judgement.labels == (False,) for judgement in group.judgements):
            raise _unfit(group, "a completion labelled false is no demonstration")
    elif not orders:
        raise _unfit(group, f"{len(group.completions)} completions, and no ranks or ratings say which is best")
    return replace(group, completions=(group.completions[best(group)],), judgements=())


def best(group: Judged) -> int:
    """The place of the best completion: most wins less losses over all judgements, of equals the first."""
    wins = _all_wins(group)
    return wins.index(max(wins))


def worst(group: Judged) -> int:
    """The place of the worst completion: fewest wins less losses over all judgements, of equals the first."""
    wins = _all_wins(group)
    return wins.index(min(wins))


def document(group: Group) -> Group:
    """Prompt and best completion as one text or one conversation, with nothing before it. Errors: as demonstration."""
    best = demonstration(group)
    prompt, completion = best.prompt, best.completions[0]
    if isinstance(prompt, str) and isinstance(completion.content, str):
        return replace(best, prompt="", completions=(Completion(prompt + completion.content, completion.model),))
    turns = (*prompt, *completion.content)
    return replace(best, prompt=(), completions=(Completion(turns, completion.model),))


def standing(judgement: Judgement) -> Sequence[float] | None:
    """(K,) higher is better, by ranks, else ratings, else labels; None if it says nothing."""
    if judgement.ranks:
        return [-rank for rank in judgement.ranks]
    return judgement.ratings or judgement.labels or None


def _sides(judgement: Judgement) -> dict[int, bool]:
    """completion -> is it good, for those that are either."""
    if judgement.labels:
        return dict(enumerate(judgement.labels))
    goodness = standing(judgement)
    if goodness is None:
        return {}
    mean = math.fsum(goodness) / len(goodness)
    rounding = 1e-9 * max(map(abs, goodness))  # the mean of 0.1, 0.2 and 0.3 is not 0.2 to the last bit
    return {place: value > mean for place, value in enumerate(goodness) if abs(value - mean) > rounding}


def _all_wins(group: Judged) -> list[int]:
    """(K,) wins less losses of each completion, over all judgements."""
    orders = [goodness for judgement in group.judgements if (goodness := standing(judgement))]
    return [sum(_wins(goodness, i) for goodness in orders) for i in range(len(group.same))]


def _wins(goodness: Sequence[float], i: int) -> int:
    return sum((goodness[i] > other) - (goodness[i] < other) for other in goodness)


def _unfit(group: Group, what: str) -> RecordError:
    return RecordError(what, origin=group.source, fix=FINDINGS["not_judged"].fix, finding="not_judged")
