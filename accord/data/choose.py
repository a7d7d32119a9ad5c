"""What a stage takes from a group: one demonstration, one document, or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from accord.records import Completion, Group, Judgement, RecordError


class Pair(NamedTuple):
    """Two completions of a group, by place, of which one was preferred. margin: by how much, where that was said."""

    chosen: int
    rejected: int
    weight: float
    margin: float | None


def pairs(group: Group) -> tuple[Pair, ...]:
    """All pairs of different rank (else rating, else label), judgement by judgement.

    The judgements that order anything share group.weight equally; each of a judgement's C(K,2) pairs has an equal
    part (InstructGPT, Eq. 1). Ties keep their part and give no pair, and neither do two completions of the same text.
    """
    orders = [(judgement, goodness) for judgement in group.judgements if (goodness := _goodness(judgement))]
    found = []
    for judgement, goodness in orders:
        every = list(combinations(range(len(goodness)), 2))
        for i, j in every:
            if goodness[i] == goodness[j] or group.completions[i].content == group.completions[j].content:
                continue
            best, worst = (i, j) if goodness[i] > goodness[j] else (j, i)
            found.append(Pair(best, worst, group.weight / len(orders) / len(every), judgement.margin))
    return tuple(found)


def demonstration(group: Group) -> Group:
    """The same group with its best completion alone: most wins less losses over all judgements, of equals the first.

    RecordError: no completions, several of which no judgement says the best, or a single one that was judged bad.
    """
    if not group.completions:
        raise _unfit(group, "a prompt without a completion is no demonstration")
    orders = [goodness for judgement in group.judgements if (goodness := _goodness(judgement))]
    if len(group.completions) == 1:
        if any(judgement.labels == (False,) for judgement in group.judgements):
            raise _unfit(group, "a completion labelled false is no demonstration")
    elif not orders:
        raise _unfit(group, f"{len(group.completions)} completions, and no ranks or ratings say which is best")
    wins = [sum(_wins(goodness, i) for goodness in orders) for i in range(len(group.completions))]
    return replace(group, completions=(group.completions[wins.index(max(wins))],), judgements=())


def document(group: Group) -> Group:
    """Prompt and best completion as one text or one conversation, with nothing before it. Errors: as demonstration."""
    best = demonstration(group)
    prompt, completion = best.prompt, best.completions[0]
    if isinstance(prompt, str) and isinstance(completion.content, str):
        return replace(best, prompt="", completions=(Completion(prompt + completion.content, completion.model),))
    turns = (*prompt, *completion.content)
    return replace(best, prompt=(), completions=(Completion(turns, completion.model),))


def _goodness(judgement: Judgement) -> Sequence[float] | None:
    """(K,) higher is better; None if it orders nothing."""
    if judgement.ranks:
        return [-rank for rank in judgement.ranks]
    return judgement.ratings or judgement.labels or None


def _wins(goodness: Sequence[float], i: int) -> int:
    return sum((goodness[i] > other) - (goodness[i] < other) for other in goodness)


def _unfit(group: Group, what: str) -> RecordError:
    return RecordError(what, origin=group.source, fix="drop the row, or run with --on_bad_row drop")
