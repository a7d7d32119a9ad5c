"""Who said what of which item: the answers of many raters to a few questions, however their files had them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from accord.data.tally import Ints, Names
from accord.maths.chance_agreement import Cells

# order: which of two is better, 1, 0 (a tie) or -1. number: a number on a scale. name: a word. ranking: how good each
# of K things is.
Kind = Literal["order", "number", "name", "ranking"]
Value = float | str | tuple[float, ...]
Key = tuple[object, ...]
LEVELS = "levels"  # a question: how far the first of two is better, in -SURE to SURE
SURE = 2.0


class Saying(NamedTuple):
    """One answer. item: what it is about, the same wherever that is judged; prompt: what belongs together with it."""

    question: str
    kind: Kind
    item: Key
    prompt: object
    value: Value


@dataclass
class Question:
    """All answers to one question; of one rater on one item the last. first: where in the data it was first asked."""

    kind: Kind
    items: dict[Key, int] = field(default_factory=dict)
    prompt: list[int] = field(default_factory=list)  # of each item the number of its prompt
    said: dict[tuple[int, int], Value] = field(default_factory=dict)  # (item, rater), in the order of their coming
    names: Names = field(default_factory=Names)

    def cells(self, raters: Iterable[int] | None = None, *, most: int | None = None) -> Cells:
        """The answers as numbers, items and prompts numbered as they came; none of a ranking.

        raters: of these alone. most: of each item its first so many.
        """
        kept = self._kept(raters, most)
        unit, rater = (np.array([pair[i] for pair in kept], dtype=np.int64) for i in (0, 1))
        value = np.array([self._number(self.said[pair]) for pair in kept], dtype=np.float64)
        _, number = np.unique(unit, return_inverse=True)
        cluster = np.array(self.prompt, dtype=np.int64)[np.unique(unit)] if len(unit) else np.zeros(0, dtype=np.int64)
        return Cells(number.astype(np.int64), rater, value, _in_order(cluster))

    def orders(self, raters: Iterable[int] | None = None, *, most: int | None = None) -> list[tuple[float, ...]]:
        """Of a question whose answers are rankings, those of the same places as in `cells`."""
        return [order for pair in self._kept(raters, most) if isinstance(order := self.said[pair], tuple)]

    def _kept(self, raters: Iterable[int] | None, most: int | None) -> list[tuple[int, int]]:
        wanted = None if raters is None else set(raters)
        kept, taken = [], dict[int, int]()
        for item, rater in self.said:
            if wanted is not None and rater not in wanted:
                continue
            taken[item] = taken.get(item, 0) + 1
            if most is None or taken[item] <= most:
                kept.append((item, rater))
        return kept

    def _number(self, value: Value) -> float:
        if isinstance(value, tuple):
            return 0.0
        return float(self.names.of(value)) if isinstance(value, str) else value


class Opinions:
    """Takes what each judgement says. machines: raters that their files call models."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.raters, self.machines = Names(), set[int]()
        self.replaced = 0  # judgements that the same rater gave again on the same item
        self.alone = 0  # judgements of which no prompt is known
        self.shown = array("d")  # outcomes, in 0..1, of what was shown first, where that is known
        self._prompts: dict[object, int] = {}
        self._unnamed = 0

    def rater(self, name: str | None, *, machine: bool = False) -> int:
        """The number of a rater. Each judgement without a name has a rater of its own, below 0."""
        if name is None:
            self._unnamed -= 1
        number = self._unnamed if name is None else self.raters.of(name)
        if machine:
            self.machines.add(number)
        return number

    def leave_out_repetition(self) -> None:
        """Levels of which all are the ends or the middle say what the verdicts say."""
        levels = self.questions.get(LEVELS)
        if levels is not None and set(levels.said.values()) <= {-SURE, 0.0, SURE}:
            del self.questions[LEVELS]

    def add(self, rater: int, said: Iterable[Saying]) -> None:
        """One judgement; what it says again replaces what the rater had said."""
        again = False
        for one in said:
            question = self.questions.setdefault(one.question, Question(one.kind))
            item = question.items.setdefault(one.item, len(question.items))
            if item == len(question.prompt):
                question.prompt.append(self._prompts.setdefault(one.prompt, len(self._prompts)))
            again = again or (item, rater) in question.said
            question.said[item, rater] = one.value
        self.replaced += again


def _in_order(cluster: Ints) -> Ints:
    """The same as 0..G-1, in the order in which they came: a seed then gives the same resamples in every process."""
    _, first, number = np.unique(cluster, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[number]
