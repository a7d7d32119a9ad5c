"""What a stage takes from a group: one demonstration, one document, pairs, labelled completions, or rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from accord.data.findings import FINDINGS
from accord.records import Completion, Group, Judged, Judgement, Message, RecordError, Text


class Pair(NamedTuple):
    """Two completions of a group, by place, of which one was preferred. margin: by how much, where that was said."""

    chosen: int
    rejected: int
    weight: float
    margin: float | None


def pairs(group: Judged) -> tuple[Pair, ...]:
    """All pairs of different rank (else rating, else label), judgement by judgement.

    The judgements that order anything share group.weight equally; each of a judgement's C(K,2) pairs has an equal
    part (InstructGPT, Eq. 1), K without those that were kept out. Ties keep their part and give no pair, and neither
    do two completions of the same text.
    """
    heard = orders(group)
    same, found = group.same, []
    for judgement, goodness in heard:
        every = list(combinations(goodness, 2))
        for i, j in every:
            if goodness[i] == goodness[j] or same[i] == same[j]:
                continue
            best, worst = (i, j) if goodness[i] > goodness[j] else (j, i)
            found.append(Pair(best, worst, group.weight / len(heard) / len(every), judgement.margin))
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

    ranks: tuple[int, ...]  # 1 is best, equal ranks are ties, 0 was kept out
    weight: float


def rankings(group: Judged) -> tuple[Ranking, ...]:
    """The order that each judgement gives, where it orders anything; these judgements share group.weight."""
    ordering = [goodness for _, goodness in orders(group) if len(set(goodness.values())) > 1]
    places = range(len(group.same))
    ranks = [tuple(_rank(goodness, place) for place in places) for goodness in ordering]
    return tuple(Ranking(one, group.weight / len(ranks)) for one in ranks)


def _rank(goodness: Mapping[int, float], place: int) -> int:
    return 1 + sum(other > goodness[place] for other in goodness.values()) if place in goodness else 0


def demonstration(group: Group) -> Group:
    """The same group with its best completion alone: most wins less losses over all judgements, of equals the first.

    What an annotator wrote as the ideal one goes before all of them: of several texts the one that settles, else the
    first. RecordError: no completions, several of which no judgement says the best, or a single one that was judged
    bad or kept out.
    """
    if (text := written(group)) is not None:
        return replace(group, completions=(Completion(text),), judgements=())
    if not group.completions:
        raise _unfit(group, "a prompt without a completion is no demonstration")
    if len(group.completions) == 1:
        if any(judgement.labels == (False,) for judgement in group.judgements):
            raise _unfit(group, "a completion labelled false is no demonstration")
        if any(judgement.ranks == (None,) for judgement in group.judgements):
            raise _unfit(group, "a completion that was kept out is no demonstration")
    elif not any(map(standing, group.judgements)):
        raise _unfit(group, f"{len(group.completions)} completions, and no ranks or ratings say which is best")
    return replace(group, completions=(group.completions[best(group)],), judgements=())


def written(group: Group) -> Text | None:
    """What an annotator wrote as the ideal completion, in turns where the prompt is: the first that settles, else the
    first."""
    texts = sorted((not one.settled, place) for place, one in enumerate(group.judgements) if one.written is not None)
    return as_reply(group, str(group.judgements[texts[0][1]].written)) if texts else None


def as_reply(group: Group, text: str) -> Text:
    """A text as a completion of this prompt."""
    return text if isinstance(group.prompt, str) else (Message("assistant", text),)


def best(group: Judged) -> int:
    """The place of the best completion: most wins less losses over all judgements, of equals the first."""
    wins = _all_wins(group)
    return max(wins, key=wins.__getitem__)


def worst(group: Judged) -> int:
    """The place of the worst completion: fewest wins less losses over all judgements, of equals the first."""
    wins = _all_wins(group)
    return min(wins, key=wins.__getitem__)


def document(group: Group) -> Group:
    """Prompt and best completion as one text or one conversation, with nothing before it. Errors: as demonstration."""
    best = demonstration(group)
    prompt, completion = best.prompt, best.completions[0]
    if isinstance(prompt, str) and isinstance(completion.content, str):
        return replace(best, prompt="", completions=(Completion(prompt + completion.content, completion.model),))
    turns = (*prompt, *completion.content)
    return replace(best, prompt=(), completions=(Completion(turns, completion.model),))


def standing(judgement: Judgement) -> dict[int, float] | None:
    """place -> higher is better, by ranks, else ratings, else labels; None if it says nothing.

    What was kept out of the ranks is not in it: it stands neither above nor below the others, whatever its rating.
    """
    if judgement.ranks:
        return {place: -rank for place, rank in enumerate(judgement.ranks) if rank is not None} or None
    return dict(enumerate(judgement.ratings or judgement.labels or ())) or None


def orders(group: Judged) -> list[tuple[Judgement, dict[int, float]]]:
    """The judgements that may put one completion before another, with how each stands; they share group.weight.

    One that kept out all but one of several orders nothing.
    """
    found = [(judgement, goodness) for judgement in group.judgements if (goodness := standing(judgement))]
    return [(judgement, goodness) for judgement, goodness in found if len(goodness) > 1 or len(group.same) == 1]


def _sides(judgement: Judgement) -> dict[int, bool]:
    """completion -> is it good, for those that are either."""
    if judgement.labels:
        return dict(enumerate(judgement.labels))
    goodness = standing(judgement)
    if goodness is None:
        return {}
    mean = math.fsum(goodness.values()) / len(goodness)
    rounding = 1e-9 * max(map(abs, goodness.values()))  # the mean of 0.1, 0.2 and 0.3 is not 0.2 to the last bit
    return {place: value > mean for place, value in goodness.items() if abs(value - mean) > rounding}


def _all_wins(group: Judged) -> dict[int, int]:
    """place -> wins less losses over all judgements, of those that one of them did not keep out; of all, where none
    says anything."""
    heard = [goodness for judgement in group.judgements if (goodness := standing(judgement))]
    places = [i for i in range(len(group.same)) if not heard or any(i in goodness for goodness in heard)]
    return {i: sum(_wins(goodness, i) for goodness in heard if i in goodness) for i in places}


def _wins(goodness: Mapping[int, float], i: int) -> int:
    return sum((goodness[i] > other) - (goodness[i] < other) for other in goodness.values())


def _unfit(group: Group, what: str) -> RecordError:
    return RecordError(what, origin=group.source, fix=FINDINGS["not_judged"].fix, finding="not_judged")
