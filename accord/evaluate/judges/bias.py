"""What a judge is like, whoever wrote the answers: its fondness for a place, for length, and how steady it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from accord.evaluate.verdicts import Matched, Verdict, characters
from accord.maths.statistics import Estimate, proportion_interval

ENOUGH = 10  # answers, for a warning that a judge is biased


class Share(NamedTuple):
    """A proportion of n, clustered by prompt."""

    n: int
    estimate: Estimate

    def shown(self) -> str:
        low, high = self.estimate.interval
        return f"{self.estimate.mean:.1%} (95 % interval {low:.1%} to {high:.1%}, n {self.n:,})"

    def to_json(self) -> dict[str, Any]:
        estimate = self.estimate
        error = estimate.standard_error
        return {
            "n": self.n,
            "share": estimate.mean,
            "standard_error": error if math.isfinite(error) else None,
            "interval": list(estimate.interval),
        }


class Bias(NamedTuple):
    """Shares of verdicts; None where they cannot be known.

    first_shown: how often what was shown first wins, ties one half; only where who is shown first does not depend on
    who is better. consistent: the same winner, or a tie, in both orders. flipped: another winner. longer: how often the
    longer answer wins, ties one half; people prefer longer ones, too, so this is no fault by itself.
    """

    first_shown: Share | None
    consistent: Share | None
    flipped: Share | None
    longer: Share | None

    def to_json(self) -> dict[str, Any]:
        return {key: None if share is None else share.to_json() for key, share in self._asdict().items()}

    def lines(self) -> Iterator[str]:
        """For people, with a warning where a place wins by itself."""
        if self.first_shown is not None:
            yield f"shown first wins: {self.first_shown.shown()}"
        if self.consistent is not None and self.flipped is not None:
            yield f"both orders say the same: {self.consistent.shown()}; another winner: {self.flipped.shown()}"
        if self.longer is not None:
            yield f"longer wins: {self.longer.shown()}"
        if self.first_shown is not None and self.first_shown.n >= ENOUGH:
            low, high = self.first_shown.estimate.interval
            if low > 0.5 or high < 0.5:
                then = "what it decides by place is noise: ask in both orders"
                if self.consistent is not None:
                    then = "as both orders are asked for, what it decides by place alone are ties"
                yield f"note: the judge is moved by who is shown first; {then}"


def bias(matched: Sequence[Matched], said: Sequence[Verdict]) -> Bias:
    """Of all verdicts of one judge."""
    shown, same, flips, longer = _Share(), _Share(), _Share(), _Share()
    orders = [one.orders or (None, None) for one in said]
    both_places = all(any(order[place] is not None for order in orders) for place in (0, 1))
    for one, verdict, (when_first, when_second) in zip(matched, said, orders, strict=True):
        if both_places and when_first is not None:
            shown.add(_winner(when_first), one.id)
        if both_places and when_second is not None:
            shown.add(1 - _winner(when_second), one.id)
        if when_first is not None and when_second is not None:
            winners = (_winner(when_first), _winner(when_second))
            same.add(float(winners[0] == winners[1]), one.id)
            flips.add(float(abs(winners[0] - winners[1]) == 1), one.id)
        gap = characters(one.first.text) - characters(one.second.text)
        if verdict.outcome is not None and gap:
            longer.add(verdict.outcome if gap > 0 else 1 - verdict.outcome, one.id)
    return Bias(shown.share(), same.share(), flips.share(), longer.share())


def _winner(outcome: float) -> float:
    """A chance as who wins: 1 the first, 0 the second, 1/2 neither."""
    return 0.5 if outcome == 0.5 else float(outcome > 0.5)


class _Share:
    """Values of 0 to 1, each of a prompt."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.prompts: dict[str, int] = {}
        self.clusters: list[int] = []

    def add(self, value: float, prompt: str) -> None:
        self.values.append(value)
        self.clusters.append(self.prompts.setdefault(prompt, len(self.prompts)))

    def share(self) -> Share | None:
        if not self.values:
            return None
        return Share(len(self.values), proportion_interval(self.values, self.clusters))
