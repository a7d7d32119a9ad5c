"""How far annotators agree beyond chance: of ranks, ratings, flags and thumbs, with intervals drawn over groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from accord.collect.quality_read import Given, goodness
from accord.data.opinions import Opinions, Saying
from accord.evaluate.agreed import Agreed, Figure, Matter, agreed
from accord.stages.agreement_options import AgreementOptions

MOST_GROUPS = 600  # judged by several, whose agreement is measured: more of them narrow no interval worth the wait
ROUNDS = 200  # resamples of groups
PAIRS, RANKING, RATINGS, THUMBS = "pairs", "ranking", "ratings", "thumbs"
FLAG = "flag "


def agreement(given: Sequence[Given], level: float) -> tuple[list[Agreed], int]:
    """The figures of each question, and of how many groups they are. Pairs come twice: with ties, and without."""
    several, groups = _several(given)
    opinions = Opinions()
    for one in several:
        opinions.add(opinions.rater(str(one.account)), _sayings(one))
    options = AgreementOptions(rounds=ROUNDS, seed=0, level=level, ties="drop", least=1, cluster="prompt")
    found = []
    for name, question in opinions.questions.items():
        if not _varies(question.said.values()):
            continue
        found += list(agreed(Matter.of(name, question, most=None, by_item=False), set(), options))
    return found, groups


def _varies(values: Iterable[Any]) -> bool:
    """Where all say the same there is nothing to be said of agreement beyond chance, and it need not be resampled."""
    return len(set(values)) > 1


def _several(given: Sequence[Given]) -> tuple[list[Given], int]:
    """The judgements of groups that have two or more; of many groups so many as are drawn by their numbers."""
    count: dict[int, int] = {}
    for one in given:
        count[one.item] = count.get(one.item, 0) + 1
    several = sorted((item for item in count if count[item] > 1), key=lambda item: (item * 2654435761 % 2**32, item))
    kept = set(several[:MOST_GROUPS])
    return [one for one in given if one.item in kept], len(kept)


def _sayings(one: Given) -> Iterator[Saying]:
    answer = one.answer
    if answer.get("ranks"):
        yield from _of_ranks(one)
    for place, value in enumerate(answer.get("ratings") or ()):
        yield Saying(RATINGS, "number", (one.item, place), one.item, float(value))
    for place, value in enumerate(answer.get("labels") or ()):
        yield Saying(THUMBS, "name", (one.item, place), one.item, "good" if value else "bad")
    for name, values in (answer.get("flags") or {}).items():
        for place, value in enumerate(values):
            yield Saying(FLAG + name, "name", (one.item, place), one.item, "yes" if value else "no")


def _of_ranks(one: Given) -> Iterator[Saying]:
    good = goodness(one.answer) or []
    whole = [value for value in good if value is not None]
    if len(whole) == len(good) and len(good) > 2:
        yield Saying(RANKING, "ranking", (one.item,), one.item, tuple(whole))
    for j, later in enumerate(good):
        for i, earlier in enumerate(good[:j]):
            if earlier is not None and later is not None:
                value = float(np.sign(earlier - later)) * _turned(one.item, i, j)
                yield Saying(PAIRS, "order", (one.item, i, j), one.item, value)


def _turned(item: int, i: int, j: int) -> int:
    """1 or -1: which output of a pair is called its first is drawn by the numbers. A file that has its best outputs
    first would otherwise make nearly all answers "the first", and agreement look like chance."""
    return 1 - 2 * (((item * 2654435761 >> 16) ^ i ^ j) & 1)


def headline(figures: Mapping[str, Figure]) -> Figure | None:
    """The coefficient that suits the question: ordinal alpha of ratings, Kendall's tau of rankings, else nominal."""
    for name in ("ordinal_alpha", "kendall_tau_b", "nominal_alpha"):
        if name in figures:
            return figures[name]
    return None
