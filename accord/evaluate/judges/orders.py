"""In which orders answers are shown to a judge, and what two orders come to together."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from accord.evaluate.judges.transcript import asked
from accord.records import Text

Orders = Literal["both", "random", "first"]
Order = tuple[int, ...]  # which answer is shown in each place


class Said(NamedTuple):
    """outcome: how far what was shown first is better, in 0..1. weighed: by the judge's own probabilities."""

    outcome: float
    weighed: bool = False


def shown_in(orders: Orders, seed: int, prompt: Text, models: Sequence[str]) -> list[Order]:
    """The orders of K answers. random: one, a pure function of the seed, the instruction and all the models.

    Were it of the instruction alone, as in AlpacaEval, all models would stand first for the same instructions, and the
    judge's fondness for a place would not average out. both, K > 2: such a one and its reverse.
    """
    given = tuple(range(len(models)))
    if orders == "first":
        return [given]
    if orders == "both" and len(models) == 2:
        return [given, given[::-1]]
    drawn = list(given)
    told = json.dumps([seed, asked(prompt), *models]).encode()
    random.Random(int.from_bytes(hashlib.sha256(told).digest())).shuffle(drawn)
    return [tuple(drawn)] if orders == "random" else [tuple(drawn), tuple(drawn[::-1])]


def together(first: Said, second: Said) -> float:
    """How far the first model is better, from what was said of it when it was shown first, and when second.

    Weighed: the mean. Else it has won or lost where both say so, and all other is a tie (MT-bench).
    """
    if first.weighed and second.weighed:
        return (first.outcome + second.outcome) / 2
    won = [one.outcome > 0.5 for one in (first, second)]
    lost = [one.outcome < 0.5 for one in (first, second)]
    return 1.0 if all(won) else 0.0 if all(lost) else 0.5
