"""Scores of judged completions as columns: pairs, completions and rankings, one number a cell, no texts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.choose import orders
from accord.data.outcomes import Outcome, Rule, outcomes
from accord.errors import InputError
from accord.records import Judged, Judgement, Said

Numbers = NDArray[np.float64]
Places = NDArray[np.intp]
Flags = NDArray[np.bool_]

SCALES = ("margin", "difference of ratings", "ranks apart")
EVERY = Rule(ties=True)
APART = 1 << 20  # more than the pairs of a group; with it a pair's number is exact in a float up to 2^33 groups
PAIR = (np.intp, np.intp, float, float, float, float, bool, float, np.intp, np.intp, bool, bool)
COMPLETION = (np.intp, float, float)
RANKING = (np.intp, np.intp, float, float, float, float)


class Scored(NamedTuple):
    """A group and what a reward model says of its K completions. length: tokens."""

    group: Judged
    scores: Sequence[float]
    lengths: Sequence[int]


class Pairs(NamedTuple):
    """(P,) two completions of a group, as one judgement has them: the first is the better one, or they tie.

    The weights are those of training: a group's judgements share its own equally, and so do a judgement's C(K,2) pairs.
    """

    group: Places
    judgement: Places
    first: Numbers  # score of the first
    gap: Numbers  # less that of the second
    longer: Numbers  # tokens of the first less those of the second
    weight: Numbers
    tied: Flags
    lead: Numbers  # by how much the data say that the first is better; NaN where they do not
    scale: Places  # of the lead: a place in SCALES, -1 for none
    unit: Places  # which two completions of which group
    swapped: Flags  # the first comes after the second in the group
    counted: Flags  # it is its annotator's last judgement of the group

    @property
    def right(self) -> Numbers:
        """1 where the better one has the higher score, 1/2 for equal scores."""
        return (np.sign(self.gap) + 1) / 2

    @property
    def longer_right(self) -> Numbers:
        """1 where the better one is longer, 1/2 for equal lengths."""
        return (np.sign(self.longer) + 1) / 2

    def where(self, chosen: Flags) -> Pairs:
        """Those pairs alone."""
        columns: Iterator[Any] = (column[chosen] for column in self)
        return Pairs(*columns)


class Completions(NamedTuple):
    """(C,) all completions. Scores and tokens."""

    group: Places
    score: Numbers
    length: Numbers


class Rankings(NamedTuple):
    """(Q,) judgements that order more than two completions. Which completion is on top, equal ones shared."""

    group: Places
    judgement: Places
    weight: Numbers
    top: Numbers  # share of the highest-scored ones that are judged best
    longest: Numbers  # share of the longest ones that are judged best
    chance: Numbers  # share of all that are judged best


class Columns(NamedTuple):
    """All of a scored data set that the report needs."""

    groups: int
    judged: int  # groups that somebody judged
    pairs: Pairs
    completions: Completions
    rankings: Rankings
    category: Places  # (G,) of each group, a place in `categories`; -1 for none
    categories: tuple[str, ...]


@dataclass
class Gathering:
    """Takes scored groups one by one: about 100 bytes a pair are kept."""

    groups: int = 0
    judged: int = 0
    judgements: int = 0
    pairs: array[float] = field(default_factory=lambda: array("d"))
    completions: array[float] = field(default_factory=lambda: array("d"))
    rankings: array[float] = field(default_factory=lambda: array("d"))
    category: array[float] = field(default_factory=lambda: array("d"))
    categories: dict[str, int] = field(default_factory=dict)

    def add(self, scored: Scored) -> None:
        """InputError: a score that is no finite number."""
        group, scores, lengths = scored
        for place, score in enumerate(scores):
            if not math.isfinite(score):
                what = f"the score of completion {place + 1} is {score}"
                raise InputError(what, where=str(group.source), fix="the model is damaged: accord verify says where")
        name = group.category
        self.category.append(-1 if name is None else self.categories.setdefault(name, len(self.categories)))
        for score, length in zip(scores, lengths, strict=True):
            self.completions.extend((self.groups, score, length))
        heard = orders(group)
        last = {judgement.annotator: place for place, (judgement, _) in enumerate(heard)}  # of each annotator
        same = group.same
        for place, (judgement, goodness) in enumerate(heard):
            weight = group.weight / len(heard)
            alone = Said(group.id, (judgement,), weight, name, group.source, same)
            counted = judgement.annotator is None or last[judgement.annotator] == place
            self._add_pairs(scored, judgement, outcomes(alone, EVERY), counted)
            if len(goodness) > 2:
                self._add_ranking(scored, goodness, weight)
            self.judgements += 1
        self.judged += bool(heard)
        self.groups += 1

    def _add_pairs(self, scored: Scored, judgement: Judgement, found: Iterable[Outcome], counted: bool) -> None:
        scores, lengths = scored.scores, scored.lengths
        for one in found:
            i, j = one.first, one.second
            lead, scale = _lead(judgement, one, len(scores))
            unit = self.groups * APART + max(i, j) * (max(i, j) - 1) // 2 + min(i, j)
            gap, longer = scores[i] - scores[j], lengths[i] - lengths[j]
            about = (one.weight, one.tied, lead, scale, unit, i > j, counted)
            self.pairs.extend((self.groups, self.judgements, scores[i], gap, longer, *about))

    def _add_ranking(self, scored: Scored, goodness: Mapping[int, float], weight: float) -> None:
        best = [value == max(goodness.values()) for value in goodness.values()]
        if all(best):
            return
        scores, lengths = ([values[place] for place in goodness] for values in (scored.scores, scored.lengths))
        tops = (_share(best, scores), _share(best, lengths), sum(best) / len(best))
        self.rankings.extend((self.groups, self.judgements, weight, *tops))

    @property
    def columns(self) -> Columns:
        """What was gathered so far."""
        return Columns(
            self.groups,
            self.judged,
            Pairs(*_columns(self.pairs, PAIR)),
            Completions(*_columns(self.completions, COMPLETION)),
            Rankings(*_columns(self.rankings, RANKING)),
            np.array(self.category, dtype=np.intp),
            tuple(self.categories),
        )


def _lead(judgement: Judgement, pair: Outcome, completions: int) -> tuple[float, int]:
    """By how much the first is said to be better, on which scale. Ranks of two completions say only that it is."""
    if pair.tied:
        return math.nan, -1
    if judgement.margin is not None:
        return judgement.margin, 0
    if judgement.ratings:
        return judgement.ratings[pair.first] - judgement.ratings[pair.second], 1
    if judgement.ranks and completions > 2:
        first, second = judgement.ranks[pair.first], judgement.ranks[pair.second]
        assert first is not None and second is not None  # what was kept out has no outcome
        return second - first, 2
    return math.nan, -1


def _share(best: Sequence[bool], values: Sequence[float]) -> float:
    """Of those with the highest value, the share that is best."""
    highest = max(values)
    top = [good for good, value in zip(best, values, strict=True) if value == highest]
    return sum(top) / len(top)


def _columns(rows: array[float], kinds: Sequence[type]) -> Iterator[NDArray[Any]]:
    """Rows of numbers as columns of these kinds."""
    table = np.array(rows, dtype=np.float64).reshape(-1, len(kinds))
    return (table[:, place].astype(kind) for place, kind in enumerate(kinds))
