"""Who judges otherwise than the rest: a test that may be looked at after every judgement.

Of each complete group that an annotator judged, d = (how far two of the others agree) - (how far the annotator agrees
with the others), -1..1, means over the couples there are. If the annotator judges as the others do, all judgements of
a group are exchangeable, so that d is 0 on average whatever the group was before: no rate has to be guessed. Then for
each fixed 0 < lambda < 1 the wealth of a gambler who bets that d is above 0, W_t = prod_{s <= t} (1 + lambda d_s), is
a supermartingale that begins at 1, and so is the mean of several such wealths, E_t. Ville's inequality (1939):

    P(E_t >= 1 / alpha for any t) <= alpha,

however often one looks. Betting on means of bounded values is Waudby-Smith and Ramdas 2023; FastChat's test of users
(Chiang et al. 2024, section 5) holds for looks that are fixed in advance, this one needs no such promise.

Where a group has no two others (an overlap of 2), how far others agree is taken of the next group that the annotator
did not judge: then it is assumed too that groups come to annotators irrespective of how hard they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

ALPHA = 0.01  # the chance that somebody who judges as the others do is ever called an outlier
BETS = (0.05, 0.1, 0.2, 0.4, 0.8)  # lambda: small ones find small differences, large ones find large ones soon


class Finding(NamedTuple):
    """e: how much the bets have won, now; highest: ever. groups: that were bet on. lacking: mean d, how much less."""

    e: float
    highest: float
    groups: int
    lacking: float

    @property
    def outlier(self) -> bool:
        return self.highest >= 1 / ALPHA


@dataclass
class Wealth:
    """Of the bets on one annotator; logarithms, since a clear case goes far beyond what a float holds."""

    logs: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    highest: float = 1.0
    total: float = 0.0
    groups: int = 0

    @property
    def e(self) -> float:
        top = max(self.logs)
        return math.exp(min(top + math.log(sum(math.exp(one - top) for one in self.logs) / len(BETS)), 700.0))

    def bet(self, d: float) -> None:
        """d in -1..1."""
        self.logs = [log + math.log1p(bet * d) for log, bet in zip(self.logs, BETS, strict=True)]
        self.total, self.groups = self.total + d, self.groups + 1
        self.highest = max(self.highest, self.e)

    def finding(self) -> Finding:
        return Finding(self.e, self.highest, self.groups, self.total / self.groups if self.groups else 0.0)


Couples = Mapping[tuple[Any, Any], float]  # two annotators -> how far they agree on one group, 0..1


def outliers(groups: Iterable[Couples]) -> dict[Any, Finding]:
    """Of each annotator, from the complete groups in the order in which they were completed.

    Each group: its couples of annotators, as (one, other) in any order, once.
    """
    wealth: dict[Any, Wealth] = {}
    waiting: dict[Any, list[float]] = {}  # how far the annotator agreed, where no two others judged the group
    for group in groups:
        people = dict.fromkeys(name for couple in group for name in couple)
        for name in people:
            one = wealth.setdefault(name, Wealth())
            own = [value for couple, value in group.items() if name in couple]
            others = [value for couple, value in group.items() if name not in couple]
            if others:
                one.bet(_mean(others) - _mean(own))
            else:
                waiting.setdefault(name, []).append(_mean(own))
        for name in [name for name in waiting if group and name not in people]:
            wealth[name].bet(_mean(list(group.values())) - waiting[name].pop(0))
            if not waiting[name]:
                del waiting[name]
    return {name: one.finding() for name, one in wealth.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def couples(answers: Mapping[Any, Any], agree: Any) -> dict[tuple[Any, Any], float]:
    """Annotator -> answer, and how far two answers agree (None: they cannot be compared) -> couples of one group."""
    found = {}
    for one, other in combinations(answers, 2):
        if (value := agree(answers[one], answers[other])) is not None:
            found[one, other] = value
    return found
