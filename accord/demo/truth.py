"""The truth about texts, in the forms that the stages take: rewards to look at, and a judge of two answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accord.demo.axes import WORLDS, Weights, worth
from accord.evaluate.judges.transcript import said
from accord.evaluate.verdicts import Matched
from accord.records import Group


def rewards(weights: Weights) -> Callable[[Sequence[Group]], list[float]]:
    """A source of rewards: the exact worth of each group's one completion."""

    def reward(groups: Sequence[Group]) -> list[float]:
        return [worth(said(group.completions[0].content), weights) for group in groups]

    return reward


def judge(weights: Weights) -> Callable[[list[Matched]], list[float]]:
    """A judge that is never wrong: 1 where the first answer is worth more, 0 where the second is, 1/2 for equals."""

    def better(matched: list[Matched]) -> list[float]:
        pairs = [(worth(said(one.first.text), weights), worth(said(one.second.text), weights)) for one in matched]
        return [(1 + (first > second) - (first < second)) / 2 for first, second in pairs]

    return better


# By the names of the worlds, as --watch_reward takes them.
sentiment, polite, brief = (rewards(WORLDS[name]) for name in ("sentiment", "polite", "brief"))
