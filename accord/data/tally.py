"""Who was compared with whom, and what came of it: some numbers a judgement, however many there are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.maths.comparisons import Comparisons
from accord.maths.plackett_luce import Rankings

Cluster = Literal["prompt", "annotator", "none"]
Ints = NDArray[np.int64]
NOT_SAID = -1  # no annotator, no category
UNIQUE = 0  # of a judgement that none can repeat


class Where(NamedTuple):
    """What a judgement belongs to. item: what no annotator judges twice, UNIQUE if that is not known."""

    prompt: int
    item: int = UNIQUE
    annotator: int = NOT_SAID
    category: int = NOT_SAID
    weight: float = 1.0


@dataclass
class Names:
    """Texts and their numbers, in the order in which they came."""

    number: dict[str, int] = field(default_factory=dict)

    def of(self, name: str | None) -> int:
        return NOT_SAID if name is None else self.number.setdefault(name, len(self.number))

    def __iter__(self) -> Iterator[str]:
        return iter(self.number)

    def __len__(self) -> int:
        return len(self.number)


class Tally:
    """Takes comparisons and rankings one by one. looks: what of the style of two texts is compared, or another name for
    each number that is kept with a comparison. formats: of the rows that were read."""

    def __init__(self, looks: Sequence[str] = ()) -> None:
        self.looks = tuple(looks)
        self.models, self.annotators, self.categories = Names(), Names(), Names()
        self._pair, self._outcome, self._style = array("i"), array("d"), array("d")
        self._ranked, self._ranks, self._sizes = array("i"), array("i"), array("i")
        self._prompt, self._item, self._weight = array("q"), array("q"), array("d")
        self._annotator, self._category = array("i"), array("i")
        self.alone = 0  # judgements of which no prompt is known
        self.formats: set[str] = set()

    def __len__(self) -> int:
        return len(self._weight)

    def compare(self, models: tuple[str, str], outcome: float, where: Where, style: Sequence[float] = ()) -> None:
        """outcome: how far the first is better, in 0..1."""
        first, second = models
        self._pair.append(self.models.of(first))
        self._pair.append(self.models.of(second))
        self._outcome.append(outcome)
        if style:
            self._style.extend(style)
        self._place(where)

    def rank(self, models: Sequence[str], ranks: Sequence[int], where: Where) -> None:
        """ranks: 1 is best, equal ones are ties."""
        self._ranked.extend(map(self.models.of, models))
        self._ranks.extend(ranks)
        self._sizes.append(len(ranks))
        self._place(where)

    def _place(self, where: Where) -> None:
        self._prompt.append(where.prompt)
        self._item.append(where.item)
        self._annotator.append(where.annotator)
        self._category.append(where.category)
        self._weight.append(where.weight)

    def replaced(self) -> NDArray[np.bool_]:
        """(N,) of comparisons: those after which the same annotator judged the same two models on the same item."""
        pair = np.array(self._pair, dtype=np.int64).reshape(-1, 2)
        item, annotator = np.array(self._item), np.array(self._annotator)
        able = np.flatnonzero((item != UNIQUE) & (annotator != NOT_SAID))
        columns = [able, annotator[able], pair[able].max(1), pair[able].min(1), item[able]]
        order = np.lexsort(columns)
        same = np.ones(max(0, len(able) - 1), dtype=bool)
        for column in columns[1:]:
            same &= column[order][1:] == column[order][:-1]
        found = np.zeros(len(item), dtype=bool)
        found[able[order[:-1][same]]] = True
        return found

    def comparisons(self, kept: NDArray[np.bool_], cluster: Cluster) -> Comparisons:
        """Those of the comparisons that are kept, (N,), between the models that are in them."""
        pair = np.array(self._pair, dtype=np.int64).reshape(-1, 2)[kept]
        names, number = self._present(pair)
        return Comparisons(
            names,
            number[:, 0].copy(),
            number[:, 1].copy(),
            np.array(self._outcome)[kept],
            np.array(self._weight)[kept],
            self._clusters(kept, cluster),
            np.array(self._style).reshape(len(kept), len(self.looks))[kept],
        )

    def rankings(self, kept: NDArray[np.bool_], cluster: Cluster) -> Rankings:
        """Those of the rankings that are kept, (N,), of the models that are in them."""
        sizes = np.array(self._sizes, dtype=np.int64)
        filled = np.arange(sizes.max(initial=0)) < sizes[:, None]
        model, rank = np.zeros(filled.shape, dtype=np.int64), np.zeros(filled.shape, dtype=np.int64)
        model[filled], rank[filled] = self._ranked, self._ranks
        model, rank = model[kept], rank[kept]
        names, number = self._present(model[rank > 0])
        model[rank > 0] = number
        model[rank == 0] = 0
        return Rankings(names, model, rank, np.array(self._weight)[kept], self._clusters(kept, cluster))

    def category(self, kept: NDArray[np.bool_]) -> Ints:
        """Of those that are kept the number of the category, NOT_SAID for none."""
        return np.array(self._category, dtype=np.int64)[kept]

    def in_category(self, name: str) -> NDArray[np.bool_]:
        """(N,) which judgements are of this category."""
        return np.asarray(np.array(self._category) == self.categories.number[name])

    def uncategorised(self) -> int:
        """How many are of no category."""
        return int((np.array(self._category) == NOT_SAID).sum())

    def _present(self, model: Ints) -> tuple[tuple[str, ...], Ints]:
        """(the names of the models that occur, the numbers of their places among these)"""
        found, number = np.unique(model, return_inverse=True)
        names = list(self.models)
        return tuple(names[i] for i in found), number.reshape(model.shape).astype(np.int64)

    def _clusters(self, kept: NDArray[np.bool_], cluster: Cluster) -> Ints:
        """0..G-1, in the order in which they came: a seed then gives the same resamples in every process."""
        if cluster == "none":
            return np.arange(int(kept.sum()))
        column = np.array(self._prompt if cluster == "prompt" else self._annotator)[kept]
        _, first, number = np.unique(column, return_index=True, return_inverse=True)
        place = np.empty(len(first), dtype=np.int64)
        place[np.argsort(first)] = np.arange(len(first))
        return place[number]

    @property
    def without_annotator(self) -> bool:
        """Whether some judgement names none."""
        return NOT_SAID in self._annotator


def number_of(value: object) -> int:
    """64 bits that stand for a value within this process: of a million, two share them once in 37 million times."""
    # Of a text: hash() of whole numbers is the numbers themselves, but that of -1 is that of -2, and 0 is UNIQUE.
    return hash(value if isinstance(value, str) else repr(value)) or 1
