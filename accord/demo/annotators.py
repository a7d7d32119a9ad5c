"""Simulated annotators: people who mostly see which text is better, err, and like what they see first.

One ranks K texts by Plackett-Luce, so that each pair follows Bradley-Terry: the log-odds of one text before another are
the difference of their worths over the annotator's temperature, and `first` more for the one that was shown first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from accord.demo.axes import Weights, worth
from accord.evaluate.judges.transcript import said
from accord.records import Group, Judgement


class Annotator(NamedTuple):
    """temperature: in the unit of worth; the smaller, the keener. blind: how often the texts are not read at all.

    first: by how much being shown first raises a text, in log-odds.
    """

    name: str
    temperature: float = 0.2
    blind: float = 0.05
    first: float = 0.5


ANNOTATORS = (
    Annotator("Ana", temperature=0.15, blind=0.02, first=0.2),
    Annotator("Ben", temperature=0.2, blind=0.05, first=0.6),
    Annotator("Chika", temperature=0.2, blind=0.02, first=0.4),
    Annotator("Dilek", temperature=0.3, blind=0.05, first=0.5),
    Annotator("Elio", temperature=0.2, blind=0.1, first=1.0),
)


def asked(
    groups: Iterable[Group],
    weights: Weights,
    seed: str,
    *,
    each: int = 2,
    annotators: Sequence[Annotator] = ANNOTATORS,
) -> Iterator[Group]:
    """Every group with the judgements of `each` annotators, drawn anew, who see its texts in an order drawn anew.

    Equal texts are shown once; a group of which only one text is left is left out.
    """
    chance = random.Random(f"annotators {seed}")
    for group in groups:
        completions = tuple(group.completions[place] for place in sorted(set(group.same)))
        if len(completions) < 2:
            continue
        values = [worth(said(one.content), weights) for one in completions]
        judgements = tuple(_judgement(one, values, chance) for one in chance.sample(annotators, each))
        yield replace(group, completions=completions, judgements=judgements)


def _judgement(annotator: Annotator, values: Sequence[float], chance: random.Random) -> Judgement:
    """values: (K,) worths."""
    shown = chance.sample(range(1, len(values) + 1), len(values))
    blind = chance.random() < annotator.blind
    # The order of utilities with Gumbel noise is a Plackett-Luce ranking (Yellott 1977).
    noisy = [
        (0.0 if blind else value / annotator.temperature)
        + annotator.first * (place == 1)
        - math.log(chance.expovariate(1.0))
        for value, place in zip(values, shown, strict=True)
    ]
    ranks = tuple(1 + sum(other > own for other in noisy) for own in noisy)
    return Judgement(ranks=ranks, annotator=annotator.name, shown=tuple(shown))


def preference(annotator: Annotator, margin: float, place: int = 0) -> float:
    """The probability that one text is put before another that is worth `margin` less.

    place: 1 the one was shown first, -1 the other was, 0 neither.
    """
    bias = annotator.first * place
    return (1 - annotator.blind) * _logistic(margin / annotator.temperature + bias) + annotator.blind * _logistic(bias)


def best_accuracy(groups: Iterable[Group], weights: Weights, *, annotators: Sequence[Annotator] = ANNOTATORS) -> float:
    """The share of right guesses about the judged pairs that one who knows every text's worth may expect.

    Each group counts the same, as in training: the mean over its judgements of the mean over their pairs.
    """
    known = {one.name: one for one in annotators}
    found = []
    for group in groups:
        values = [worth(said(one.content), weights) for one in group.completions]
        chances = [_guesses(known[str(one.annotator)], values, one.shown or ()) for one in group.judgements]
        found.append(sum(chances) / len(chances))
    return sum(found) / len(found)


def _guesses(annotator: Annotator, values: Sequence[float], shown: Sequence[int]) -> float:
    """The mean over pairs of the chance that the annotator puts the text of more worth first; of equals, 1/2."""
    chances = []
    for i, j in combinations(range(len(values)), 2):
        place = (shown[i] == 1) - (shown[j] == 1)
        first = preference(annotator, values[i] - values[j], place)
        chances.append(0.5 if values[i] == values[j] else first if values[i] > values[j] else 1 - first)
    return sum(chances) / len(chances)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
