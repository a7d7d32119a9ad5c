"""One judgement of several: what annotators mean together of a group, by one of three rules.

Ranks come from the orders (accord.maths.consensus, accord.maths.dawid_skene); ratings are means, thumbs and flags what
most say, and where as many say yes as no, nothing is said. Texts that annotators wrote have no consensus: all are kept.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol

from accord.data.choose import orders, standing
from accord.data.labelling_address import Taken
from accord.maths.consensus import Order, dense_ranks, expected_wins, included, majorities, mean_ranks
from accord.records import Group, Judgement

Ranking = Callable[[Group, Sequence[tuple[Judgement, Order]]], tuple[int | None, ...]]
Thumbs = Callable[[Group, Sequence[Judgement]], tuple[bool, ...] | None]


class Consensus(Protocol):
    """Judgements of a group -> one, and the texts that were written."""

    def judgements(self, group: Group) -> tuple[Judgement, ...]: ...


def consensus_of(take: Taken, groups: Callable[[], Iterable[Group]]) -> Consensus | None:
    """groups: all of them, once more, for a rule that has to know annotators before it judges. None: no consensus."""
    if take == "mean_rank":
        return _ByRule(_by_mean_rank, _by_votes)
    if take == "majority":
        return _ByRule(_by_majority, _by_votes)
    if take == "dawid_skene":
        learnt = DawidSkene(groups())
        return _ByRule(learnt.ranks, learnt.thumbs)
    return None


class _ByRule:
    def __init__(self, ranks: Ranking, thumbs: Thumbs) -> None:
        self.ranks, self.thumbs = ranks, thumbs

    def judgements(self, group: Group) -> tuple[Judgement, ...]:
        texts = tuple(one for one in group.judgements if one.written is not None)
        heard = [one for one in group.judgements if one.written is None]
        if not heard:
            return texts
        ordering = [(one, order) for one, order in orders(group) if len(group.completions) > 1 and not one.labels]
        labels = self.thumbs(group, [one for one in heard if one.labels])
        whole = Judgement(
            ranks=self.ranks(group, ordering) if ordering else None,
            ratings=_mean([one.ratings for one in heard]),
            labels=labels,
            flags=_flags(heard),
        )
        return (whole, *texts) if whole.said else texts


def _by_mean_rank(group: Group, ordering: Sequence[tuple[Judgement, Order]]) -> tuple[int | None, ...]:
    k = len(group.completions)
    mean = mean_ranks([order for _, order in ordering], k)
    return dense_ranks({place: -rank for place, rank in mean.items()}, k)


def _by_majority(group: Group, ordering: Sequence[tuple[Judgement, Order]]) -> tuple[int | None, ...]:
    k = len(group.completions)
    return dense_ranks(majorities([order for _, order in ordering], k), k)


def _by_votes(group: Group, judgements: Sequence[Judgement]) -> tuple[bool, ...] | None:
    """None where one completion has as many thumbs up as down."""
    columns = zip(*(one.labels or () for one in judgements), strict=True)
    found = [_most(column) for column in columns]
    return tuple(bool(one) for one in found) if found and None not in found else None


def _most(column: Iterable[bool | None]) -> bool | None:
    lead = sum(0 if one is None else 1 if one else -1 for one in column)
    return None if lead == 0 else lead > 0


def _mean(ratings: Sequence[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    given = [one for one in ratings if one is not None]
    return tuple(math.fsum(column) / len(given) for column in zip(*given, strict=True)) if given else None


def _flags(judgements: Sequence[Judgement]) -> Mapping[str, tuple[bool | None, ...]]:
    names = dict.fromkeys(name for one in judgements for name in one.flags)
    said = {name: [one.flags[name] for one in judgements if name in one.flags] for name in names}
    most = {name: tuple(map(_most, zip(*rows, strict=True))) for name, rows in said.items()}
    return {name: values for name, values in most.items() if any(one is not None for one in values)}


class DawidSkene:
    """Annotators as two passes over the data show them: of verdicts on two completions, and of thumbs.

    Annotators without a name are one.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self._annotators: dict[str | None, int] = {}
        self._pairs, self._thumbs = _Answers(), _Answers()
        for group in groups:
            self._add(group)
        from accord.maths.dawid_skene import dawid_skene, verdicts

        self._of_pairs = verdicts(*self._pairs.columns()).posterior if len(self._pairs) else None
        found = dawid_skene(*self._thumbs.columns(), classes=2) if len(self._thumbs) else None
        self._of_thumbs = found and found.posterior

    def _add(self, group: Group) -> None:
        for judgement in group.judgements:
            who = self._annotators.setdefault(judgement.annotator, len(self._annotators))
            if judgement.labels:
                for place, label in enumerate(judgement.labels):
                    self._thumbs.add((group.id, place), who, int(label))
            elif order := standing(judgement):
                for i, j in combinations(sorted(order), 2):
                    self._pairs.add((group.id, i, j), who, 1 + (order[i] < order[j]) - (order[i] > order[j]))

    def ranks(self, group: Group, ordering: Sequence[tuple[Judgement, Order]]) -> tuple[int | None, ...]:
        """By expected wins over all the others that were not kept out; of a pair that nobody compared, a half."""
        k = len(group.completions)
        places = included([order for _, order in ordering], k)
        return dense_ranks(expected_wins(places, self._wins(group.id, places)), k)

    def _wins(self, id: str, places: Sequence[int]) -> Iterator[tuple[int, int, float]]:
        for i, j in combinations(places, 2):
            unit = self._pairs.units.get((id, i, j))
            if unit is not None and self._of_pairs is not None:
                better, equal, _ = self._of_pairs[unit]
                yield i, j, float(better + equal / 2)
            else:
                yield i, j, 0.5

    def thumbs(self, group: Group, judgements: Sequence[Judgement]) -> tuple[bool, ...] | None:
        """What is more likely than not."""
        if not judgements or self._of_thumbs is None:
            return None
        units = [self._thumbs.units[(group.id, place)] for place in range(len(group.completions))]
        return tuple(bool(self._of_thumbs[unit][1] > 0.5) for unit in units)


class _Answers:
    """Answers as columns of numbers, sixteen bytes for each; units: what they are about."""

    def __init__(self) -> None:
        self.units: dict[tuple[Any, ...], int] = {}
        self._unit, self._who, self._answer = array("q"), array("i"), array("i")

    def add(self, about: tuple[Any, ...], who: int, answer: int) -> None:
        self._unit.append(self.units.setdefault(about, len(self.units)))
        self._who.append(who)
        self._answer.append(answer)

    def __len__(self) -> int:
        return len(self._unit)

    def columns(self) -> tuple[Any, Any, Any]:
        import numpy as np

        unit, who, answer = (np.array(column, dtype=np.int64) for column in (self._unit, self._who, self._answer))
        return unit, who, answer
